// The line as people are told of it: where a run stands, why it waits, and whether a new one would have to.
import { sql } from 'kysely'
import { type Concurrency, describePlace, type QueuePlace } from '../../domain/queue.ts'
import type { Queryable } from '../database.ts'
import { type Blocker, inUse, lineOf } from './line.ts'

interface PlaceRow {
  run_id: string
  blocked_by: Blocker
  position: number
  pool: string
  host_id: string | null
  team: string
  team_name: string
  concurrency_group: string | null
  concurrency_limit: number | null
  team_limit: number
  team_working: number
  group_working: number
  environment_name: string | null
  environment_limit: number | null
  environment_working: number
  pool_capacity: number
  pool_in_use: number
  host_capacity: number | null
  host_in_use: number | null
}

/**
 * Those of the runs that wait, with their places. A place is counted among those
 * that wait for the same, in the order in which they would go if nobody else
 * came: each one that goes before makes its team wait longer.
 */
export async function queuePlaces(db: Queryable, runIds: readonly string[]): Promise<Map<string, QueuePlace>> {
  if (runIds.length === 0) return new Map()
  const { rows } = await sql<PlaceRow>`
    ${lineOf()}, spread as (
      select line.*,
        (team_working + row_number() over (partition by team order by priority desc, arrival, run_id))::float
          / team_limit as share
      from line
    ), numbered as (
      select spread.*, row_number() over (
        partition by blocked_by, case blocked_by
          when 'team' then team
          when 'group' then team || ' ' || concurrency_group
          when 'host' then host_id
          when 'environment' then environment_id
          else pool
        end
        order by priority desc, share, arrival, run_id
      ) as position
      from spread
    )
    select * from numbered where run_id = any(${runIds}::uuid[]) and blocked_by is not null
  `.execute(db)
  return new Map(rows.map((row) => [row.run_id, placeOf(row)]))
}

function placeOf(row: PlaceRow): QueuePlace {
  const place = { position: row.position, ...limitOf(row) }
  return { ...place, message: describePlace(place) }
}

function limitOf(row: PlaceRow): Omit<QueuePlace, 'position' | 'message'> {
  const reason = 'at_capacity'
  switch (row.blocked_by) {
    case 'no_host':
      return { reason: 'no_host', scope: 'pool', name: row.pool, limit: 0, in_use: 0 }
    case 'pool':
      return { reason, scope: 'pool', name: row.pool, limit: row.pool_capacity, in_use: row.pool_in_use }
    case 'host':
      return {
        reason,
        scope: 'host',
        name: row.host_id ?? '',
        limit: row.host_capacity ?? 0,
        in_use: row.host_in_use ?? 0,
      }
    case 'team':
      return { reason, scope: 'team', name: row.team_name, limit: row.team_limit, in_use: row.team_working }
    case 'environment':
      return {
        reason,
        scope: 'environment',
        name: row.environment_name ?? '',
        limit: row.environment_limit ?? 0,
        in_use: row.environment_working,
      }
    case 'group':
      return {
        reason,
        scope: 'group',
        name: row.concurrency_group ?? '',
        limit: row.concurrency_limit ?? 0,
        in_use: row.group_working,
      }
  }
}

/** True when a run that is written down now would have to wait. Runs whose workflow has not begun yet are counted as if it had. */
export async function wouldWait(
  db: Queryable,
  asked: { pool: string; team: string; concurrency: Concurrency | null; environmentId: string | null },
): Promise<boolean> {
  const { pool, team, concurrency, environmentId } = asked
  const { rows } = await sql<{ waits: boolean }>`
    ${inUse}, coming as (
      select runs.pool, runs.team, runs.concurrency_group, runs.environment_id
      from runs
      where runs.state = 'QUEUED' and not exists (select from places where places.run_id = runs.id)
    )
    select
      coalesce((select free from pools where pools.pool = ${pool}), 0)
        <= (select count(*) from coming where coming.pool = ${pool})
      or coalesce((select runs from at_work where at_work.team = ${team}), 0)
        + (select count(*) from coming where coming.team = ${team})
        >= (select run_limit from teams where teams.name = ${team})
      or coalesce((
          select working from groups where groups.team = ${team} and concurrency_group = ${concurrency?.group ?? null}
        ), 0) + (
          select count(*) from coming
          where coming.team = ${team} and concurrency_group = ${concurrency?.group ?? null}
        ) >= ${concurrency?.limit ?? null}::integer
      or coalesce((select working from in_environments where environment_id = ${environmentId}), 0)
        + (select count(*) from coming where environment_id = ${environmentId})
        >= (select run_limit from environments where id = ${environmentId} and deleted_at is null)
      as waits
  `.execute(db)
  return rows[0]?.waits === true
}
