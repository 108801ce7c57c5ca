// The line of waiting runs as one query: who waits, what for, and in which order they go.
import { type RawBuilder, type SqlBool, sql } from 'kysely'
import { isLive } from '../hosts/hosts.ts'

/** What a waiting run waits for. `no_host`: for any host of its pool to be there. */
export type Blocker = 'no_host' | 'environment' | 'group' | 'team' | 'pool' | 'host'

/**
 * What is in use, as table expressions. A host that is not live, or drains, has
 * no room to give, and what is on it takes none away from others.
 */
export const inUse = sql`
  with machines as (
    select hosts.id, hosts.pool, hosts.capacity, hosts.draining_at, count(places.run_id)::integer as in_use
    from hosts
    left join places on places.host_id = hosts.id and places.takes_capacity
    where ${isLive}
    group by hosts.id
  ), unclaimed as (
    select pool, count(*)::integer as runs
    from places
    where takes_capacity and host_id is null
    group by pool
  ), pools as (
    select machines.pool, sum(capacity)::integer as capacity,
      (sum(greatest(capacity - in_use, 0)) - coalesce(max(unclaimed.runs), 0))::integer as free
    from machines
    left join unclaimed on unclaimed.pool = machines.pool
    where draining_at is null
    group by machines.pool
  ), at_work as (
    select team, count(*)::integer as runs from places where stage = 'working' group by team
  ), groups as (
    select team, concurrency_group, count(*)::integer as working
    from places
    where stage = 'working' and concurrency_group is not null
    group by team, concurrency_group
  ), in_environments as (
    select environment_id, count(*)::integer as working
    from places
    where stage = 'working' and environment_id is not null
    group by environment_id
  )`

/**
 * The same, and `line`: each waiting place with `blocked_by`, which is null where
 * it can be let in at once. `which` narrows the waiting ones that are looked at.
 *
 * A run whose workspace is on a host that is not live is let in, so that its
 * workflow can find out. A run that has been let in and is on no host yet may
 * come to any of its pool, so whoever can go to one host alone leaves room for
 * it there.
 */
export const lineOf = (which: RawBuilder<SqlBool> = sql`true`) => sql`
  ${inUse}, line as (
    select places.*,
      teams.run_limit as team_limit,
      coalesce(nullif(teams.display_name, ''), teams.name) as team_name,
      coalesce(at_work.runs, 0) as team_working,
      coalesce(groups.working, 0) as group_working,
      environments.name as environment_name,
      environments.run_limit as environment_limit,
      coalesce(in_environments.working, 0) as environment_working,
      coalesce(pools.capacity, 0) as pool_capacity,
      coalesce(pools.capacity - pools.free, 0) as pool_in_use,
      machines.capacity as host_capacity,
      machines.in_use + coalesce(unclaimed.runs, 0) as host_in_use,
      case
        when not takes_capacity and host_id is null and pools.pool is null then 'no_host'
        when coalesce(in_environments.working, 0) >= environments.run_limit then 'environment'
        when coalesce(groups.working, 0) >= concurrency_limit then 'group'
        when coalesce(at_work.runs, 0) >= teams.run_limit then 'team'
        when takes_capacity then null
        when host_id is null and pools.free <= 0 then 'pool'
        when machines.in_use + coalesce(unclaimed.runs, 0) >= machines.capacity then 'host'
      end as blocked_by
    from places
    join teams on teams.name = places.team
    left join at_work on at_work.team = places.team
    left join pools on pools.pool = places.pool
    left join machines on machines.id = places.host_id
    left join unclaimed on unclaimed.pool = machines.pool
    left join groups on groups.team = places.team and groups.concurrency_group = places.concurrency_group
    left join environments on environments.id = places.environment_id and environments.deleted_at is null
    left join in_environments on in_environments.environment_id = places.environment_id
    where stage = 'waiting' and ${which}
  )`

/** The order in which those go that can: the most urgent, then the team that uses least of its limit, then the earliest. */
export const turnOrder = sql`priority desc, team_working::float / team_limit, arrival, run_id`
