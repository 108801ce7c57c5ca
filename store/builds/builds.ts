// The builds of stored environments: each makes, on one host, what runs start from.
import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { sql } from 'kysely'
import type { BuildReason, BuildState, EnvironmentConfig } from '../../domain/environment.ts'
import { failureCodes } from '../../domain/failure.ts'
import type { BuiltEnvironment } from '../../domain/figures.ts'
import type { BuildOrder } from '../../domain/host-api.ts'
import { InlineEnvironment, withoutSecrets } from '../../domain/run.ts'
import type { BuildEnd } from '../../workflows/contract.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { isLive } from '../hosts/hosts.ts'
import { jsonb } from '../json.ts'
import { EVENTS_CHANNEL } from '../listener.ts'
import { stateOf } from './build-list.ts'

/**
 * Has an environment built on a host. One build of it at a time goes on there,
 * and is the answer if it does; one that builds what the environment is no
 * longer is cancelled, and its end asks for the next. For a run that finds
 * nothing, so is one that failed lately by what only a person can mend: else
 * each run would have the same fail again. Null when the environment is gone, or
 * is not to be built.
 */
export async function askForBuild(
  tx: Tx,
  asked: { environmentId: string; hostId: string; reason: BuildReason; force?: boolean },
): Promise<string | null> {
  const { environmentId, hostId, reason, force = false } = asked
  for (;;) {
    const environment = await tx
      .selectFrom('environments')
      .select(['config', 'updated_at'])
      .where('id', '=', environmentId)
      .where('deleted_at', 'is', null)
      .executeTakeFirst()
    if (!environment?.config.prepare) return null
    if (reason === 'missing') {
      const failed = await failedLately(tx, asked, environment.updated_at)
      if (failed !== null) return failed
    }
    const config = contentOf(environment.config)
    const row = {
      id: randomUUID(),
      environment_id: environmentId,
      host_id: hostId,
      reason,
      force,
      config: jsonb(config),
    }
    const made = await tx
      .insertInto('builds')
      .values({ ...row, state: 'QUEUED' })
      .onConflict((conflict) =>
        conflict.columns(['environment_id', 'host_id']).where('finished_at', 'is', null).doNothing(),
      )
      .returning('id')
      .executeTakeFirst()
    if (made) return made.id
    const goingOn = await tx
      .selectFrom('builds')
      .select(['id', 'config', 'cancel_asked_at', 'again_with_force'])
      .where('environment_id', '=', environmentId)
      .where('host_id', '=', hostId)
      .where('finished_at', 'is', null)
      .forNoKeyUpdate()
      .executeTakeFirst()
    // It has ended meanwhile.
    if (!goingOn) continue
    // What somebody asks for is not over with what somebody has cancelled: it is begun when that has ended.
    if ((reason === 'manual' || reason === 'push') && goingOn.cancel_asked_at !== null)
      await tx
        .updateTable('builds')
        .set({ again_with_force: force || goingOn.again_with_force === true })
        .where('id', '=', goingOn.id)
        .execute()
    // Asked again: it may have been begun for a change that came after the first look.
    const now = await tx.selectFrom('environments').select('config').where('id', '=', environmentId).executeTakeFirst()
    if (now && !isDeepStrictEqual(contentOf(goingOn.config), contentOf(now.config))) await cancel(tx, [goingOn.id])
    return goingOn.id
  }
}

/** How long a failure answers for those who find nothing built. What it was for may be mended elsewhere: in the repository. */
const FAILED_MINUTES = 10

/** The newest build, where it failed so after the environment last changed. */
async function failedLately(
  tx: Tx,
  { environmentId, hostId }: { environmentId: string; hostId: string },
  changedAt: Date,
): Promise<string | null> {
  const newest = await tx
    .selectFrom('builds')
    .select(['id', 'failure', 'created_at', sql<number>`extract(epoch from now() - finished_at)::float8`.as('ago')])
    .where('environment_id', '=', environmentId)
    .where('host_id', '=', hostId)
    .orderBy('created_at', 'desc')
    .limit(1)
    .executeTakeFirst()
  if (!newest?.failure || failureCodes[newest.failure.code].retryable) return null
  return newest.created_at >= changedAt && newest.ago < FAILED_MINUTES * 60 ? newest.id : null
}

/** What of an environment is built. */
const contentOf = (config: InlineEnvironment): InlineEnvironment => InlineEnvironment.parse(config)

/** An environment is new, has changed or, without an `after`, is gone: its hosts build it, or cease to. */
export async function heedChange(
  tx: Tx,
  change: { id: string; before: EnvironmentConfig | null; after: EnvironmentConfig | null; pool: string | null },
): Promise<void> {
  const { id, before, after, pool } = change
  if (after === null || !after.prepare) {
    const goingOn = await tx
      .selectFrom('builds')
      .select('id')
      .where('environment_id', '=', id)
      .where('finished_at', 'is', null)
      .execute()
    await cancel(
      tx,
      goingOn.map((build) => build.id),
    )
    return
  }
  if (before?.prepare && isDeepStrictEqual(contentOf(before), contentOf(after))) return
  for (const hostId of await buildingHosts(tx, id, pool))
    await askForBuild(tx, { environmentId: id, hostId, reason: 'changed' })
}

/**
 * The hosts that build an environment when nobody names one: those of the pool
 * to which runs go that name none, and those that have built it before, as far
 * as they are connected and take runs.
 */
