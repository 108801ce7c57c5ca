// What is counted about runs, for metrics. Pure types.
import type { BuildReason, BuildState } from './environment.ts'
import type { FailureCode } from './failure.ts'
import type { StopReason } from './money/words.ts'
import type { Phase, RunState } from './state.ts'

/** What the database says of everything at one moment. */
export interface Figures {
  runs: { state: RunState; source: string; count: number }[]
  /** Transcript events of all runs that are kept. */
  events: number
  /** Runs that wait in line. */
  queue: { pool: string; waiting: number; oldestSeconds: number }[]
  /** Accepted and not yet with a workflow. */
  mail: { undelivered: number; oldestSeconds: number }
  /** Builds of environments that are on record. */
  builds: { state: BuildState; count: number }[]
  hosts: { pool: string; state: string; count: number; capacity: number; inUse: number }[]
  /** Runs that are BLOCKED until there is more to spend. */
  stopped: { reason: StopReason; count: number }[]
  /** Since ever, over all teams. */
  charged: { kind: 'inference' | 'compute'; usd: number; credits: number }[]
  /** Calls of models that have no price here, since ever. */
  unpricedCalls: number
}

/** The end of a build, as it was recorded. */
export interface BuiltEnvironment {
  state: BuildState
  reason: BuildReason
  /** From when it was asked for. */
  seconds: number
}

/** A change of state that was recorded, and what went before it. */
export interface RecordedChange {
  state: RunState
  source: string
  agent: string
  pool: string
  failure: { phase: Phase; code: FailureCode } | null
  /** The state before, and how long it lasted; null for a run's first one. */
  former: { state: RunState; seconds: number } | null
  /** With CLAIMED: how long the execution waited in line before a host was asked for; null where it did not have to queue. */
  queueSeconds: number | null
}
