// Runs on the worker that holds the sandbox. What a sandbox was refused of the outside is told to its run.
import { setTimeout as sleep } from 'node:timers/promises'
import type { BlockedHost } from '../../domain/egress.ts'
import type { Execution } from './execution.ts'

/** People who watch the run see it this late, in milliseconds. Looking is reading a small file. */
const EVERY_MS = 1_000

/** Looks from time to time, where the run's environment names the hosts it reaches. Returns what ends the watch, after a last look. Never throws. */
export function watchBlockedHosts(execution: Execution): () => Promise<void> {
  if (!execution.order.environment.egress) return async () => {}
  const over = new AbortController()
  const watching = watch(execution, over.signal)
  return async () => {
    over.abort()
    await watching
    await tellBlockedHosts(execution, [])
  }
}

async function watch(execution: Execution, over: AbortSignal): Promise<void> {
  let told: readonly BlockedHost[] = []
  while (await sleep(EVERY_MS, true, { signal: over }).catch(() => false)) {
    told = await tellBlockedHosts(execution, told)
  }
}

/** Tells what has changed since it was told last. @returns what is told now. Never throws: the work itself is what matters. */
export async function tellBlockedHosts(
  { deps, ref, order, state, transcript, signals }: Execution,
  told: readonly BlockedHost[],
): Promise<readonly BlockedHost[]> {
  const { generation } = state.get()
  if (!order.environment.egress || generation === 0) return told
  try {
    const hosts = await deps.host.blockedHosts(ref.runId, generation)
    if (attempts(hosts) === attempts(told)) return told
    await deps.server.blockedHosts(ref.runId, ref.execution, { sandbox: generation, hosts }, signals.detach)
    const time = new Date().toISOString()
    // Each host has its line for good, so that it is told once, whoever tells it again.
    const events = hosts.map(({ host, port }, index) => ({
      line: index + 1,
      part: 0,
      time,
      kind: 'warning' as const,
      data: {
        code: 'egress_blocked',
        message: `The sandbox was refused ${host}${port === 0 ? '' : `:${port}`}: its environment does not let it reach that.`,
        host,
        port,
      },
    }))
    await transcript.record(`egress-${generation}`, events, hosts.length)
    return hosts
  } catch (error) {
    if (!signals.detach.aborted)
      deps.log.warn({ run: ref.runId, err: error }, 'what the sandbox was refused could not be told')
    return told
  }
}

/** As {@link tellBlockedHosts}, of the set-up of a build: in its log, where what failed for it is read. */
export async function logBlockedHosts({ deps, ref, order, state, transcript, signals }: Execution): Promise<void> {
  const { generation } = state.get()
  if (!order.environment.egress || generation === 0) return
  try {
    const notes = transcript.notes(`egress-${generation}`)
    for (const { host, port, count } of await deps.host.blockedHosts(ref.runId, generation)) {
      const often = count === 1 ? '' : ` (${count} times)`
      await notes.add('warning', {
        code: 'egress_blocked',
        message: `The set-up was refused ${host}${port === 0 ? '' : `:${port}`}${often}: the environment does not let it reach that.`,
      })
    }
  } catch (error) {
    if (!signals.detach.aborted)
      deps.log.warn({ build: ref.runId, err: error }, 'what the set-up was refused could not be told')
  }
}

const attempts = (hosts: readonly BlockedHost[]) => hosts.reduce((sum, { count }) => sum + count, 0)
