// The keys by which hosts speak to the server, beside the one of the settings. Only their hashes are kept.
import { randomBytes, randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import type { WorkerKeyItem } from '../../domain/worker.ts'
import type { Queryable } from '../database.ts'
import { hashOfSecret } from '../secret-hash.ts'

/** Characters of a key that are shown: its kind, and as much as tells it from others. */
const PREFIX = 11

/** A new key. It is returned here and never again. */
export async function createWorkerKey(
  db: Queryable,
  { name, pool }: { name: string; pool: string | null },
): Promise<{ key: string; item: WorkerKeyItem }> {
  const key = `ww-${randomBytes(32).toString('base64url')}`
  const row = await db
    .insertInto('worker_keys')
    .values({ id: randomUUID(), name, pool, prefix: key.slice(0, PREFIX), key_hash: hashOfSecret(key) })
    .returning(served)
    .executeTakeFirstOrThrow()
  return { key, item: serve(row) }
}

/** Those that can be used, the oldest first. */
export async function listWorkerKeys(db: Queryable): Promise<WorkerKeyItem[]> {
  const rows = await db
    .selectFrom('worker_keys')
    .select(served)
    .where('revoked_at', 'is', null)
    .orderBy('created_at')
    .orderBy('id')
    .execute()
  return rows.map(serve)
}

/** Whether there ever was such a key. */
export async function isKnownWorkerKey(db: Queryable, key: string): Promise<boolean> {
  const row = await db
    .selectFrom('worker_keys')
    .select('id')
    .where('key_hash', '=', hashOfSecret(key))
    .executeTakeFirst()
  return row !== undefined
}

/** From now on nobody gets in with it. False when there is no such key. */
export async function revokeWorkerKey(db: Queryable, id: string): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('worker_keys')
    .set({ revoked_at: sql`now()` })
    .where('id', '=', id)
    .where('revoked_at', 'is', null)
    .executeTakeFirst()
  return numUpdatedRows > 0n
}

const served = ['id', 'name', 'prefix', 'pool', 'created_at', 'last_used_at'] as const

interface KeyRow {
  id: string
  name: string
  prefix: string
  pool: string | null
  created_at: Date
  last_used_at: Date | null
}

const serve = (row: KeyRow): WorkerKeyItem => ({
  uid: row.id,
  name: row.name,
  key_prefix: row.prefix,
  pool: row.pool,
  created_at: row.created_at.toISOString(),
  last_used_at: row.last_used_at?.toISOString() ?? null,
})
