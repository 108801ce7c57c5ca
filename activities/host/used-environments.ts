// Runs on the worker that holds the sandbox. Which environments runs of this host have named lately.
import type { ExecutionOrder } from '../../domain/host-api.ts'

export interface UsedEnvironment extends Pick<ExecutionOrder, 'team' | 'environment'> {
  id: string
  usedAt: number
}

export interface UsedEnvironments {
  used(id: string, order: Pick<ExecutionOrder, 'team' | 'environment'>): void
  since(time: number): UsedEnvironment[]
}

/** In memory alone: what environments hold may be secret. A host that is started again learns them anew from its runs. */
export function createUsedEnvironments(): UsedEnvironments {
  const known = new Map<string, UsedEnvironment>()
  return {
    used(id, { team, environment }) {
      known.set(id, { id, team, environment, usedAt: Date.now() })
    },
    since: (time) => [...known.values()].filter(({ usedAt }) => usedAt >= time),
  }
}
