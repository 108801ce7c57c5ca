// The wish that this process ends.

export interface StopSignal {
  /** Resolves with the first SIGTERM, SIGINT or SIGHUP. */
  received: Promise<NodeJS.Signals>
  /** Calls back for each further one that comes a second or more after the first. */
  again(act: () => void): void
  /** Takes the handlers off. */
  release(): void
}

const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

// A Ctrl-C in a terminal arrives more than once: from the terminal, from npm, from what started us.
const SAME_WISH_MS = 1_000

export function stopSignal(): StopSignal {
  const received = Promise.withResolvers<NodeJS.Signals>()
  let since: number | null = null
  let act = () => {}
  const onSignal = (signal: NodeJS.Signals) => {
    since ??= Date.now()
    received.resolve(signal)
    if (Date.now() - since >= SAME_WISH_MS) act()
  }
  for (const signal of signals) process.on(signal, onSignal)
  return {
    received: received.promise,
    again: (action) => {
      act = action
    },
    release: () => {
      for (const signal of signals) process.off(signal, onSignal)
    },
  }
}
