// The machines that run sandboxes: who is there, how full a pool is, and what a host may throw away.
import { sql } from 'kysely'
import type { HostReport } from '../../domain/host-api.ts'
import type { Queryable } from '../database.ts'
import { hashOfSecret } from '../secret-hash.ts'

/** A host reports every 5 s. One that is being started again keeps its place for this long; then it counts as gone. */
const LIVE_SECONDS = 45
/** After three missed reports something is wrong with it. */
export const REPORTING_SECONDS = 15

/**
 * Notes that a host lives; the first report makes its id that machine's alone.
 * Returns whether it is to drain; null when the id is another machine's.
 */
export async function reportHost(
  db: Queryable,
  { hostId, keyId, secret }: { hostId: string; keyId: string | null; secret: string },
  report: HostReport,
): Promise<{ draining: boolean } | null> {
  const secretHash = hashOfSecret(secret)
  const row = { ...report, key_id: keyId, secret_hash: secretHash, reported_at: sql<Date>`now()` }
  const noted = await db
    .insertInto('hosts')
    .values({ id: hostId, ...row })
    .onConflict((conflict) =>
      conflict
        .column('id')
        .doUpdateSet(row)
        .where((eb) => eb.or([eb('hosts.secret_hash', 'is', null), eb('hosts.secret_hash', '=', secretHash)])),
    )
    .returning('draining_at')
    .executeTakeFirst()
  if (!noted) return null
  if (keyId !== null) {
    await db.updateTable('worker_keys').set({ last_used_at: sql`now()` }).where('id', '=', keyId).execute()
  }
  return { draining: noted.draining_at !== null }
}

/** For queries on `hosts`. */
export const isLive = sql<boolean>`hosts.reported_at > now() - make_interval(secs => ${LIVE_SECONDS})`

/** Whether the live hosts of a pool run containers, or processes, or some of them either. */
export async function liveHostKinds(db: Queryable, pool: string): Promise<('docker' | 'direct')[]> {
  const rows = await db.selectFrom('hosts').select('kind').distinct().where('pool', '=', pool).where(isLive).execute()
  return rows.map(({ kind }) => kind)
}

export async function isLiveHost(db: Queryable, id: string): Promise<boolean> {
  return (await db.selectFrom('hosts').select('id').where('id', '=', id).where(isLive).executeTakeFirst()) !== undefined
}

export async function countReportingHosts(db: Queryable): Promise<number> {
  const row = await db
    .selectFrom('hosts')
    .select((eb) => eb.fn.countAll<number>().as('reporting'))
    .where(sql<boolean>`reported_at > now() - make_interval(secs => ${REPORTING_SECONDS})`)
    .executeTakeFirstOrThrow()
  return row.reporting
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

/**
 * Which of these runs another host has taken over, while somebody may still want
 * to know what this one has of them: until nothing of the run is kept.
 */
export async function runsToSave(db: Queryable, hostId: string, runIds: readonly string[]): Promise<string[]> {
  if (runIds.length === 0) return []
  const { rows } = await sql<{ id: string }>`
    select runs.id
    from runs
    where runs.id = any(${runIds}::uuid[])
      and (
        runs.state not in ('SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED')
        or exists (select from checkpoints where run_id = runs.id and completed_at is not null)
      )
      and exists (
        select from executions
        where executions.run_id = runs.id and executions.host_id = ${hostId}
          and executions.execution < runs.execution
      )
  `.execute(db)
  return rows.map((row) => row.id)
}

/** A build has its sandbox under its own id, and so its host asks for it as for a run: nothing of it stays when it is over. */
export async function buildsToRemove(db: Queryable, hostId: string, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return []
  const rows = await db
    .selectFrom('builds')
    .select('id')
    .where(sql<boolean>`id = any(${ids}::uuid[])`)
    .where((eb) => eb.or([eb('finished_at', 'is not', null), eb('host_id', '<>', hostId)]))
    .execute()
  return rows.map(({ id }) => id)
}

/**
 * Which of these runs may have files on a host, and nothing that runs. One that
 * is over and whose sandbox was given up: giving it up is recorded also where
 * the host could not be told. One that this server does not know: nobody could
 * speak with its agent; its files may be all that is left of it.
 */
export async function runsToStop(db: Queryable, hostId: string, runIds: readonly string[]): Promise<string[]> {
  if (runIds.length === 0) return []
  const { rows } = await sql<{ id: string }>`
    select here.id
    from unnest(${runIds}::uuid[]) as here (id)
    left join runs on runs.id = here.id
    where runs.id is null and not exists (select from builds where builds.id = here.id)
      or runs.state in ('SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED')
        and runs.host_id = ${hostId}
        and not runs.sandbox_running
        -- What ends a run may still be at work.
        and runs.finished_at < now() - interval '1 minute'
        and not exists (
          select from mail
          where mail.run_id = runs.id and mail.kind = 'prompt' and mail.accepted_at is null
        )
  `.execute(db)
  return rows.map((row) => row.id)
}
