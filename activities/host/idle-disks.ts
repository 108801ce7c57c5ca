// Runs on the worker that holds the sandboxes. A kept sandbox whose programs go on filling the disk.
import { setTimeout as sleep } from 'node:timers/promises'
import type { HostDeps } from './deps.ts'
import { isWatched, SHARE } from './disk.ts'

/** How often they are looked at, in milliseconds. */
const EVERY_MS = 10_000

type DiskDeps = Pick<HostDeps, 'host' | 'log' | 'diskBytes'>

/**
 * Ends the sandboxes that nobody works in and that have come to take more of the
 * disk than a run may. Their files stay, and the run goes on in another one. A
 * run at work has its own watch, and fails. Returns what ends this.
 */
export function watchIdleDisks(deps: DiskDeps, everyMs = EVERY_MS): () => void {
  const over = new AbortController()
  void rounds(deps, everyMs, over.signal)
  return () => over.abort()
}

async function rounds(deps: DiskDeps, everyMs: number, over: AbortSignal): Promise<void> {
  let pause = everyMs
  while (await sleep(pause, true, { signal: over }).catch(() => false)) {
    const begun = performance.now()
    try {
      await lookAtAll(deps, over)
    } catch (error) {
      deps.log.warn({ err: error }, 'how much of the disk kept sandboxes take could not be found out')
    }
    pause = Math.max(everyMs, SHARE * (performance.now() - begun))
  }
}

async function lookAtAll({ host, log, diskBytes }: DiskDeps, over: AbortSignal): Promise<void> {
  for (const { runId, running } of await host.list()) {
    if (!running || isWatched(host, runId)) continue
    const bytes = await host.diskUsage(runId)
    if (over.aborted || bytes <= diskBytes || isWatched(host, runId)) continue
    log.warn({ run: runId, bytes }, 'a sandbox that nobody works in takes too much of the disk, and is ended')
    await host.stop(runId)
  }
}
