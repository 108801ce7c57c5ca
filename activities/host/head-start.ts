// Runs on the worker that holds the sandbox. A host that was given an execution begins at once, and not when it is told to.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { ExecutionRef, SandboxOrigin } from '../../workflows/contract.ts'
import type { StopSignals } from './attended.ts'

/** Work that nobody has asked for after this long is ended: the claim's answer was lost. In milliseconds. */
const FORSAKEN_MS = 300_000

interface Begun {
  execution: number
  work: Promise<SandboxOrigin>
  /** All but the agent's own start, or a command's sandbox, which the turn can wait for. */
  nearly: Promise<SandboxOrigin>
  interrupt: AbortController
  detach: AbortController
  forsaken: NodeJS.Timeout
}

/**
 * A host that takes an execution prepares it at once. Where only the agent is
 * still to come up when the claim is answered, or a command's sandbox, the turn
 * waits for that, and no activity of its own is needed; where more is missing,
 * the activity finds the work under way and goes on with it as if it had begun
 * it. A worker that dies in between loses nothing: what is prepared is prepared
 * once, whoever asks. `prepare` calls `onNearly` as soon as no more is left.
 * `forsake` ends what runs of a run that nobody came for, unless it was taken up
 * since the time it is given.
 */
export function createHeadStart(
  prepare: (
    ref: ExecutionRef,
    signals: StopSignals,
    onNearly?: (origin: SandboxOrigin) => void,
  ) => Promise<SandboxOrigin>,
  { forsake, log }: { forsake: (runId: string, since: number) => Promise<void>; log: Logger },
) {
  const begun = new Map<string, Begun>()

  /** Answers with what it comes to, when no more than the agent's own start is missing within the time; null when more is, or it went wrong. */
  async function begin(ref: ExecutionRef, withinMs: number): Promise<SandboxOrigin | null> {
    if (isOfAnother(ref)) await end(ref.runId)
    const { nearly } = begun.get(ref.runId) ?? start(ref)
    const late = new AbortController()
    try {
      // Whoever joins hears why it went wrong.
      return await Promise.race([nearly.catch(() => null), sleep(withinMs, null, { signal: late.signal })])
    } finally {
      late.abort()
    }
  }

  function start(ref: ExecutionRef): Begun {
    const interrupt = new AbortController()
    const detach = new AbortController()
    const near = Promise.withResolvers<SandboxOrigin>()
    const work = prepare(ref, { interrupt: interrupt.signal, detach: detach.signal }, near.resolve)
    const nearly = Promise.race([work, near.promise])
    for (const each of [work, nearly]) each.catch(() => {}) // Heard by whoever joins.
    const forsaken = setTimeout(() => {
      const since = Date.now()
      log.warn({ run: ref.runId }, 'nobody has asked for an execution that this host was given; it is ended')
      end(ref.runId)
        .then(() => forsake(ref.runId, since))
        .catch((error: unknown) => log.warn({ run: ref.runId, reason: String(error) }, 'it was not ended'))
    }, FORSAKEN_MS)
    forsaken.unref()
    const made = { execution: ref.execution, work, nearly, interrupt, detach, forsaken }
    begun.set(ref.runId, made)
    return made
  }

  function take(runId: string): Begun | null {
    const found = begun.get(runId)
    if (found === undefined) return null
    begun.delete(runId)
    clearTimeout(found.forsaken)
    return found
  }

  /** Goes on with the work that is under way, from now on with these signals; begins it where there is none. */
  async function join(ref: ExecutionRef, signals: StopSignals): Promise<SandboxOrigin> {
    return (await finish(ref, signals)) ?? (await prepare(ref, signals))
  }

  /** Waits, with these signals from now on, for work that is under way; null where there is none. */
  async function finish(ref: ExecutionRef, signals: StopSignals): Promise<SandboxOrigin | null> {
    if (isOfAnother(ref)) await end(ref.runId)
    const found = take(ref.runId)
    if (found === null) return null
    for (const kind of ['interrupt', 'detach'] as const) {
      const passOn = () => found[kind].abort(signals[kind].reason)
      if (signals[kind].aborted) passOn()
      else signals[kind].addEventListener('abort', passOn, { once: true })
    }
    return await found.work
  }

  /** Ends work that nobody has joined, and returns when it has ended. */
  async function end(runId: string): Promise<void> {
    const found = take(runId)
    if (found === null) return
    found.interrupt.abort(new Error('the execution is not to be prepared after all'))
    await found.work.catch(() => {}) // Nobody waits for what comes of it.
  }

  /** A claim of this run whose answer was lost has begun an earlier execution. */
  const isOfAnother = ({ runId, execution }: ExecutionRef): boolean =>
    begun.has(runId) && begun.get(runId)?.execution !== execution

  return { begin, join, finish, end }
}

export type HeadStart = ReturnType<typeof createHeadStart>
