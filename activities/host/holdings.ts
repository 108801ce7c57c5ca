// Runs on the worker that holds the sandbox. How many runs this host has in hand.
import type { HostDeps } from './deps.ts'

/**
 * A claim whose run has not shown up after this long counts no more: the run
 * was cancelled on the way here. In milliseconds.
 */
const CLAIM_MS = 60_000

/** Counts the runs that live on this host. What runs is asked of the host itself once; after that it is kept in step. */
export function createHoldings(deps: Pick<HostDeps, 'host' | 'capacity'>) {
  /** Each with when it was taken up last; 0 for one that a former worker took up. */
  const held = new Map<string, number>()
  const claimed = new Map<string, number>()
  const removals = new Map<string, Promise<void>>()
  const loaded = deps.host.list().then((runs) => {
    for (const { runId, running } of runs) if (running && !held.has(runId)) held.set(runId, 0)
  })
  loaded.catch(() => {}) // Heard by whoever takes a run on.

  function release(runId: string): void {
    claimed.delete(runId)
    held.delete(runId)
  }

  return {
    /** Takes a run on, if there is room. */
    async take(runId: string): Promise<boolean> {
      await loaded
      await removals.get(runId)
      const now = Date.now()
      for (const [other, at] of claimed) if (now - at > CLAIM_MS) claimed.delete(other)
      if (held.has(runId) || claimed.has(runId)) return true
      if (held.size + claimed.size >= deps.capacity) return false
      claimed.set(runId, now)
      return true
    },
    /** Takes a run up; waits until a removal of what it left here is over. */
    async hold(runId: string): Promise<void> {
      await removals.get(runId)
      claimed.delete(runId)
      held.set(runId, Date.now())
    },
    release,
    /** Removes everything of a run that was found to be of no more use at a time; refused when it was taken up since. */
    async remove(runId: string, foundAt: number): Promise<void> {
      const takenUp = Math.max(held.get(runId) ?? 0, claimed.get(runId) ?? 0)
      if (takenUp >= foundAt) throw new Error('it was taken up again meanwhile')
      const removal = deps.host.remove(runId)
      const over = removal.then(
        () => release(runId),
        () => {}, // The caller is told.
      )
      removals.set(runId, over)
      await over
      removals.delete(runId)
      await removal
    },
  }
}

export type Holdings = ReturnType<typeof createHoldings>