export async function buildingHosts(db: Queryable, environmentId: string, pool: string | null): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select hosts.id
    from hosts
    join environments on environments.id = ${environmentId}
    where ${isLive} and hosts.draining_at is null
      and (
        hosts.kind = 'docker'
        or (environments.config ->> 'image' is null and environments.config ->> 'egress' is null)
      )
      and (hosts.pool = ${pool} or exists (
        select from builds where builds.environment_id = ${environmentId} and builds.host_id = hosts.id
      ))
    order by hosts.id
  `.execute(db)
  return rows.map(({ id }) => id)
}

async function cancel(tx: Queryable, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return
  await tx
    .updateTable('builds')
    .set({ cancel_asked_at: sql`coalesce(cancel_asked_at, now())` })
    .where('id', 'in', ids)
    .where('finished_at', 'is', null)
    .execute()
}

/** Its workflow is told, and ends it. One that is over stays as it is. */
export const cancelBuild = (db: Queryable, id: string): Promise<void> => cancel(db, [id])

/**
 * The end of a build, on its workflow's word. Its secrets go with it; what its
 * environment has become meanwhile is built next. Null when it had ended before.
 */
export async function recordBuild(
  db: Db,
  { buildId, end }: { buildId: string; end: BuildEnd },
): Promise<BuiltEnvironment | null> {
  return db.transaction().execute(async (tx) => {
    const build = await tx
      .selectFrom('builds')
      .select(['environment_id', 'host_id', 'config', 'cancel_asked_at', 'again_with_force'])
      .where('id', '=', buildId)
      .where('finished_at', 'is', null)
      .forNoKeyUpdate()
      .executeTakeFirst()
    if (!build) return null
    const state = endStates[end.kind]
    const recorded = await tx
      .updateTable('builds')
      .set({
        state,
        result: end.kind === 'ready' ? jsonb(end.result) : null,
        failure: end.kind === 'failed' ? jsonb(end.failure) : null,
        finished_at: sql`now()`,
        config: jsonb(withoutSecrets(build.config)),
      })
      .where('id', '=', buildId)
      .returning(['reason', sql<number>`extract(epoch from now() - created_at)::float8`.as('seconds')])
      .executeTakeFirstOrThrow()
    await sql`select pg_notify(${EVENTS_CHANNEL}, ${buildId})`.execute(tx)
    const environment = await tx
      .selectFrom('environments')
      .select(['config', 'updated_at'])
      .where('id', '=', build.environment_id)
      .executeTakeFirstOrThrow()
    const { cancel_asked_at: cancelledAt, environment_id: environmentId, host_id: hostId } = build
    if (build.again_with_force !== null)
      await askForBuild(tx, { environmentId, hostId, reason: 'manual', force: build.again_with_force })
    // Cancelled for a change that was taken back before this end.
    const isWantedAgain = state === 'CANCELLED' && cancelledAt !== null && environment.updated_at > cancelledAt
    if (isWantedAgain || !isDeepStrictEqual(contentOf(environment.config), contentOf(build.config)))
      await askForBuild(tx, { environmentId, hostId, reason: 'changed' })
    return { state, ...recorded }
  })
}

const endStates = { ready: 'READY', failed: 'FAILED', cancelled: 'CANCELLED' } as const satisfies Record<
  BuildEnd['kind'],
  BuildState
>

/** Secrets are opened where they are given, and nowhere else. */
export type StoredBuildOrder = Omit<BuildOrder, 'git' | 'secrets' | 'secrets_trouble'>

/** What a host needs to build, with whose host that is. Null when there is no such build. */
export async function findBuildOrder(
  db: Queryable,
  id: string,
): Promise<{ hostId: string; order: StoredBuildOrder } | null> {
  const row = await db
    .selectFrom('builds')
    .innerJoin('environments', 'environments.id', 'builds.environment_id')
    .select([
      'builds.environment_id',
      'builds.host_id',
      'builds.config',
      'builds.force',
      'builds.state',
      'builds.started_at',
      'builds.failure',
      'environments.team',
    ])
    .where('builds.id', '=', id)
    .executeTakeFirst()
  if (!row) return null
  const { environment_id, team, config: environment, force } = row
  const failure = row.failure && { ...row.failure }
  return {
    hostId: row.host_id,
    order: { build_id: id, environment_id, team, environment, force, state: stateOf(row), failure },
  }
}

/** Whether a host may ask for builds: it has taken a run of the environment, or has built it. */
export async function mayBuild(db: Queryable, environmentId: string, hostId: string): Promise<boolean> {
  const { rows } = await sql<{ may: boolean }>`
    select exists (
      select from builds where environment_id = ${environmentId} and host_id = ${hostId}
    ) or exists (
      select from runs
      join executions on executions.run_id = runs.id
      where runs.environment_id = ${environmentId}
        and coalesce(executions.host_id, executions.claimed_by) = ${hostId}
    ) as may
  `.execute(db)
  return rows[0]?.may === true
}

/** A run has started from what was built here under this key. */
export async function noteUse(
  db: Queryable,
  { environmentId, hostId, key }: { environmentId: string; hostId: string; key: string },
): Promise<void> {
  await db
    .updateTable('builds')
    .set({ used_at: sql`now()` })
    .where('environment_id', '=', environmentId)
    .where('host_id', '=', hostId)
    .where('state', '=', 'READY')
    .where(sql<boolean>`result ->> 'key' = ${key}`)
    .execute()
}
