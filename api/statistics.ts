// Statistics of a team's runs, for dashboards.
import { Router } from 'express'
import { canonicalTimeZone } from '../domain/cron.ts'
import { fromMicro } from '../domain/money/money.ts'
import {
  type RunFigures,
  STATISTICS_BUCKETS,
  type Statistics,
  type StatisticsGroup,
  StatisticsQuery,
} from '../domain/statistics.ts'
import {
  type Counts,
  countRuns,
  type DurationCell,
  midnight,
  namesOf,
  periodsBetween,
  secondsOfClass,
} from '../store/runs/statistics.ts'
import { callerOf, permit } from './access/caller.ts'
import type { ApiDeps } from './deps.ts'
import { invalid } from './errors.ts'
import { onlyMethods, parse, queryOf } from './parse.ts'

const DEFAULT_DAYS = 30
const DAY_MS = 86_400_000

export function statisticsRoutes({ db }: Pick<ApiDeps, 'db'>): Router {
  const router = Router()
  router
    .route('/statistics')
    .get(permit('statistics.view'), async (request, response) => {
      const { team } = callerOf(response)
      const asked = parseQuery(queryOf(request))
      const zone = zoneOf(asked.time_zone)
      const asOf = new Date()
      const moment = (given: string) => (given.includes('T') ? new Date(given) : midnight(db, given, zone))
      const end = asked.end_date === undefined ? asOf : await moment(asked.end_date)
      const start = asked.start_date === undefined ? daysBefore(end) : await moment(asked.start_date)
      if (start >= end) throw invalid('start_date: must be before end_date')
      const period = asked.group_by_period
      const periods =
        period === undefined ? [] : await periodsBetween(db, { start, end, zone, period, most: STATISTICS_BUCKETS })
      if (periods.length > STATISTICS_BUCKETS)
        throw invalid(
          `group_by_period: makes more than ${STATISTICS_BUCKETS} periods; ask for longer ones, or less time`,
        )
      const group = asked.group_by ?? null
      const counts = await countRuns(db, {
        team,
        start,
        end,
        group,
        periods,
        source: asked.source,
        agent: asked.agent,
        model: asked.model_id,
        creator: asked.creator,
        environment: asked.environment_id,
      })
      const { shown, names } = await groupsOf(counts, group, asked.limit)
      const parts = (own: Counts) => ({
        total: figuresOf(own),
        ...(group !== null && { groups: shown.map((key) => ofGroup(own, key)) }),
        ...restOf(own),
      })
      const ofGroup = (own: Counts, key: string | null) => ({
        key,
        ...(key !== null && names.has(key) && { name: names.get(key) }),
        ...figuresOf(only(own, (cell) => cell.key === key)),
      })
      const restOf = (own: Counts) => {
        if (group === null) return {}
        const rest = only(own, ({ key }) => !shown.includes(key))
        return rest.ends.length === 0 ? {} : { rest: figuresOf(rest) }
      }
      const answer: Statistics = {
        as_of: asOf.toISOString(),
        team_uid: team,
        start_date: start.toISOString(),
        end_date: end.toISOString(),
        time_zone: zone,
        ...parts(counts),
        ...(period !== undefined && {
          periods: periods.map((begin, at) => ({
            start: begin.toISOString(),
            end: (periods[at + 1] ?? end).toISOString(),
            ...parts(only(counts, (cell) => cell.period === at)),
          })),
        }),
      }
      response.json(answer)
    })
    .all(onlyMethods('GET'))
  return router

  async function groupsOf(counts: Counts, group: StatisticsGroup | null, limit: number) {
    if (group === null) return { shown: [], names: new Map<string, string>() }
    const runs = new Map<string | null, number>()
    for (const cell of counts.ends) runs.set(cell.key, (runs.get(cell.key) ?? 0) + cell.runs)
    const shown = [...runs]
      .sort(([one, ofOne], [other, ofOther]) => ofOther - ofOne || String(one).localeCompare(String(other)))
      .slice(0, limit)
      .map(([key]) => key)
    return {
      shown,
      names: await namesOf(
        db,
        group,
        shown.filter((key) => key !== null),
      ),
    }
  }
}

function parseQuery(query: URLSearchParams): StatisticsQuery {
  const { limit, ...rest } = Object.fromEntries([...query].filter(([, value]) => value !== ''))
  return parse(StatisticsQuery, { ...rest, ...(limit !== undefined && { limit: Number(limit) }) })
}

function zoneOf(asked = 'UTC'): string {
  const zone = canonicalTimeZone(asked)
  if (zone === null) throw invalid('time_zone: must be the name of one, such as Europe/Berlin')
  return zone
}

const daysBefore = (end: Date) => new Date(end.getTime() - DEFAULT_DAYS * DAY_MS)

const only = (counts: Counts, isMeant: (cell: { period: number; key: string | null }) => boolean): Counts => ({
  ends: counts.ends.filter(isMeant),
  worked: counts.worked.filter(isMeant),
  waited: counts.waited.filter(isMeant),
})

function figuresOf({ ends, worked, waited }: Counts): RunFigures {
  const ended = (state: string | null) => sum(ends.filter((cell) => cell.state === state))
  const [succeeded, failed, errors] = [ended('SUCCEEDED'), ended('FAILED'), ended('ERROR')]
  const decided = succeeded + failed + errors
  return {
    runs: sum(ends),
    going_on: ended(null),
    succeeded,
    failed,
    errors,
    cancelled: ended('CANCELLED'),
    success_rate: decided === 0 ? null : succeeded / decided,
    run_time_seconds: spreadOf(worked),
    queue_wait_seconds: spreadOf(waited),
    failure_reasons: reasonsOf(ends),
    total_tokens: ends.reduce((total, { tokens }) => total + tokens, 0),
    cost_usd: fromMicro(ends.reduce((total, { cost_micro_usd: cost }) => total + cost, 0)),
  }
}

const sum = (cells: readonly { runs: number }[]) => cells.reduce((total, { runs }) => total + runs, 0)

function spreadOf(cells: readonly DurationCell[]): RunFigures['run_time_seconds'] {
  const total = sum(cells)
  if (total === 0) return null
  const sorted = [...cells].sort((one, other) => one.class - other.class)
  const quantile = (share: number) => {
    let seen = 0
    for (const cell of sorted) {
      seen += cell.runs
      if (seen >= share * total) return Number(secondsOfClass(cell.class).toPrecision(3))
    }
    throw new RangeError('no quantile')
  }
  return { p50: quantile(0.5), p95: quantile(0.95) }
}

function reasonsOf(ends: Counts['ends']): RunFigures['failure_reasons'] {
  const reasons = new Map<string, RunFigures['failure_reasons'][number]>()
  for (const { code, phase, runs } of ends) {
    if (code === null || phase === null) continue
    const name = `${code} ${phase}`
    reasons.set(name, { code, phase, runs: (reasons.get(name)?.runs ?? 0) + runs })
  }
  return [...reasons.values()].sort((one, other) => other.runs - one.runs || one.code.localeCompare(other.code))
}
