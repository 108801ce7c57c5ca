// What goes on while no output comes, on the screen's last line: nobody should have to wonder whether anything does.
import type { RunState } from '../domain/state.ts'
import { duration } from './render/text.ts'
import type { Screen } from './screen.ts'

const TICK_MS = 1_000
/** What is spent grows with each call of a model, and nobody needs it to the second. */
const LOOK_MS = 5_000
/** Shorter silences need no word. */
const QUIET_MS = 2_000

/** While it waits in line, its place is shown instead. */
const doings: Partial<Record<RunState, string>> = {
  PENDING: 'waiting for a host',
  CLAIMED: 'a host prepares the sandbox and starts the agent',
  INPROGRESS: 'the agent works',
}

export interface Progress {
  /** Something has happened: the silence begins anew. */
  heard(state: RunState, running: string | null): void
  stop(): void
}

/** `budget`: what the run's own is at, in words; looked for now and then. */
export function createProgress(
  screen: Screen,
  first: RunState,
  budget: () => Promise<string | null> = async () => null,
): Progress {
  let state = first
  let spent: string | null = null
  let lookedAt = Date.now()
  let running: string | null = null
  let since = Date.now()

  const timer = setInterval(() => {
    const doing = running ?? doings[state]
    const silence = Date.now() - since
    if (Date.now() - lookedAt >= LOOK_MS) look()
    if (doing !== undefined && silence >= QUIET_MS)
      screen.status(
        [doing, duration(silence, 1).replace(/\.\d/, ''), spent].filter((part) => part !== null).join(' · '),
      )
  }, TICK_MS)

  function look(): void {
    lookedAt = Date.now()
    budget().then(
      (found) => {
        spent = found
      },
      () => {}, // A lost connection is told by whoever reads the transcript.
    )
  }
  look()

  return {
    heard(now, tool) {
      state = now
      running = tool
      since = Date.now()
      // A tool is named at once.
      screen.status(tool)
    },
    stop() {
      clearInterval(timer)
      screen.status(null)
    },
  }
}
