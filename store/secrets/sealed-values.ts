// Everything in the database that the vault has sealed, wherever it stands: found by its mark, so that no table is forgotten.
import { sql } from 'kysely'
import { SEALED_MARK } from '../../domain/vault/sealed.ts'
import type { Db } from '../database.ts'

/** What the vault knows of a sealed value. */
export interface Seals {
  /** Bytes that every sealed value begins with. */
  mark: Buffer
  /** Null for what only looks like one. */
  keyOf(sealed: Buffer): string | null
  /** The same under the newest key; null where it is already, or cannot be. */
  rewrap(sealed: Buffer): Buffer | null
}

interface Column {
  table: string
  column: string
  kind: 'bytea' | 'jsonb'
}

/** Large, or what agents say: nothing there was sealed as a value. */
const without = [
  ...['audit_inbox', 'audit_log', 'build_log', 'checkpoint_pieces', 'events', 'executions'],
  ...['idempotency', 'results', 'timeline', 'tool_calls', 'webhook_deliveries'],
]

async function columns(db: Db): Promise<Column[]> {
  const { rows } = await sql<Column>`
    select columns.table_name as table, column_name as column, data_type as kind
    from information_schema.columns
    join information_schema.tables using (table_schema, table_name)
    where table_schema = current_schema() and table_type = 'BASE TABLE'
      and data_type in ('bytea', 'jsonb') and columns.table_name <> all(${without})
    order by 1, 2
  `.execute(db)
  return rows
}

/** In one statement each. Small, for rows are locked that runs may want. */
const BATCH = 200

/** How many values are sealed under which key. */
export async function countSealed(db: Db, seals: Seals): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for (const column of await columns(db)) {
    for await (const rows of batches(db, seals, column)) {
      for (const { value } of rows) {
        for (const sealed of valuesIn(value)) {
          const key = seals.keyOf(sealed)
          if (key === null) continue
          counts.set(key, (counts.get(key) ?? 0) + 1)
        }
      }
    }
  }
  return counts
}

/** Brings everything under the newest key while everything runs. @returns how many values. */
export async function rewrapSealed(db: Db, seals: Seals): Promise<number> {
  let count = 0
  for (const column of await columns(db)) {
    const { table, column: name, kind } = column
    for await (const rows of batches(db, seals, column)) {
      for (const { place, value } of rows) {
        const next = rewrapped(value, seals)
        if (next === null) continue
        // Unless somebody has changed it meanwhile: then it is under the newest key by that.
        const set = typeof next.value === 'string' ? sql`${next.value}::jsonb` : sql`${next.value}`
        const was = kind === 'jsonb' ? sql`${JSON.stringify(value)}::jsonb` : sql`${value}`
        const { numAffectedRows = 0n } = await sql`
          update ${sql.table(table)} set ${sql.ref(name)} = ${set}
          where ctid = ${place}::tid and ${sql.ref(name)} = ${was}
        `.execute(db)
        if (numAffectedRows > 0n) count += next.count
      }
    }
  }
  return count
}

interface Found {
  place: string
  value: Buffer | object
}

/** Rows that have sealed values, in the order of their places. What is written meanwhile is under the newest key. */
async function* batches(db: Db, { mark }: Seals, { table, column, kind }: Column): AsyncGenerator<Found[]> {
  const has =
    kind === 'bytea'
      ? sql`substring(${sql.ref(column)} for ${mark.length}) = ${mark}`
      : sql`${sql.ref(column)}::text like ${`%${SEALED_MARK}%`}`
  let after = '(0,0)'
  while (true) {
    const { rows } = await sql<Found>`
      select ctid::text as place, ${sql.ref(column)} as value from ${sql.table(table)}
      where ctid > ${after}::tid and ${has} order by ctid limit ${BATCH}
    `.execute(db)
    if (rows.length === 0) return
    yield rows
    after = rows.at(-1)?.place ?? after
  }
}

const inText = new RegExp(`${SEALED_MARK}([A-Za-z0-9_-]+)`, 'g')

const valuesIn = (value: Found['value']): Buffer[] =>
  Buffer.isBuffer(value)
    ? [value]
    : [...JSON.stringify(value).matchAll(inText)].map(([, text = '']) => Buffer.from(text, 'base64url'))

/** Null where nothing is under another key than the newest. */
function rewrapped(value: Found['value'], seals: Seals): { value: Buffer | string; count: number } | null {
  if (Buffer.isBuffer(value)) {
    const next = seals.rewrap(value)
    return next === null ? null : { value: next, count: 1 }
  }
  let count = 0
  const text = JSON.stringify(value).replaceAll(inText, (whole, found: string) => {
    const next = seals.rewrap(Buffer.from(found, 'base64url'))
    if (next === null) return whole
    count += 1
    return `${SEALED_MARK}${next.toString('base64url')}`
  })
  return count === 0 ? null : { value: text, count }
}
