// Keeps one part running: started again when it ends, later each time. Given up only while it has yet to be of use.
import { setTimeout as delay } from 'node:timers/promises'
import type { Running } from './running.ts'

export interface SupervisedOptions {
  name: string
  start(): Promise<Running>
  onDeath(death: Death): void
  /**
   * Whether a part that does nothing but end is given up. While everything is
   * being started, a person is there to put right what is wrong; later on it is
   * started again for as long as it takes.
   */
  givesUp(): boolean
  patience?: Patience
}

/** An end that nobody asked for. */
export interface Death {
  how: string
  /** The how-manieth in a row. */
  count: number
  /** When it is started again; null: it is given up. */
  againMs: number | null
}

export interface Patience {
  firstDelayMs: number
  longestDelayMs: number
  /** Running this long, a part counts as healthy and its earlier ends are forgotten. */
  healthyMs: number
  /** Ends in a row that make a crash loop. */
  deaths: number
}

// Four starts of a part take some 5 s.
const ordinaryPatience: Patience = { firstDelayMs: 250, longestDelayMs: 10_000, healthyMs: 10_000, deaths: 4 }

export interface Supervised {
  /** Rejects with {@link CrashLoopError} when the part is given up. Resolves after {@link stop}. */
  done: Promise<void>
  stop(): Promise<void>
}

export class CrashLoopError extends Error {
  override readonly name = 'CrashLoopError'
}

/** Resolves once the part was started for the first time; rejects when that is not possible at all. */
export async function supervise(options: SupervisedOptions): Promise<Supervised> {
  const patience = options.patience ?? ordinaryPatience
  const stopping = new AbortController()
  let current = await options.start()

  async function watch(): Promise<void> {
    let startedAt = Date.now()
    let deaths = 0
    while (true) {
      const how = await current.exited
      if (stopping.signal.aborted) return
      deaths = Date.now() - startedAt >= patience.healthyMs ? 1 : deaths + 1
      const isGivenUp = deaths >= patience.deaths && options.givesUp()
      const againMs = isGivenUp ? null : Math.min(patience.firstDelayMs * 2 ** (deaths - 1), patience.longestDelayMs)
      options.onDeath({ how, count: deaths, againMs })
      if (againMs === null) throw new CrashLoopError(`${options.name} ${how}, ${deaths} times in a row`)
      await delay(againMs, undefined, { signal: stopping.signal }).catch(() => {}) // Stopped in between.
      if (stopping.signal.aborted) return
      startedAt = Date.now()
      current = await options.start().catch(notStarted)
      if (stopping.signal.aborted) return current.stop()
    }
  }

  const done = watch()
  done.catch(() => {}) // Heard by whoever waits for it.
  return {
    done,
    async stop() {
      stopping.abort()
      await current.stop()
      await done.catch(() => {}) // A part that was given up needs no stopping.
    },
  }
}

const notStarted = (error: unknown): Running => ({
  pid: 0,
  exited: Promise.resolve(`could not be started: ${error instanceof Error ? error.message : error}`),
  stop: async () => {},
})
