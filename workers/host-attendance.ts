// What a host does beside its runs: says that it lives, and removes what nobody needs any more.
import type { HostDeps } from '../activities/host/deps.ts'
import type { Holdings } from '../activities/host/holdings.ts'
import { type Config, version } from '../config.ts'
import { sweep } from '../environments/sweep.ts'

/** How often a host says that it lives. The server counts it as gone after three of these. In milliseconds. */
const REPORT_MS = 15_000
/** How often a host asks what it may remove. In milliseconds. */
const SWEEP_MS = 10 * 60_000

/** Begins at once; returns how to stop it. */
export function attendHost(deps: HostDeps, holdings: Holdings, config: Config): () => void {
  const ended = new AbortController()
  const { signal } = ended

  const report = () =>
    deps.server.report(
      deps.hostId,
      { pool: config.AMBIENT_POOL, kind: deps.host.kind, version, capacity: deps.capacity },
      signal,
    )

  async function removeOldRuns(): Promise<void> {
    const runIds = (await deps.host.list()).map(({ runId }) => runId)
    if (runIds.length === 0) return
    // A follow-up may come for one of them after the server has answered.
    const askedAt = Date.now()
    const old = await deps.server.sweep(deps.hostId, runIds, signal)
    const remove = (runId: string) => holdings.remove(runId, askedAt)
    const { removed, failed } = await sweep({ list: () => deps.host.list(), remove }, old)
    for (const runId of removed) deps.log.info({ run: runId }, 'removed what was left of an old run')
    for (const { runId, error } of failed) deps.log.warn({ run: runId, err: error }, 'an old run could not be removed')
  }

  const every = (work: () => Promise<void>, milliseconds: number, what: string) => {
    const once = () =>
      work().catch((error: unknown) => {
        if (!signal.aborted) deps.log.warn({ reason: String(error) }, `${what} did not succeed; it is tried again`)
      })
    void once()
    return setInterval(once, milliseconds)
  }
  const timers = [every(report, REPORT_MS, "the host's report"), every(removeOldRuns, SWEEP_MS, 'the sweep')]
  return () => {
    ended.abort()
    for (const timer of timers) clearInterval(timer)
  }
}
