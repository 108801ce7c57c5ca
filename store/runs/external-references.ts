// Which run made what, by its URL elsewhere.
import { createHash } from 'node:crypto'
import { sql } from 'kysely'
import { referenceKey } from '../../domain/reference-url.ts'
import type { Queryable, Tx } from '../database.ts'
import { isVisible, type Visibility } from './run-access.ts'

/** No index of Postgres has room for more, in bytes. */
const KEY_BYTES = 2_000

/** Null for what is no URL. In its one spelling a URL may be several times as long as it was given: then its hash stands for it. */
function storedKey(url: string): string | null {
  const key = referenceKey(url)
  if (key === null || Buffer.byteLength(key) <= KEY_BYTES) return key
  return `sha256:${createHash('sha256').update(key).digest('hex')}`
}

/** Has the run found by this URL. One that nobody could look up is passed over. */
export async function noteReference(tx: Tx, runId: string, url: string): Promise<void> {
  const key = storedKey(url)
  if (key === null) return
  await sql`
    insert into external_references (team, key, run_id)
    select team, ${key}, id from runs where id = ${runId}
    on conflict do nothing
  `.execute(tx)
}

/** The first run that somebody sees and that has made or named it; null when none has. */
export async function findRunByReference(db: Queryable, visible: Visibility, url: string): Promise<string | null> {
  const key = storedKey(url)
  if (key === null) return null
  const row = await db
    .selectFrom('external_references')
    .innerJoin('runs', 'runs.id', 'external_references.run_id')
    .select('external_references.run_id')
    .where('external_references.team', '=', visible.team)
    .where('external_references.key', '=', key)
    .where(isVisible(visible))
    .orderBy('external_references.created_at')
    .orderBy('external_references.run_id')
    .limit(1)
    .executeTakeFirst()
  return row?.run_id ?? null
}
