// Runs on the worker that holds the sandbox. How many runs this host has in hand.
import type { HostDeps } from './deps.ts'

/**
 * A claim whose run has not shown up after this long counts no more: the run
 * was cancelled on the way here. In milliseconds.
 */
const CLAIM_MS = 60_000

/** Counts the runs that live on this host. What runs is asked of the host itself once; after that it is kept in step. */
export function createHoldings(deps: HostDeps) {
  const held = new Set<string>()
  const claimed = new Map<string, number>()
  const loaded = deps.host.list().then((runs) => {
    for (const { runId, running } of runs) if (running) held.add(runId)
  })

  return {
    has: (runId: string): boolean => held.has(runId) || claimed.has(runId),
    /** Takes a run on, if there is room. */
    async take(runId: string): Promise<boolean> {
      await loaded
      const now = Date.now()
      for (const [other, at] of claimed) if (now - at > CLAIM_MS) claimed.delete(other)
      if (held.has(runId) || claimed.has(runId)) return true
      if (held.size + claimed.size >= deps.capacity) return false
      claimed.set(runId, now)
      return true
    },
    hold(runId: string): void {
      claimed.delete(runId)
      held.add(runId)
    },
    release(runId: string): void {
      claimed.delete(runId)
      held.delete(runId)
    },
  }
}

export type Holdings = ReturnType<typeof createHoldings>
