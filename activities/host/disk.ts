// Runs on the worker that holds the sandbox. How much of the disk a run may take.
import { setTimeout as sleep } from 'node:timers/promises'
import { RunFailureError } from '../../domain/failure.ts'
import type { Phase } from '../../domain/state.ts'
import type { StopSignals } from './attended.ts'
import type { HostDeps } from './deps.ts'

/** How often a run's disk usage is looked at, in milliseconds. */
const EVERY_MS = 15_000
/** Looking takes as long as there are files: a twentieth of the time at most goes into it. */
const SHARE = 20

type DiskDeps = Pick<HostDeps, 'host' | 'diskBytes' | 'log'>

/**
 * Interrupts the work when the run takes more of the disk than it may. The
 * interrupt's reason is the failure, so whatever gives way to it ends with that.
 */
export async function withinDisk<T>(
  deps: DiskDeps,
  { runId, phase }: { runId: string; phase: Phase },
  signals: StopSignals,
  work: (signals: StopSignals) => Promise<T>,
  everyMs = EVERY_MS,
): Promise<T> {
  const exceeded = new AbortController()
  const over = new AbortController()
  void watch(deps, runId, everyMs, over.signal).then((bytes) => {
    if (bytes !== null) exceeded.abort(new RunFailureError(tooLarge(bytes, deps.diskBytes, phase)))
  })
  try {
    const result = await work({ ...signals, interrupt: AbortSignal.any([signals.interrupt, exceeded.signal]) })
    exceeded.signal.throwIfAborted()
    return result
  } catch (error) {
    // It may have failed of being interrupted. That people or the server want it to stop comes first.
    if (exceeded.signal.aborted && !signals.interrupt.aborted && !signals.detach.aborted) throw exceeded.signal.reason
    throw error
  } finally {
    over.abort()
  }
}

/** The first size that is too large; null when it is over before there is one. Never throws. */
async function watch(deps: DiskDeps, runId: string, everyMs: number, over: AbortSignal): Promise<number | null> {
  let pause = everyMs
  while (await passes(pause, over)) {
    const begun = performance.now()
    try {
      const bytes = await deps.host.diskUsage(runId)
      if (bytes > deps.diskBytes) return over.aborted ? null : bytes
    } catch (error) {
      deps.log.warn({ run: runId, err: error }, 'how much of the disk the run takes could not be found out')
    }
    pause = Math.max(everyMs, SHARE * (performance.now() - begun))
  }
  return null
}

const passes = (milliseconds: number, over: AbortSignal): Promise<boolean> =>
  sleep(milliseconds, true, { signal: over }).catch(() => false)

const gibibytes = (bytes: number) => `${Math.ceil((bytes / 1024 ** 3) * 100) / 100} GiB`

const tooLarge = (bytes: number, limit: number, phase: Phase) =>
  ({
    code: 'disk_limit',
    phase,
    message: `The run takes ${gibibytes(bytes)} of the disk; it may take ${gibibytes(limit)}.`,
    nextStep:
      'Send a follow-up that begins with removing what is not needed, start the run anew, or raise AMBIENT_DISK_GB on its host.',
  }) as const
