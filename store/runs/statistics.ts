// What the runs of a team came to, counted from one narrow row for each: see the migration 0016.
import { type RawBuilder, sql } from 'kysely'
import type { StatisticsGroup, StatisticsPeriod } from '../../domain/statistics.ts'
import type { Queryable } from '../database.ts'

export interface StatisticsAsked {
  team: string
  start: Date
  /** Not included. */
  end: Date
  group: StatisticsGroup | null
  /** Where each period begins, in order; none: they are not told apart. */
  periods: readonly Date[]
  source?: string | undefined
  agent?: string | undefined
  model?: string | undefined
  creator?: string | undefined
  environment?: string | undefined
}

/** Of what a number of runs is told. */
interface Cell {
  /** From 0; 0 as well where periods are not told apart. */
  period: number
  key: string | null
  runs: number
}

/** Null: going on. */
export type EndCell = Cell & {
  state: string | null
  code: string | null
  phase: string | null
  tokens: number
  cost_micro_usd: number
}
/** How many took so long. */
export type DurationCell = Cell & { class: number }

export interface Counts {
  ends: EndCell[]
  worked: DurationCell[]
  waited: DurationCell[]
}

const keys: Readonly<Record<StatisticsGroup, RawBuilder<unknown>>> = {
  source: sql`source`,
  agent: sql`agent`,
  model: sql`model`,
  creator: sql`creator`,
  executor: sql`executor`,
  environment: sql`environment_id`,
  state: sql`coalesce(state, 'GOING_ON')`,
  failure: sql`failure_code`,
}

export async function countRuns(db: Queryable, asked: StatisticsAsked): Promise<Counts> {
  const period =
    asked.periods.length === 0 ? sql`0` : sql`width_bucket(created_at, ${asked.periods}::timestamptz[]) - 1`
  const key = asked.group === null ? sql`null::text` : keys[asked.group]
  const where = sql.join(conditionsOf(asked), sql` and `)
  const count = async <T>(of: RawBuilder<unknown>, also: RawBuilder<unknown>, sums = sql``): Promise<T[]> => {
    const { rows } = await sql<T>`
      select ${period} as period, ${key} as key, ${of}, count(*) as runs ${sums}
      from run_statistics
      where ${where} ${also}
      group by 1, 2, ${sql.raw(String(of === ends ? '3, 4, 5' : '3'))}
    `.execute(db)
    return rows
  }
  const [ended, worked, waited] = await Promise.all([
    count<EndCell>(ends, sql``, used),
    count<DurationCell>(sql`run_class as class`, sql`and run_class is not null`),
    count<DurationCell>(sql`wait_class as class`, sql`and wait_class is not null`),
  ])
  return { ends: ended, worked, waited }
}

const used = sql`, sum(total_tokens)::bigint as tokens, sum(cost_micro_usd)::bigint as cost_micro_usd`
const ends = sql`state, failure_code as code, failure_phase as phase`

function conditionsOf({ team, start, end, source, agent, model, creator, environment }: StatisticsAsked) {
  const all = [sql`team = ${team}`, sql`created_at >= ${start}`, sql`created_at < ${end}`]
  if (source !== undefined) all.push(sql`source = ${source}`)
  if (agent !== undefined) all.push(sql`agent = ${agent}`)
  if (model !== undefined) all.push(sql`model = ${model}`)
  if (creator !== undefined) all.push(sql`creator = ${creator}`)
  if (environment !== undefined) all.push(sql`environment_id = ${environment}`)
  return all
}

/** The middle of a duration's class, in seconds. */
export const secondsOfClass = (durationClass: number): number => Math.exp(durationClass / 25) / 1000

/**
 * The beginnings of the periods that have some of the time in them, of a day, a
 * week from Sunday, or a month in the time zone. At most `most` and one more.
 */
export async function periodsBetween(
  db: Queryable,
  { start, end, zone, period, most }: { start: Date; end: Date; zone: string; period: StatisticsPeriod; most: number },
): Promise<Date[]> {
  // Postgres's weeks begin on Monday.
  const shift = period === 'week' ? sql`interval '1 day'` : sql`interval '0'`
  const { rows } = await sql<{ begin: Date }>`
    select begins at time zone ${zone} as begin
    from (
      select date_trunc(${period}, (${start}::timestamptz at time zone ${zone}) + ${shift}) - ${shift}
        + number * ${sql.lit(`1 ${period}`)}::interval as begins
      from generate_series(0, ${most}) as number
    ) as periods
    where begins at time zone ${zone} < ${end}
    order by 1
  `.execute(db)
  return rows.map(({ begin }) => begin)
}

/** Midnight of a day, such as 2026-01-31, in a time zone. */
export async function midnight(db: Queryable, day: string, zone: string): Promise<Date> {
  const { rows } = await sql<{ at: Date }>`select ${day}::date::timestamp at time zone ${zone} as at`.execute(db)
  const [row] = rows
  if (!row) throw new Error('Postgres answered a select without a row')
  return row.at
}

/** As people know them: of creators and executors the names, of environments too. */
export async function namesOf(
  db: Queryable,
  group: StatisticsGroup | null,
  uids: readonly string[],
): Promise<Map<string, string>> {
  if (uids.length === 0) return new Map()
  const query =
    group === 'environment'
      ? sql<Named>`select id as uid, name from environments where id = any(${uids}::text[])`
      : group === 'creator' || group === 'executor'
        ? sql<Named>`
            select uid, display_name as name from people where uid = any(${uids}::text[])
            union all
            select uid, name from identities where uid = any(${uids}::text[])
          `
        : null
  const { rows } = query === null ? { rows: [] } : await query.execute(db)
  return new Map(rows.map(({ uid, name }) => [uid, name]))
}

interface Named {
  uid: string
  name: string
}
