// Looks into the database again and again: nothing that was written is forgotten, whoever had been told of it.
import { setTimeout as sleep } from 'node:timers/promises'

export interface Sweeper {
  /** There may be something to do. Returns at once. */
  nudge(): void
  /** Resolves when the look under way is over, once it is `closing`. */
  ended: Promise<void>
}

/** Begins at once. A look that fails is told to `onError`, and made again after `everyMs` milliseconds. */
export function createSweeper({
  sweep,
  everyMs,
  closing,
  onError,
}: {
  sweep: () => Promise<void>
  everyMs: number
  closing: AbortSignal
  onError: (error: unknown) => void
}): Sweeper {
  let wake = new AbortController()

  async function sweepUntilClosed(): Promise<void> {
    while (!closing.aborted) {
      // Before looking: what is said from here on means another look.
      wake = new AbortController()
      await sweep().catch(onError)
      await sleep(everyMs, undefined, { signal: AbortSignal.any([wake.signal, closing]) }).catch(() => {
        // Woken, or closing: the loop's condition tells.
      })
    }
  }

  return { ended: sweepUntilClosed(), nudge: () => wake.abort() }
}
