// What keeps builds going where no request and no workflow does.
import { sql } from 'kysely'
import type { BuildReason } from '../../domain/environment.ts'
import type { Db, Queryable } from '../database.ts'
import { isLive } from '../hosts/hosts.ts'
import { askForBuild } from './builds.ts'

export interface UndeliveredBuild {
  id: string
  hostId: string
  environmentId: string
  environment: string
  team: string
  reason: BuildReason
  isStarted: boolean
  isCancelled: boolean
}

/**
 * Most that a host is given at a time; further ones wait here. There they would
 * take up what its runs need, and their own time.
 */
const AT_A_HOST = 4

/** Builds whose workflow is still to be started, or to be told of a cancel. The oldest first. */
export async function undeliveredBuilds(db: Queryable, limit: number): Promise<UndeliveredBuild[]> {
  const { rows } = await sql<UndeliveredBuild>`
    with going_on as (
      select id, row_number() over (
        partition by host_id order by dispatched_at is null, created_at, id
      ) as number
      from builds
      where finished_at is null
    )
    select builds.id, builds.host_id as "hostId", builds.environment_id as "environmentId",
      environments.name as environment, environments.team, builds.reason,
      dispatched_at is not null as "isStarted", cancel_asked_at is not null as "isCancelled"
    from builds
    join going_on on going_on.id = builds.id
    join environments on environments.id = builds.environment_id
    where case
        when cancel_asked_at is null then dispatched_at is null and going_on.number <= ${AT_A_HOST}
        else dispatched_at is null or cancel_dispatched_at is null
      end
    order by builds.created_at
    limit ${limit}
  `.execute(db)
  return rows
}

export async function markBuildDispatched(db: Queryable, id: string, what: 'start' | 'cancel'): Promise<void> {
  await db
    .updateTable('builds')
    .set({ [what === 'start' ? 'dispatched_at' : 'cancel_dispatched_at']: sql`now()` })
    .where('id', '=', id)
    .execute()
}

/** Started a while ago and not over: their workflow should be there. By their ids, from `after` on. */
export async function quietBuilds(
  db: Queryable,
  { after, limit }: { after: string | null; limit: number },
): Promise<string[]> {
  let select = db
    .selectFrom('builds')
    .select('id')
    .where('finished_at', 'is', null)
    .where('dispatched_at', '<', sql<Date>`now() - interval '20 seconds'`)
  if (after !== null) select = select.where('id', '>', after)
  return (await select.orderBy('id').limit(limit).execute()).map(({ id }) => id)
}

/**
 * Asks anew for what was built longer ago than its environment says and has been
 * used since, on hosts that are connected. The same content is built again: what
 * its set-up fetches may have changed. Returns the builds.
 */
export async function rebuildOld(db: Db): Promise<string[]> {
  const { rows } = await sql<{ environment_id: string; host_id: string }>`
    select last.environment_id, last.host_id
    from (
      select distinct on (environment_id, host_id) environment_id, host_id, finished_at
      from builds
      order by environment_id, host_id, created_at desc
    ) as last
    join environments on environments.id = last.environment_id and environments.deleted_at is null
    join hosts on hosts.id = last.host_id and hosts.draining_at is null and ${isLive}
    where (environments.config ->> 'prepare')::boolean
      and (environments.config ->> 'rebuild_hours')::float8 > 0
      and last.finished_at < now() - (environments.config ->> 'rebuild_hours')::float8 * interval '1 hour'
      and exists (
        select from builds
        where builds.environment_id = last.environment_id and builds.host_id = last.host_id
          and builds.used_at > last.finished_at
      )
  `.execute(db)
  const asked: string[] = []
  for (const { environment_id: environmentId, host_id: hostId } of rows) {
    const build = await db
      .transaction()
      .execute((tx) => askForBuild(tx, { environmentId, hostId, reason: 'age', force: true }))
    if (build !== null) asked.push(build)
  }
  return asked
}

/** Of each environment on each host, as many builds stay on record. */
const KEPT = 20
/** And none that ended longer ago, but for the newest that is ready. */
const KEPT_DAYS = 30

/** Removes builds from the record, with their logs. What was built, its host removes by its own rules. */
export async function dropOldBuilds(db: Queryable): Promise<void> {
  await sql`
    delete from builds
    using (
      select builds.id, environments.deleted_at is not null as is_orphan,
        row_number() over (partition by environment_id, host_id order by builds.created_at desc) as number,
        row_number() over (
          partition by environment_id, host_id, state order by builds.created_at desc
        ) = 1 and state = 'READY' as is_newest
      from builds
      join environments on environments.id = builds.environment_id
    ) as ranked
    where ranked.id = builds.id and builds.finished_at is not null
      and (is_orphan or not is_newest)
      and (number > ${KEPT} or finished_at < now() - make_interval(days => ${KEPT_DAYS}))
  `.execute(db)
}
