// Agent profiles, rules and saved prompts: one table, and one for their versions. A team in every query.
import { type Selectable, sql } from 'kysely'
import type { ItemKind } from '../../domain/configuration/shared-item.ts'
import type { Principal } from '../../domain/permission.ts'
import type { Queryable, Tx } from '../database.ts'
import { jsonb, storableText } from '../json.ts'
import type { SharedItemsTable } from '../schema.ts'
import { isTaken } from '../taken.ts'
import { newUid } from '../uid.ts'

export type ItemRow = Selectable<SharedItemsTable>

/** Who asks: a personal one is seen by its owner, and by whoever sees all. */
export interface ItemViewer {
  team: string
  uid: string
  seesAll: boolean
}

/** What one is made or replaced with. */
export interface ItemFields {
  name: string
  content: object
  isDefault: boolean
}

/** Another one of its kind has this name. */
export class ItemNameTakenError extends Error {
  override readonly name = 'ItemNameTakenError'
  constructor(kind: ItemKind, taken: string) {
    super(`There is a ${kind} "${taken}" already.`)
  }
}

/** It is at another version than the one that was read. */
export class ItemVersionError extends Error {
  override readonly name = 'ItemVersionError'
  readonly version: number
  constructor(version: number) {
    super(`It is at version ${version} by now.`)
    this.version = version
  }
}

/** `owner`: whose it is; null: the team's. @throws {ItemNameTakenError} */
export async function insertItem(
  tx: Tx,
  { team, kind, owner, by }: { team: string; kind: ItemKind; owner: string | null; by: Principal },
  { name, content, isDefault }: ItemFields,
): Promise<ItemRow> {
  if (isDefault) await clearDefault(tx, team, kind)
  const row = await named(kind, name, () =>
    tx
      .insertInto('shared_items')
      .values({
        uid: newUid(),
        team,
        kind,
        owner,
        name: storableText(name),
        content: jsonb(content as Record<string, unknown>),
        is_default: isDefault,
        created_by_type: by.type,
        created_by: by.uid,
        updated_by_type: by.type,
        updated_by: by.uid,
      })
      .returningAll()
      .executeTakeFirstOrThrow(),
  )
  await keepVersion(tx, row)
  return row
}

/**
 * Everything is replaced, by a further version. Null when there is none.
 * @throws {ItemNameTakenError} @throws {ItemVersionError} where it is not at the `expected` version.
 */
export async function replaceItem(
  tx: Tx,
  viewer: ItemViewer,
  { kind, uid, by, expected }: { kind: ItemKind; uid: string; by: Principal; expected: number | null },
  { name, content, isDefault }: ItemFields,
): Promise<ItemRow | null> {
  const former = await lockItem(tx, viewer, kind, uid)
  if (!former) return null
  if (expected !== null && expected !== former.version) throw new ItemVersionError(former.version)
  if (isDefault && !former.is_default) await clearDefault(tx, viewer.team, kind)
  const row = await named(kind, name, () =>
    tx
      .updateTable('shared_items')
      .set({
        name: storableText(name),
        content: jsonb(content as Record<string, unknown>),
        is_default: isDefault,
        version: sql`version + 1`,
        updated_by_type: by.type,
        updated_by: by.uid,
        updated_at: sql`now()`,
      })
      .where('uid', '=', uid)
      .returningAll()
      .executeTakeFirstOrThrow(),
  )
  await keepVersion(tx, row)
  return row
}

/** Its versions stay, for the runs that used them. Null when there is none. */
export async function deleteItem(tx: Tx, viewer: ItemViewer, kind: ItemKind, uid: string): Promise<ItemRow | null> {
  const row = await lockItem(tx, viewer, kind, uid)
  if (!row) return null
  await tx
    .updateTable('shared_items')
    .set({ deleted_at: sql`now()`, is_default: false })
    .where('uid', '=', uid)
    .execute()
  return row
}

/** For whoever replaces it by something that depends on what it is. Null when there is none. */
export async function lockItem(tx: Tx, viewer: ItemViewer, kind: ItemKind, uid: string): Promise<ItemRow | null> {
  return (await visible(tx, viewer, kind).where('uid', '=', uid).forNoKeyUpdate().executeTakeFirst()) ?? null
}

/** At a former version, where one is named. Null when there is none. */
export async function findItem(
  db: Queryable,
  viewer: ItemViewer,
  kind: ItemKind,
  uid: string,
  version: number | null = null,
): Promise<ItemRow | null> {
  const row = await visible(db, viewer, kind).where('uid', '=', uid).executeTakeFirst()
  if (!row) return null
  return version === null || version === row.version ? row : await atVersion(db, row, version)
}

