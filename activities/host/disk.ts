// Runs on the worker that holds the sandbox. How much of the disk a run may take.
import { setTimeout as sleep } from 'node:timers/promises'
import type { RunFailure } from '../../domain/failure.ts'
import type { Phase } from '../../domain/state.ts'
import type { HostDeps } from './deps.ts'

/** How often a run's disk usage is looked at, in milliseconds. */
const EVERY_MS = 5_000
/** Looking takes as long as there are files: a twentieth of the time at most goes into it. */
const SHARE = 20

type DiskDeps = Pick<HostDeps, 'host' | 'log'>

/** Calls `exceed` when the run takes more of the disk than `maxBytes`. Returns what ends the watch. */
export function watchDisk(
  deps: DiskDeps,
  { runId, phase, maxBytes }: { runId: string; phase: Phase; maxBytes: number },
  exceed: (failure: RunFailure) => void,
  everyMs = EVERY_MS,
): () => void {
  const over = new AbortController()
  void watch(deps, runId, maxBytes, everyMs, over.signal).then((bytes) => {
    if (bytes !== null) exceed(tooLarge(bytes, maxBytes, phase))
  })
  return () => over.abort()
}

/** The first size that is too large; null when it is over before there is one. Never throws. */
async function watch(
  deps: DiskDeps,
  runId: string,
  maxBytes: number,
  everyMs: number,
  over: AbortSignal,
): Promise<number | null> {
  let pause = everyMs
  while (await passes(pause, over)) {
    const begun = performance.now()
    try {
      const bytes = await deps.host.diskUsage(runId)
      if (bytes > maxBytes) return over.aborted ? null : bytes
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
      'Send a follow-up that begins with removing what is not needed, start the run anew, or raise its limit: max_disk_gb of the run, AMBIENT_DISK_GB of its host.',
  }) as const
