// Environments that were stored before their values were sealed.
import { sql } from 'kysely'
import type { InlineEnvironment } from '../../domain/run.ts'
import type { Db } from '../database.ts'

const places = [
  ['runs', 'environment'],
  ['environments', 'config'],
  ['builds', 'config'],
] as const

const BATCH = 200

/**
 * Puts what `seal` makes of each of them in its place; null leaves it. The caller says by it which are plain.
 * @returns how many were changed.
 */
export async function sealPlain(
  db: Db,
  seal: (environment: InlineEnvironment) => InlineEnvironment | null,
): Promise<number> {
  let count = 0
  for (const [table, column] of places) {
    let after = '(0,0)'
    while (true) {
      const { rows } = await sql<{ place: string; value: InlineEnvironment }>`
        select ctid::text as place, ${sql.ref(column)} as value from ${sql.table(table)}
        where ctid > ${after}::tid and (
          ${sql.ref(column)} -> 'env' <> '{}'::jsonb or ${sql.ref(column)}::text like '%@%'
        )
        order by ctid limit ${BATCH}
      `.execute(db)
      if (rows.length === 0) break
      after = rows.at(-1)?.place ?? after
      for (const { place, value } of rows) {
        const next = seal(value)
        if (next === null) continue
        const { numAffectedRows = 0n } = await sql`
          update ${sql.table(table)} set ${sql.ref(column)} = ${JSON.stringify(next)}::jsonb
          where ctid = ${place}::tid and ${sql.ref(column)} = ${JSON.stringify(value)}::jsonb
        `.execute(db)
        if (numAffectedRows > 0n) count += 1
      }
    }
  }
  return count
}
