// Who a host is, and whether a run is its to speak of: looked up at every request, so that a revoked key ends at once.
import { timingSafeEqual } from 'node:crypto'
import { sql } from 'kysely'
import type { Queryable } from '../database.ts'
import { hashOfSecret } from '../secret-hash.ts'

export interface AccessRequest {
  /** Null: the key of the settings, which the caller has compared. */
  key: string | null
  hostId: string
  secret: string
  /** What the request is about, when it is about a run; without an execution, the newest one. */
  run: { runId: string; execution: number | null } | null
}

export interface Access {
  key: 'valid' | 'invalid'
  keyId: string | null
  /** The only pool of the key; null for any. */
  keyPool: string | null
  /** `stranger`: the id belongs to a machine with another secret. */
  host: 'known' | 'new' | 'stranger'
  pool: string | null
  run: 'none' | 'unknown' | 'held' | 'not_held'
}

interface AccessRow {
  key_id: string | null
  key_pool: string | null
  host_pool: string | null
  secret_hash: string | null
  run_exists: boolean
  holder: string | null
  given_up: boolean
}

/** One query: hosts hand over a batch of events every few milliseconds. */
export async function findAccess(db: Queryable, { key, hostId, secret, run }: AccessRequest): Promise<Access> {
  const { rows } = await sql<AccessRow>`
    select worker_keys.id as key_id, worker_keys.pool as key_pool,
      hosts.pool as host_pool, hosts.secret_hash,
      runs.id is not null as run_exists,
      coalesce(executions.host_id, executions.claimed_by, executions.plan ->> 'heldBy') as holder,
      coalesce(
        runs.state in ('SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED') and not runs.sandbox_running and not runs.workspace_kept,
        false
      ) as given_up
    from (select) as request
    left join worker_keys on worker_keys.key_hash = ${key === null ? null : hashOfSecret(key)}
      and worker_keys.revoked_at is null
    left join hosts on hosts.id = ${hostId}
    left join runs on runs.id = ${run?.runId ?? null}::uuid
    left join executions on executions.run_id = runs.id
      and executions.execution = coalesce(${run?.execution ?? null}::integer, runs.execution)
  `.execute(db)
  const [row] = rows
  if (!row) throw new TypeError('a query without a condition has a row')
  return {
    key: key === null || row.key_id !== null ? 'valid' : 'invalid',
    keyId: row.key_id,
    keyPool: row.key_pool,
    host: row.secret_hash === null ? 'new' : isSecret(secret, row.secret_hash) ? 'known' : 'stranger',
    pool: row.host_pool,
    run: standing(run, row, hostId),
  }
}

function standing(run: AccessRequest['run'], row: AccessRow, hostId: string): Access['run'] {
  if (run === null) return 'none'
  if (!row.run_exists) return 'unknown'
  return row.holder === hostId && !row.given_up ? 'held' : 'not_held'
}

const isSecret = (secret: string, hash: string): boolean =>
  timingSafeEqual(Buffer.from(hashOfSecret(secret), 'hex'), Buffer.from(hash, 'hex'))
