// Who pays: every sum and budget that a run's spending counts for.
import { type RawBuilder, sql } from 'kysely'
import type { MoneyRules } from '../../domain/money/rules.ts'
import type { Principal } from '../../domain/permission.ts'

/** As a month: all of them together. */
export const ALL_MONTHS = '0001-01-01'

/** The time that it is, in SQL. */
export const nowBy = ({ now }: Pick<MoneyRules, 'now'>): RawBuilder<Date> =>
  now === undefined ? sql`now()` : sql`${now}::timestamptz`

/** The first day of the current month. */
export const thisMonth = (rules: Pick<MoneyRules, 'now' | 'timeZone'>): RawBuilder<string> =>
  sql`date_trunc('month', ${nowBy(rules)} at time zone ${rules.timeZone})::date`

/**
 * Two tables for a query to begin with: `line`, a run and all above it, and
 * `places`. A run's spending counts for itself, for the trees of all runs above
 * it, the schedule that began the first of them, its person and its team.
 */
export const placesOfRun = (runId: string): RawBuilder<unknown> => sql`
  line as (${above(sql`id = ${runId}`)}),
  places as (
    select line.team, 'run' as scope, line.id::text as thing from line where depth = 0
    union all select line.team, 'tree', line.id::text from line
    union select line.team, 'schedule', schedule ->> 'schedule_id' from line where schedule is not null
    union all select line.team, 'person', created_by from line where depth = 0
    union all select line.team, 'team', line.team from line where depth = 0
  )
`

export interface ComingRun {
  team: string
  person: Pick<Principal, 'uid'>
  parentId: string | null
  scheduleId: string | null
}

/** As {@link placesOfRun}, of a run that is not there yet. */
export const placesOfComing = ({ team, person, parentId, scheduleId }: ComingRun): RawBuilder<unknown> => sql`
  line as (${above(parentId === null ? sql`false` : sql`id = ${parentId}`)}),
  places as (
    select ${team}::text as team, 'tree' as scope, line.id::text as thing from line
    union select ${team}, 'schedule', schedule ->> 'schedule_id' from line where schedule is not null
    union select ${team}, 'schedule', ${scheduleId}::text where ${scheduleId}::text is not null
    union all select ${team}, 'person', ${person.uid}::text
    union all select ${team}, 'team', ${team}::text
  )
`

const above = (first: RawBuilder<unknown>) => sql`
  select id, parent_run_id, team, created_by_type, created_by, schedule, 0 as depth from runs where ${first}
  union all
  select runs.id, runs.parent_run_id, runs.team, runs.created_by_type, runs.created_by, runs.schedule, line.depth + 1
  from runs join line on runs.id = line.parent_run_id
`
