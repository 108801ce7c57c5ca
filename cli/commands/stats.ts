// `ambient stats`: what the runs of the team came to.

import { usdText } from '../../domain/money/text.ts'
import type { RunFigures, Statistics } from '../../domain/statistics.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { clean, duration, plural } from '../render/text.ts'
import { createScreen } from '../screen.ts'

export interface StatsOptions {
  by?: string
  per?: string
  since?: string
  until?: string
  timeZone?: string
  limit?: number
  json?: boolean
}

export async function stats({ by, per, since, until, timeZone, limit, json }: StatsOptions): Promise<ExitCode> {
  const screen = createScreen()
  const statistics = await connect().statistics({
    group_by: by,
    group_by_period: per,
    start_date: since,
    end_date: until,
    time_zone: timeZone ?? Intl.DateTimeFormat().resolvedOptions().timeZone,
    limit: limit?.toString(),
  })
  screen.write(json ? `${JSON.stringify(statistics)}\n` : renderStatistics(statistics, screen.style))
  return exitCodes.succeeded
}

export function renderStatistics(statistics: Statistics, { colours }: Style): string {
  const { total, groups = [], rest, periods = [], start_date: start, end_date: end, time_zone: zone } = statistics
  const lines: [string, RunFigures][] = [
    ...periods.map((period): [string, RunFigures] => [dayOf(period.start, zone), period.total]),
    ...groups.map((group): [string, RunFigures] => [clean(group.name ?? group.key ?? '(none)'), group]),
    ...(rest === undefined ? [] : [['(others)', rest] as [string, RunFigures]]),
  ]
  const head = `${plural(total.runs, 'run')} from ${dayOf(start, zone)} to ${dayOf(end, zone)} (${zone})\n\n`
  const rows = table(
    ['', ...countHeads, 'TIME P50', 'P95', 'WAIT P50', 'P95', 'COST'],
    [...lines, ['all', total] as const].map(([name, figures]) => rowOf(name, figures)),
    colours.dim,
  )
  const reasons = total.failure_reasons.map(({ code, phase, runs }) => [String(runs), clean(code), clean(phase)])
  return `${head}${rows}${reasons.length === 0 ? '' : `\n${table(['RUNS', 'REASON', 'PHASE'], reasons, colours.dim)}`}`
}

const countHeads = ['RUNS', 'SUCCESS', 'SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED', 'GOING ON']

function rowOf(name: string, figures: RunFigures): string[] {
  const { success_rate: rate, run_time_seconds: time, queue_wait_seconds: wait } = figures
  const seconds = (value: number | undefined) => (value === undefined ? '' : duration(value * 1_000))
  return [
    name,
    ...[figures.runs, rate === null ? '' : `${(rate * 100).toFixed(1)} %`, figures.succeeded, figures.failed].map(
      String,
    ),
    ...[figures.errors, figures.cancelled, figures.going_on].map(String),
    ...[seconds(time?.p50), seconds(time?.p95), seconds(wait?.p50), seconds(wait?.p95)],
    usdText(figures.cost_usd),
  ]
}

const dayOf = (time: string, timeZone: string): string =>
  new Intl.DateTimeFormat('sv-SE', { timeZone, dateStyle: 'short' }).format(new Date(time))
