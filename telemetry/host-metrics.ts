// What a host tells: what it holds, how long each step of its work takes, and what came of it.
import { Gauge, Histogram, type Registry } from 'prom-client'
import type { Phase } from '../domain/state.ts'
import { LONG_BUCKETS } from './registry.ts'

export interface HostMetrics {
  /** Measures a step, whether it succeeds or not. */
  phase<T>(phase: Phase, work: () => Promise<T>): Promise<T>
  /** Measures a turn; `outcome` names how it ended, where it did not throw. */
  turn<T>(agent: string, outcome: (result: T) => string, work: () => Promise<T>): Promise<T>
}

export interface HostFigures {
  capacity: number
  held: number
  draining: boolean
}

export function createHostMetrics(registry: Registry, figures: () => Promise<HostFigures>): HostMetrics {
  const registers = [registry]
  const gauge = (name: string, help: string, read: (figures: HostFigures) => number) =>
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        this.set(read(await figures()))
      },
    })
  gauge('ambient_host_capacity_runs', 'Runs that this host holds at once.', ({ capacity }) => capacity)
  gauge('ambient_host_held_runs', 'Runs that this host holds now.', ({ held }) => held)
  gauge('ambient_host_draining', '1 while this host takes no new run.', ({ draining }) => (draining ? 1 : 0))
  const phases = new Histogram({
    name: 'ambient_phase_seconds',
    help: 'How long the steps of an execution took on this host, each attempt on its own.',
    labelNames: ['phase', 'outcome'],
    buckets: LONG_BUCKETS,
    registers,
  })
  const turns = new Histogram({
    name: 'ambient_turn_seconds',
    help: 'How long an agent was watched at one message or answer.',
    labelNames: ['agent', 'outcome'],
    buckets: LONG_BUCKETS,
    registers,
  })

  return {
    async phase(phase, work) {
      const done = phases.startTimer({ phase })
      try {
        const result = await work()
        done({ outcome: 'ok' })
        return result
      } catch (error) {
        done({ outcome: 'error' })
        throw error
      }
    },
    async turn(agent, outcome, work) {
      const done = turns.startTimer({ agent })
      try {
        const result = await work()
        done({ outcome: outcome(result) })
        return result
      } catch (error) {
        // Interrupted by people, or left by this worker for the next attempt, or failed.
        done({ outcome: error instanceof Error && error.name === 'CancelledFailure' ? 'interrupted' : 'broken_off' })
        throw error
      }
    },
  }
}
