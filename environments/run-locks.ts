// Keeps what is started in a run apart from the ending of everything in it.

/**
 * Stopping a run means looking for what there is of it and ending that, more
 * than once. Whatever were started in the middle of it would be taken along, or
 * overlooked: so starts wait for a stop that is under way, and a stop looks again
 * when those that it has met are over.
 */
export interface RunLocks {
  start<T>(runId: string, work: () => Promise<T>): Promise<T>
  /** `end` ends all that it finds, and may be called twice. */
  stop(runId: string, end: () => Promise<void>): Promise<void>
}

export function createRunLocks(): RunLocks {
  const starts = new Map<string, Set<Promise<unknown>>>()
  const stops = new Map<string, Promise<void>>()

  async function endAll(runId: string, end: () => Promise<void>): Promise<void> {
    await end()
    const met = starts.get(runId)
    if (met === undefined) return
    await Promise.allSettled(met)
    await end()
  }

  return {
    async start(runId, work) {
      for (let stop = stops.get(runId); stop !== undefined; stop = stops.get(runId)) await stop
      const begun = work()
      const others = starts.get(runId) ?? new Set()
      starts.set(runId, others.add(begun))
      try {
        return await begun
      } finally {
        others.delete(begun)
        if (others.size === 0) starts.delete(runId)
      }
    },
    async stop(runId, end) {
      const former = stops.get(runId) ?? Promise.resolve()
      const mine = former.then(() => endAll(runId, end))
      // Whoever waits for it is not the one who is told how it went.
      const over = mine.catch(() => {})
      stops.set(runId, over)
      await over
      if (stops.get(runId) === over) stops.delete(runId)
      await mine
    },
  }
}
