// What a host does beside its runs: says that it lives, heeds what the server wants of it, and removes what nobody needs any more.
import type { HostDeps } from '../activities/host/deps.ts'
import type { Holdings } from '../activities/host/holdings.ts'
import { watchIdleDisks } from '../activities/host/idle-disks.ts'
import { handOverLateRun } from '../activities/host/late.ts'
import { createPushWatch } from '../activities/host/pushes.ts'
import { type HostServer, ServerRefusal } from '../activities/host/server.ts'
import { type Config, ConfigError, serverUrl, version } from '../config.ts'
import type { HostStanding } from '../domain/host-api.ts'
import { sweep } from '../environments/sweep.ts'
import { tidy } from './host-tidiness.ts'

/** How often a host says that it lives; after three that are missing, /healthz tells. In milliseconds. */
const REPORT_MS = 5_000
/** While it drains, people wait for the moment when it holds nothing any more. In milliseconds. */
const DRAINING_REPORT_MS = 2_000
/** How often a host asks what it may remove. In milliseconds. */
const SWEEP_MS = 10 * 60_000
/** What a former execution left may be as large as a checkpoint. In milliseconds. */
const HAND_OVER_MS = 10 * 60_000

type Reporter = Pick<HostDeps, 'host' | 'capacity'> & { server: Pick<HostServer, 'report'> }

/** One report. @throws {ServerRefusal} when the server does not take this host in. */
export async function report(
  { server, host, capacity }: Reporter,
  holdings: Pick<Holdings, 'count'>,
  config: Pick<Config, 'AMBIENT_POOL' | 'AMBIENT_CPUS' | 'AMBIENT_MEMORY_MB'>,
  signal: AbortSignal,
): Promise<HostStanding> {
  const inUse = await holdings.count()
  // Processes of the machine have no limits: they count as what a container would be given here.
  const size = { cpus: config.AMBIENT_CPUS, memory_mb: config.AMBIENT_MEMORY_MB }
  const about = { pool: config.AMBIENT_POOL, kind: host.kind, version, egress: host.egress(), ...size }
  return server.report({ ...about, capacity, in_use: inUse }, signal)
}

/**
 * The first report, before which a host is told nothing.
 * @throws {ConfigError} when the server does not take it in: the key, the pool, the name or the address that it was given do not fit.
 */
export async function introduce(
  reporter: Reporter,
  holdings: Pick<Holdings, 'count'>,
  config: Config,
): Promise<HostStanding> {
  try {
    return await report(reporter, holdings, config, new AbortController().signal)
  } catch (error) {
    if (!(error instanceof ServerRefusal)) throw error
    const why =
      error.detail ?? `it answers ${error.status}, and not as Ambient does. AMBIENT_URL says where the server is.`
    throw new ConfigError(`The server at ${serverUrl(config)} does not take this host in: ${why}`, { cause: error })
  }
}

interface Sweeper extends Pick<HostDeps, 'host' | 'log'> {
  server: Pick<HostServer, 'sweep'>
  /** Of a run that another host has taken over: what only this one has. */
  handOver(runId: string): Promise<void>
}

/** Ends what this host has of runs, and should not have by its server's word. */
export async function sweepOnce(
  { host, server, log, handOver }: Sweeper,
  holdings: Pick<Holdings, 'remove' | 'stop'>,
  signal: AbortSignal,
): Promise<void> {
  const runIds = (await host.list()).map(({ runId }) => runId)
  // A follow-up may come for one of them after the server has answered.
  const askedAt = Date.now()
  const orders = await server.sweep(runIds, signal)
  const save = new Set(orders.save)
  const held = {
    list: () => host.list(),
    remove: (runId: string) =>
      holdings.remove(runId, askedAt, async () => {
        if (save.has(runId)) await handOver(runId)
      }),
    stop: (runId: string) => holdings.stop(runId, askedAt),
  }
  const { removed, stopped, failed } = await sweep(held, orders)
  for (const run of removed) log.info({ run }, 'removed what was left of an old run')
  for (const run of stopped) log.warn({ run }, 'ended what was still running of a run that is over')
  for (const { runId, error } of failed) log.warn({ run: runId, err: error }, 'an old run could not be ended')
}

export interface Attending {
  /** Reports now: something has changed that people wait for. */
  reportNow(): void
  stop(): void
}

/** Begins with the sweep; the first report has been made. `heed` is called with each answer. */
export function attendHost(
  deps: HostDeps,
  holdings: Holdings,
  config: Config,
  heed: (standing: HostStanding) => void,
): Attending {
  const ended = new AbortController()
  const { signal } = ended

  let nextReport: NodeJS.Timeout | undefined
  let pause = REPORT_MS
  const reportOnce = async () => {
    const standing = await report(deps, holdings, config, signal)
    pause = standing.draining ? DRAINING_REPORT_MS : REPORT_MS
    heed(standing)
  }

  async function removeOldRuns(): Promise<void> {
    const handOver = (runId: string) =>
      handOverLateRun(deps, runId, AbortSignal.any([signal, AbortSignal.timeout(HAND_OVER_MS)]))
    await sweepOnce({ ...deps, handOver }, holdings, signal)
    await tidy(deps, config, signal)
  }

  const attempt = (work: () => Promise<void>, what: string) => () =>
    work().catch((error: unknown) => {
      if (signal.aborted) return
      const isRefused = error instanceof ServerRefusal
      deps.log[isRefused ? 'error' : 'warn']({ reason: String(error) }, `${what} did not succeed; it is tried again`)
    })
  const tryReport = attempt(reportOnce, "the host's report")
  const trySweep = attempt(removeOldRuns, 'the sweep')
  async function reportOn(): Promise<void> {
    clearTimeout(nextReport)
    await tryReport()
    clearTimeout(nextReport)
    if (!signal.aborted) nextReport = setTimeout(reportOn, pause)
  }
  nextReport = setTimeout(reportOn, pause)
  void trySweep()
  const sweeping = setInterval(trySweep, SWEEP_MS)
  const stopWatching = watchIdleDisks(deps)
  const pushes = createPushWatch(deps)
  const lookEveryMs = config.AMBIENT_PUSH_CHECK_MINUTES * 60_000
  const looking =
    lookEveryMs === 0
      ? undefined
      : setInterval(
          oneAtATime(() => pushes.look(signal)),
          lookEveryMs,
        )
  return {
    reportNow: () => void reportOn(),
    stop() {
      ended.abort()
      clearTimeout(nextReport)
      clearInterval(sweeping)
      stopWatching()
      clearInterval(looking)
    },
  }
}

/** A call while one goes on does nothing. Never throws. */
function oneAtATime(work: () => Promise<void>): () => void {
  let goesOn = false
  return () => {
    if (goesOn) return
    goesOn = true
    work()
      .catch(() => {}) // It was told to end.
      .finally(() => {
        goesOn = false
      })
  }
}
