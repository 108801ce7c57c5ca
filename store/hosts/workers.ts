// Hosts as people see them, and what an operator does to them.
import { sql } from 'kysely'
import type { WorkerItem } from '../../domain/worker.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { lockLine } from '../locking.ts'
import { tellWorkflow } from '../runs/mail.ts'
import { isLive } from './hosts.ts'

/** For queries on `hosts`. A host that drains is through when its own last word and the runs' both say so. */
export const workerState = sql<WorkerItem['state']>`
  case
    when not ${isLive} then 'gone'
    when hosts.draining_at is null then 'live'
    when hosts.in_use = 0 and hosts.reported_at > hosts.draining_at and not exists (
      select from runs
      join executions on executions.run_id = runs.id and executions.execution = runs.execution
      where runs.pool = hosts.pool
        and runs.state in ('QUEUED', 'PENDING', 'CLAIMED', 'INPROGRESS', 'BLOCKED')
        and coalesce(executions.host_id, executions.claimed_by, executions.plan ->> 'heldBy') = hosts.id
    ) then 'drained'
    else 'draining'
  end`

/** All hosts that have ever reported and were not removed; those of one pool together, the oldest first. */
export async function listWorkers(db: Queryable): Promise<WorkerItem[]> {
  const rows = await selectWorkers(db).orderBy('pool').orderBy('created_at').orderBy('id').execute()
  return rows.map(serve)
}

const selectWorkers = (db: Queryable) => db.selectFrom('hosts').selectAll('hosts').select(workerState.as('state'))

type WorkerRow = Awaited<ReturnType<ReturnType<typeof selectWorkers>['execute']>>[number]

const serve = (row: WorkerRow): WorkerItem => ({
  worker_id: row.id,
  pool: row.pool,
  kind: row.kind,
  version: row.version,
  state: row.state,
  capacity: row.capacity,
  in_use: row.in_use,
  connected_at: row.created_at.toISOString(),
  last_seen_at: row.reported_at.toISOString(),
  draining_at: row.draining_at?.toISOString() ?? null,
  egress: row.egress,
  key_uid: row.key_id,
})

/**
 * Tells a host to take no new run, or that it may again. Null when there is no
 * such host. `also`: what belongs into the same transaction.
 */
export async function setDraining(
  db: Db,
  id: string,
  draining: boolean,
  also: (tx: Tx) => Promise<void>,
): Promise<WorkerItem | null> {
  await db.transaction().execute(async (tx) => {
    const { numUpdatedRows } = await tx
      .updateTable('hosts')
      .set({ draining_at: draining ? sql`coalesce(draining_at, now())` : null })
      .where('id', '=', id)
      .executeTakeFirst()
    if (numUpdatedRows > 0n) await also(tx)
  })
  if (draining) await releaseKept(db, id)
  const row = await selectWorkers(db).where('id', '=', id).executeTakeFirst()
  return row ? serve(row) : null
}

/**
 * A host that drains keeps no sandbox for a follow-up that may never come: the
 * workflows are asked to give them up. Workspaces are kept.
 */
export async function releaseKept(db: Db, hostId: string): Promise<void> {
  const kept = (places: Queryable) =>
    places
      .selectFrom('places')
      .select(['run_id', 'execution'])
      .where('host_id', '=', hostId)
      .where('stage', '=', 'idle')
      .where('takes_capacity', '=', true)
      .where('release_asked_at', 'is', null)
  if ((await kept(db).limit(1).execute()).length === 0) return
  await db.transaction().execute(async (tx) => {
    await lockLine(tx)
    for (const { run_id: runId, execution } of await kept(tx).execute()) {
      await tx.updateTable('places').set({ release_asked_at: sql`now()` }).where('run_id', '=', runId).execute()
      await tellWorkflow(tx, runId, 'release', execution)
    }
  })
}

/** Forgets a host that is gone: its id is free for whoever reports under it next. */
export async function removeWorker(db: Queryable, id: string): Promise<'removed' | 'unknown' | 'connected'> {
  const { numDeletedRows } = await db
    .deleteFrom('hosts')
    .where('id', '=', id)
    .where((eb) => eb.not(isLive))
    .executeTakeFirst()
  if (numDeletedRows > 0n) return 'removed'
  const there = await db.selectFrom('hosts').select('id').where('id', '=', id).executeTakeFirst()
  return there ? 'connected' : 'unknown'
}