/** The row as it was at a former version; null where it has had no such one. */
export async function atVersion(db: Queryable, row: ItemRow, version: number): Promise<ItemRow | null> {
  const former = await db
    .selectFrom('shared_item_versions')
    .selectAll()
    .where('uid', '=', row.uid)
    .where('version', '=', version)
    .executeTakeFirst()
  if (!former) return null
  const { name, content, created_at: updatedAt, created_by_type: type, created_by: by } = former
  return { ...row, version, name, content, updated_at: updatedAt, updated_by_type: type, updated_by: by }
}

/** By position, where its kind has one, and name. `after`: where the page before ended. */
export async function listItems(
  db: Queryable,
  viewer: ItemViewer,
  kind: ItemKind,
  { after, limit }: { after: string | null; limit: number },
): Promise<{ items: ItemRow[]; next: string | null }> {
  // One text that sorts as the list does, and names the row that a page ended with.
  const place = sql<string>`(
    case when owner is null then '0' else '1' end
    || lpad((coalesce((content ->> 'position')::integer, 0) + 1000)::text, 4, '0')
    || lower(name) || chr(1) || uid
  ) collate "C"`
  let query = visible(db, viewer, kind).select(place.as('place'))
  if (after !== null) query = query.where(place, '>', after)
  const rows = await query
    .orderBy(place)
    .limit(limit + 1)
    .execute()
  const items = rows.slice(0, limit)
  return { items, next: rows.length > limit ? (items.at(-1)?.place ?? null) : null }
}

export interface ItemVersionRow {
  version: number
  name: string
  created_at: Date
  by: Principal
}

/** The newest first. `before`: the version that the page before ended with. */
export async function listVersions(
  db: Queryable,
  uid: string,
  { before, limit }: { before: number | null; limit: number },
): Promise<ItemVersionRow[]> {
  let query = db
    .selectFrom('shared_item_versions')
    .select(['version', 'name', 'created_at', 'created_by_type', 'created_by'])
    .where('uid', '=', uid)
  if (before !== null) query = query.where('version', '<', before)
  const rows = await query.orderBy('version', 'desc').limit(limit).execute()
  return rows.map(({ created_by_type: type, created_by: by, ...row }) => ({ ...row, by: { type, uid: by } }))
}

/** All of a kind that a team has, personal ones among them; locked against others that are made meanwhile. */
export async function countItems(tx: Tx, team: string, kind: ItemKind): Promise<number> {
  await lockKind(tx, team, kind)
  const { count } = await tx
    .selectFrom('shared_items')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('team', '=', team)
    .where('kind', '=', kind)
    .where('deleted_at', 'is', null)
    .executeTakeFirstOrThrow()
  return Number(count)
}

/** Nobody else makes or enlarges one of this kind meanwhile. */
const lockKind = (tx: Tx, team: string, kind: ItemKind) =>
  sql`select pg_advisory_xact_lock(hashtextextended(${`shared_items ${team} ${kind}`}, 0))`.execute(tx)

/** Bytes of all enabled rules of a team, or of one person in it, but for one; locked against other changes of rules. */
export async function enabledRuleBytes(
  tx: Tx,
  team: string,
  owner: string | null,
  but: string | null,
): Promise<number> {
  await lockKind(tx, team, 'rule')
  const { bytes } = await tx
    .selectFrom('shared_items')
    .select(sql<number>`coalesce(sum(octet_length(content ->> 'text')), 0)::integer`.as('bytes'))
    .where('team', '=', team)
    .where('kind', '=', 'rule')
    .where('owner', owner === null ? 'is' : '=', owner)
    .where('deleted_at', 'is', null)
    .where(sql<boolean>`(content ->> 'enabled')::boolean`)
    .$if(but !== null, (query) => query.where('uid', '<>', but ?? ''))
    .executeTakeFirstOrThrow()
  return bytes
}

const visible = (db: Queryable, { team, uid, seesAll }: ItemViewer, kind: ItemKind) =>
  db
    .selectFrom('shared_items')
    .selectAll()
    .where('team', '=', team)
    .where('kind', '=', kind)
    .where('deleted_at', 'is', null)
    .$if(!seesAll, (query) => query.where((eb) => eb.or([eb('owner', 'is', null), eb('owner', '=', uid)])))

const clearDefault = (tx: Tx, team: string, kind: ItemKind) =>
  tx
    .updateTable('shared_items')
    .set({ is_default: false })
    .where('team', '=', team)
    .where('kind', '=', kind)
    .where('is_default', '=', true)
    .execute()

const keepVersion = (tx: Tx, { uid, version, name, content, updated_by_type: type, updated_by: by }: ItemRow) =>
  tx
    .insertInto('shared_item_versions')
    .values({ uid, version, name, content: jsonb(content), created_by_type: type, created_by: by })
    .execute()

async function named<T>(kind: ItemKind, name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isTaken(error)) throw new ItemNameTakenError(kind, name)
    throw error
  }
}
