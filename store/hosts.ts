// The machines that run sandboxes: who is there, how full a pool is, and what a host may throw away.
import { sql } from 'kysely'
import type { z } from 'zod'
import type { HostReport } from '../domain/host-api.ts'
import type { Queryable } from './database.ts'

/** A host reports every 15 s; after three missed reports it counts as gone. */
const LIVE_SECONDS = 45

export async function reportHost(db: Queryable, id: string, report: z.infer<typeof HostReport>): Promise<void> {
  const row = { ...report, reported_at: sql<Date>`now()` }
  await db
    .insertInto('hosts')
    .values({ id, ...row })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
    .execute()
}

const isLive = sql<boolean>`hosts.reported_at > now() - make_interval(secs => ${LIVE_SECONDS})`

export async function countLiveHosts(db: Queryable): Promise<number> {
  const row = await db
    .selectFrom('hosts')
    .select((eb) => eb.fn.countAll<number>().as('live'))
    .where(isLive)
    .executeTakeFirstOrThrow()
  return row.live
}

/** True when the pool's live hosts have as many runs as they hold at once, so that another one must wait. */
export async function isPoolFull(db: Queryable, pool: string): Promise<boolean> {
  const row = await db
    .selectNoFrom((eb) => [
      eb
        .selectFrom('hosts')
        .select((sum) => sum.fn.coalesce(sum.fn.sum<number>('capacity'), sql<number>`0`).as('capacity'))
        .where('pool', '=', pool)
        .where(isLive)
        .as('capacity'),
      eb
        .selectFrom('runs')
        .select((count) => count.fn.countAll<number>().as('active'))
        .where('pool', '=', pool)
        .where('state', 'in', ['QUEUED', 'PENDING', 'CLAIMED', 'INPROGRESS', 'BLOCKED'])
        .as('active'),
    ])
    .executeTakeFirstOrThrow()
  return Number(row.active) >= Number(row.capacity)
}

/**
 * Which of these runs a host must remove everything of. A run that is not over
 * stays unless another host works on it; one that is over stays while its
 * sandbox or workspace is kept, or while a message waits that will begin
 * another execution. Runs that this server does not know are left alone: they
 * may belong to another server.
 */
export async function runsToRemove(db: Queryable, hostId: string, runIds: readonly string[]): Promise<string[]> {
  if (runIds.length === 0) return []
  const { rows } = await sql<{ id: string }>`
    select runs.id
    from runs
    left join executions on executions.run_id = runs.id and executions.execution = runs.execution
    where runs.id = any(${runIds}::uuid[])
      and case
        when runs.state not in ('SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED')
          -- Not yet noted who has it: a claim of this host may be under way.
          then executions.host_id is not null and executions.host_id <> ${hostId}
        when exists (
          select from mail
          where mail.run_id = runs.id and mail.kind = 'prompt' and mail.accepted_at is null
        ) then false
        when runs.host_id is distinct from ${hostId} then true
        -- A sandbox is kept an hour at most; one that is noted longer has lost its workflow.
        when runs.sandbox_running then runs.finished_at < now() - interval '2 hours'
        else not (runs.workspace_kept and coalesce(runs.workspace_until > now(), false))
      end
  `.execute(db)
  return rows.map((row) => row.id)
}
