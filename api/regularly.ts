// Work that is done again and again beside the requests.
import type { Logger } from 'pino'

export interface RegularWork {
  work: () => Promise<void>
  everyMs: number
  /** For the log: "… did not succeed". */
  what: string
}

/** Begins at once; one that fails is tried again when it is due. Returns how to stop all of it. */
export function regularly(log: Logger, all: readonly RegularWork[]): () => void {
  const timers = all.map(({ work, everyMs, what }) =>
    setInterval(() => {
      work().catch((error: unknown) =>
        log.warn({ reason: String(error) }, `${what} did not succeed; it is tried again`),
      )
    }, everyMs),
  )
  return () => {
    for (const timer of timers) clearInterval(timer)
  }
}
