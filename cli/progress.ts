// What goes on while no output comes, on the screen's last line: nobody should have to wonder whether anything does.
import type { RunState } from '../domain/state.ts'
import { duration } from './render/text.ts'
import type { Screen } from './screen.ts'

const TICK_MS = 1_000
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

export function createProgress(screen: Screen, first: RunState): Progress {
  let state = first
  let running: string | null = null
  let since = Date.now()

  const timer = setInterval(() => {
    const doing = running ?? doings[state]
    const silence = Date.now() - since
    if (doing !== undefined && silence >= QUIET_MS)
      screen.status(`${doing} · ${duration(silence, 1).replace(/\.\d/, '')}`)
  }, TICK_MS)

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
