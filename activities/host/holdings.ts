// Runs on the worker that holds the sandbox. How many runs this host has in hand.
import type { HostDeps } from './deps.ts'

/**
 * A claim whose run has not shown up after this long counts no more: the run
 * was cancelled on the way here. In milliseconds.
 */
const CLAIM_MS = 300_000

/**
 * Counts the runs that live on this host. What runs is asked of the host itself
 * once; after that it is kept in step. `onRelease` is called when there are fewer.
 */
export function createHoldings(deps: Pick<HostDeps, 'host' | 'capacity'>, onRelease: () => void = () => {}) {
  /** Each with when it was taken up last; 0 for one that a former worker took up. */
  const held = new Map<string, number>()
  const claimed = new Map<string, number>()
  const endings = new Map<string, Promise<void>>()
  const loaded = deps.host.list().then((runs) => {
    for (const { runId, running } of runs) if (running && !held.has(runId)) held.set(runId, 0)
  })
  loaded.catch(() => {}) // Heard by whoever takes a run on.

  function release(runId: string): void {
    claimed.delete(runId)
    held.delete(runId)
    onRelease()
  }

  async function end(runId: string, foundAt: number, work: () => Promise<void>): Promise<void> {
    const takenUp = Math.max(held.get(runId) ?? 0, claimed.get(runId) ?? 0)
    if (takenUp >= foundAt) throw new Error('it was taken up again meanwhile')
    const ending = work()
    const over = ending.then(
      () => release(runId),
      () => {}, // The caller is told.
    )
    endings.set(runId, over)
    await over
    endings.delete(runId)
    await ending
  }

  return {
    /** Takes a run on, if there is room. */
    async take(runId: string): Promise<boolean> {
      await loaded
      await endings.get(runId)
      const now = Date.now()
      for (const [other, at] of claimed) if (now - at > CLAIM_MS) claimed.delete(other)
      if (held.has(runId) || claimed.has(runId)) return true
      if (held.size + claimed.size >= deps.capacity) return false
      claimed.set(runId, now)
      return true
    },
    /** Takes a run up; waits until the end of what it left here. */
    async hold(runId: string): Promise<void> {
      await endings.get(runId)
      claimed.delete(runId)
      held.set(runId, Date.now())
    },
    release,
    /** What takes no place from runs; that of a former worker was counted among them. */
    async countOut(id: string): Promise<void> {
      await loaded
      if (held.has(id)) release(id)
    },
    /** A run that was taken on and is not this host's after all. */
    putBack(runId: string): void {
      claimed.delete(runId)
    },
    /** How many runs are here or on their way. */
    async count(): Promise<number> {
      await loaded
      return held.size + claimed.size
    },
    /**
     * Removes everything of a run that was found to be of no more use at a time, once
     * `before` is done; refused when it was taken up since.
     */
    remove: (runId: string, foundAt: number, before: () => Promise<void> = async () => {}) =>
      end(runId, foundAt, async () => {
        await before()
        await deps.host.remove(runId)
      }),
    /** The same for what runs of it; its files stay. */
    stop: (runId: string, foundAt: number) => end(runId, foundAt, () => deps.host.stop(runId)),
  }
}

export type Holdings = ReturnType<typeof createHoldings>
