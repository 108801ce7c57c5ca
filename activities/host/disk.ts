// Runs on the worker that holds the sandbox. How much of the disk a run may take.
import { setTimeout as sleep } from 'node:timers/promises'
import type { RunFailure } from '../../domain/failure.ts'
import type { Phase } from '../../domain/state.ts'
import { freeShares } from '../../environments/disk-usage.ts'
import type { HostDeps } from './deps.ts'

/** How often a run's disk usage is looked at, in milliseconds. */
const EVERY_MS = 5_000
/** Looking takes as long as there are files: a twentieth of the time at most goes into it. */
export const SHARE = 20

/** Whether the whole disk fills is looked at as often: it costs nothing. In milliseconds. */
const GLANCE_MS = 500

type DiskDeps = Pick<HostDeps, 'host' | 'log' | 'runsDirectory'>

/** A run that took too much of the disk, and takes more than this many times what it may at its end, is not kept. What is collected of it takes as much again. */
export const KEPT_TIMES = 4

/** Runs that are looked at because they are at work. */
const watched = new WeakMap<HostDeps['host'], Map<string, number>>()

export const isWatched = (host: HostDeps['host'], runId: string): boolean => watched.get(host)?.has(runId) ?? false

function noteWatched(host: HostDeps['host'], runId: string, change: 1 | -1): void {
  const counts = watched.get(host) ?? new Map<string, number>()
  watched.set(host, counts)
  const count = (counts.get(runId) ?? 0) + change
  if (count > 0) counts.set(runId, count)
  else counts.delete(runId)
}

export interface DiskWatch {
  runId: string
  phase: Phase
  maxBytes: number
  /** It took more when it was looked at last, and works on so that it may take less: it is to grow no further. */
  wasOver?: boolean
}

/**
 * Calls `exceed` when the run takes more of the disk than it may. Returns what
 * ends the watch, and tells whether the run still took more than `maxBytes`.
 */
export function watchDisk(
  deps: DiskDeps,
  watched: DiskWatch,
  exceed: (failure: RunFailure) => void,
  everyMs = EVERY_MS,
): () => boolean {
  const { runId, phase, maxBytes, wasOver = false } = watched
  const over = new AbortController()
  let isOver = wasOver
  noteWatched(deps.host, runId, 1)
  over.signal.addEventListener('abort', () => noteWatched(deps.host, runId, -1), { once: true })
  const look = async () => {
    const bytes = await deps.host.diskUsage(runId)
    isOver = bytes > maxBytes
    return bytes
  }
  void watch(deps, { ...watched, wasOver }, look, everyMs, over.signal).then((bytes) => {
    if (bytes !== null) exceed(tooLarge(bytes, maxBytes, phase))
  })
  return () => {
    over.abort()
    return isOver
  }
}

/** The first size that is too large; null when it is over before there is one. Never throws. */
async function watch(
  deps: DiskDeps,
  { runId, maxBytes, wasOver }: Required<DiskWatch>,
  look: () => Promise<number>,
  everyMs: number,
  over: AbortSignal,
): Promise<number | null> {
  const margin = maxBytes / 10
  let pause = wasOver ? 0 : everyMs
  let bytes = 0
  let limit = wasOver ? null : maxBytes
  // A run may be over its limit in an instant. It cannot be without as much being gone from the disk.
  const room = () => Math.max((limit ?? maxBytes) - bytes, margin)
  while (await isDue(deps, pause, room(), over)) {
    const begun = performance.now()
    try {
      bytes = await look()
      limit ??= Math.max(maxBytes, Math.min(bytes + margin, KEPT_TIMES * maxBytes))
      if (bytes > limit) return over.aborted ? null : bytes
      if (bytes <= maxBytes) limit = maxBytes
    } catch (error) {
      deps.log.warn({ run: runId, err: error }, 'how much of the disk the run takes could not be found out')
    }
    pause = Math.max(everyMs, SHARE * (performance.now() - begun))
  }
  return null
}

/** After a pause, or when so much of the disk is gone meanwhile. @returns false when it is over before. */
async function isDue({ runsDirectory }: DiskDeps, pauseMs: number, bytes: number, over: AbortSignal): Promise<boolean> {
  const due = performance.now() + pauseMs
  const before = await freeShares(runsDirectory)
  for (;;) {
    const left = due - performance.now()
    if (!(await passes(Math.max(0, Math.min(left, GLANCE_MS)), over))) return false
    const now = await freeShares(runsDirectory)
    // Nothing is more or less than what is no number.
    if (left <= GLANCE_MS || before.room - now.room > bytes || before.entries - now.entries > bytes) return true
  }
}

const passes = (milliseconds: number, over: AbortSignal): Promise<boolean> =>
  sleep(milliseconds, true, { signal: over }).catch(() => false)

const gibibytes = (bytes: number) => `${Math.ceil((bytes / 1024 ** 3) * 100) / 100} GiB`

const tooLarge = (bytes: number, limit: number, phase: Phase): RunFailure => ({
  code: 'disk_limit',
  phase,
  message: `The run takes ${gibibytes(bytes)} of the disk; it may take ${gibibytes(limit)}.`,
  nextStep: `Send a follow-up that begins with removing what is not needed, start the run anew, or raise its limit: max_disk_gb of the run, AMBIENT_DISK_GB of its host. Very many small files count for the part of the disk that has as many entries for files. Files of more than ${KEPT_TIMES} times the limit are not kept: a follow-up then begins with the run's last checkpoint.`,
})
