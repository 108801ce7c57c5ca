// What is told at the end: one line where all is well, and each difference where it is not.
import type { Difference } from './checks.ts'
import { type Kill, type Target, targets } from './kills.ts'
import type { HostKind } from './options.ts'

export interface Report {
  seed: number
  runs: Partial<Record<HostKind, number>>
  kills: Partial<Record<Target, number>>
  events: number
  modelRequests: number
  askedAgain: number
  answersRepeated: number
  uncollected: number
  seconds: number
  differences: Difference[]
  /** The data directory that was kept; null when it was removed. */
  data: string | null
}

export function countKills(kills: readonly Kill[]): Report['kills'] {
  const counts = targets.map((target) => [target, kills.filter((kill) => kill.target === target).length] as const)
  return Object.fromEntries(counts.filter(([, count]) => count > 0))
}

export function line(report: Report): string {
  const { runs, kills, events, modelRequests, askedAgain, seed, differences } = report
  return [
    `${sum(runs)} runs (${parts(runs)})`,
    `${sum(kills)} kills${sum(kills) > 0 ? ` (${parts(kills)})` : ''}`,
    `${events} events`,
    `${modelRequests} model requests, ${askedAgain} of them again after a gateway's death`,
    `${report.answersRepeated} answers repeated`,
    `${report.uncollected} cancelled without their host`,
    `${report.seconds} s`,
    `seed ${seed}`,
    `${differences.length} differences`,
  ].join('; ')
}

export function told({ run, runId, what, expected, found }: Difference): string {
  const id = runId === null ? '' : ` ${runId}`
  return `${run}${id}: ${what}\n  expected ${JSON.stringify(expected)}\n  found    ${JSON.stringify(found)}`
}

const sum = (counts: Record<string, number>) => Object.values(counts).reduce((total, count) => total + count, 0)

const parts = (counts: Record<string, number>) =>
  Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')
