// What the sandboxes of runs were refused of the outside.
import { sql } from 'kysely'
import type { BlockedHost } from '../../domain/egress.ts'
import type { BlockedHosts } from '../../domain/host-api.ts'
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { Db, Queryable } from '../database.ts'
import { jsonb } from '../json.ts'
import { lockRun, refuseOlder } from '../locking.ts'

/**
 * Notes what one sandbox was refused up to now; the same again changes nothing.
 * @throws {FencedError} when a newer execution has begun; {RunNotFoundError}
 */
export async function saveBlockedHosts(
  db: Db,
  { runId, execution }: ExecutionRef,
  { sandbox, hosts }: BlockedHosts,
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    refuseOlder(await lockRun(tx, runId), execution)
    await sql`
      insert into blocked_hosts (run_id, sandbox, host, port, count, first_seen)
      select ${runId}, ${sandbox}, host, port, count, first_seen
      from jsonb_to_recordset(${jsonb(hosts)}) as told (host text, port integer, count bigint, first_seen timestamptz)
      on conflict (run_id, sandbox, host, port) do update set count = greatest(blocked_hosts.count, excluded.count)
    `.execute(tx)
  })
}

/** Of each run, in the order of the first time. */
export async function blockedHosts(db: Queryable, runIds: readonly string[]): Promise<Map<string, BlockedHost[]>> {
  const found = new Map<string, BlockedHost[]>()
  if (runIds.length === 0) return found
  const rows = await db
    .selectFrom('blocked_hosts')
    .select((eb) => [
      'run_id',
      'host',
      'port',
      sql<number>`sum(count)::bigint`.as('count'),
      eb.fn.min('first_seen').as('first_seen'),
    ])
    .where('run_id', 'in', runIds)
    .groupBy(['run_id', 'host', 'port'])
    .orderBy('first_seen')
    .orderBy('host')
    .execute()
  for (const { run_id: runId, first_seen: firstSeen, ...row } of rows) {
    found.set(runId, [...(found.get(runId) ?? []), { ...row, first_seen: new Date(firstSeen).toISOString() }])
  }
  return found
}
