// Runs on the worker that holds the sandbox. A host that was given an execution begins at once, and not when it is told to.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { ExecutionRef, SandboxOrigin } from '../../workflows/contract.ts'
import type { StopSignals } from './attended.ts'

/** Work that nobody has asked for after this long is undone: the claim's answer was lost. In milliseconds. */
const FORSAKEN_MS = 60_000

interface Begun {
  execution: number
  work: Promise<SandboxOrigin>
  interrupt: AbortController
  detach: AbortController
  forsaken: NodeJS.Timeout
}

/**
 * A host that takes an execution prepares it at once. What is ready with the
 * claim's answer needs no activity of its own; where it takes longer, the
 * activity finds the work under way and goes on with it as if it had begun it. A
 * worker that dies in between loses nothing: what is prepared is prepared once,
 * whoever asks.
 */
export function createHeadStart(
  prepare: (ref: ExecutionRef, signals: StopSignals) => Promise<SandboxOrigin>,
  { undo, log }: { undo: (ref: ExecutionRef) => Promise<void>; log: Logger },
) {
  const begun = new Map<string, Begun>()

  /** Answers with what it came to, when that is known within the time; null when it is not, or went wrong. */
  async function begin(ref: ExecutionRef, withinMs: number): Promise<SandboxOrigin | null> {
    if (!begun.has(ref.runId)) start(ref)
    const late = new AbortController()
    const ready = begun.get(ref.runId)?.work.catch(() => null) ?? null // Whoever joins hears why.
    try {
      return await Promise.race([ready, sleep(withinMs, null, { signal: late.signal })])
    } finally {
      late.abort()
    }
  }

  function start(ref: ExecutionRef): void {
    const interrupt = new AbortController()
    const detach = new AbortController()
    const work = prepare(ref, { interrupt: interrupt.signal, detach: detach.signal })
    work.catch(() => {}) // Heard by whoever joins.
    const forsaken = setTimeout(() => {
      log.warn({ run: ref.runId }, 'nobody has asked for an execution that this host was given; it is undone')
      end(ref.runId)
        .then(() => undo(ref))
        .catch((error: unknown) => log.error({ run: ref.runId, err: error }, 'not undone; the sweep will remove it'))
    }, FORSAKEN_MS)
    forsaken.unref()
    begun.set(ref.runId, { execution: ref.execution, work, interrupt, detach, forsaken })
  }

  function take(runId: string): Begun | null {
    const found = begun.get(runId)
    if (found === undefined) return null
    begun.delete(runId)
    clearTimeout(found.forsaken)
    return found
  }

  /** The work that is under way, from now on with these signals; null when there is none. */
  function join(ref: ExecutionRef, signals: StopSignals): Promise<SandboxOrigin> | null {
    if (begun.get(ref.runId)?.execution !== ref.execution) return null
    const found = take(ref.runId)
    if (found === null) return null
    for (const kind of ['interrupt', 'detach'] as const) {
      const passOn = () => found[kind].abort(signals[kind].reason)
      if (signals[kind].aborted) passOn()
      else signals[kind].addEventListener('abort', passOn, { once: true })
    }
    return found.work
  }

  /** Ends work that nobody has joined, and returns when it has ended. */
  async function end(runId: string): Promise<void> {
    const found = take(runId)
    if (found === null) return
    found.interrupt.abort(new Error('the execution is not to be prepared after all'))
    await found.work.catch(() => {}) // Nobody waits for what comes of it.
  }

  /** The workflow has heard that all is ready. */
  const heard = (runId: string): void => void take(runId)

  return { begin, join, heard, end }
}

export type HeadStart = ReturnType<typeof createHeadStart>
