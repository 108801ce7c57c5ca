// What an orchestrator worker tells: the runs' changes of state, as it records them.
import { Counter, Histogram, type Registry } from 'prom-client'
import type { BuiltEnvironment, RecordedChange } from '../domain/figures.ts'
import { LONG_BUCKETS } from './registry.ts'

/** How a change is counted. Changes that are recorded again are not told a second time. */
export type TellChange = (change: RecordedChange) => void

/** The ends of builds. */
export function createBuildMetrics(registry: Registry): (build: BuiltEnvironment) => void {
  const seconds = new Histogram({
    name: 'ambient_build_seconds',
    help: 'Time from when the build of an environment was asked for to its end, by how it ended and why it was asked for.',
    labelNames: ['state', 'reason'],
    buckets: LONG_BUCKETS,
    registers: [registry],
  })
  return ({ state, reason, seconds: lasted }) => seconds.observe({ state, reason }, lasted)
}

export function createWorkerMetrics(registry: Registry): TellChange {
  const registers = [registry]
  const changes = new Counter({
    name: 'ambient_run_state_changes_total',
    help: 'Executions that reached a state, from CLAIMED on.',
    labelNames: ['state', 'source', 'agent'],
    registers,
  })
  const stateSeconds = new Histogram({
    name: 'ambient_run_state_seconds',
    help: 'How long a state lasted, by the state that was left: QUEUED is the wait in the queue, PENDING the wait for a host, CLAIMED the preparation, INPROGRESS the work, BLOCKED the wait for a person.',
    labelNames: ['state', 'agent'],
    buckets: LONG_BUCKETS,
    registers,
  })
  const waits = new Histogram({
    name: 'ambient_queue_wait_seconds',
    help: 'How long runs waited in the queue of a pool.',
    labelNames: ['pool'],
    buckets: LONG_BUCKETS,
    registers,
  })
  const failures = new Counter({
    name: 'ambient_run_failures_total',
    help: 'Executions that failed, by the phase they failed in and the code of the failure.',
    labelNames: ['phase', 'code', 'agent'],
    registers,
  })

  return ({ state, source, agent, pool, failure, former, queueSeconds }) => {
    // One that is let in at once is PENDING from its beginning, without a word of the workflow: its host's claim tells.
    if (state === 'PENDING') return
    changes.inc({ state, source, agent })
    if (failure !== null) failures.inc({ ...failure, agent })
    if (former !== null) stateSeconds.observe({ state: former.state, agent }, former.seconds)
    if (queueSeconds === null) return
    stateSeconds.observe({ state: 'QUEUED', agent }, queueSeconds)
    waits.observe({ pool }, queueSeconds)
  }
}
