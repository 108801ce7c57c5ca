// Work of the same name, one after the other.

export interface Turns {
  /** Waits until all that came before it under this name is over. @throws the signal's reason when it is aborted before its turn. */
  alone<T>(name: string, signal: AbortSignal, work: () => Promise<T>): Promise<T>
}

export function createTurns(): Turns {
  const last = new Map<string, Promise<void>>()
  return {
    async alone(name, signal, work) {
      const former = last.get(name) ?? Promise.resolve()
      const { promise: over, resolve: end } = Promise.withResolvers<void>()
      const mine = former.then(() => over)
      last.set(name, mine)
      try {
        await untilOver(former, signal)
        return await work()
      } finally {
        end()
        if (last.get(name) === mine) last.delete(name)
      }
    },
  }
}

async function untilOver(former: Promise<void>, signal: AbortSignal): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>()
  const stop = () => reject(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  try {
    await Promise.race([former, promise])
    signal.throwIfAborted()
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

export interface Lanes {
  /** Waits for whatever is before it in the lane that has least to do. @throws like {@link Turns.alone}. */
  join<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T>
}

/** At most `count` pieces of work at the same time. */
export function createLanes(count: number): Lanes {
  const turns = createTurns()
  const waiting = new Array<number>(count).fill(0)
  return {
    async join(signal, work) {
      const lane = waiting.indexOf(Math.min(...waiting))
      const change = (by: number) => waiting.splice(lane, 1, (waiting[lane] ?? 0) + by)
      change(1)
      try {
        return await turns.alone(String(lane), signal, work)
      } finally {
        change(-1)
      }
    },
  }
}
