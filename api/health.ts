// Whether a run that is started now would be carried out.
import type { RequestHandler } from 'express'
import { sql } from 'kysely'
import { version } from '../config.ts'
import { countLiveHosts } from '../store/hosts.ts'
import { ORCHESTRATOR_QUEUE } from '../workflows/contract.ts'
import type { ApiDeps } from './deps.ts'

/** A poll takes a minute at most, so a worker that has not asked for longer is gone. */
const POLLER_MS = 75_000
const CHECK_MS = 3_000

type Check = 'ok' | string

/** 200 when every part is there; 503 with the parts that are not, and why. */
export function healthRoute(deps: ApiDeps): RequestHandler {
  return async (_request, response) => {
    const [database, temporal, gateway] = await Promise.all([
      checkDatabase(deps),
      checkTemporal(deps),
      checkGateway(deps.config.AMBIENT_GATEWAY_URL ?? `http://127.0.0.1:${deps.config.AMBIENT_GATEWAY_PORT}`),
    ])
    const checks = { ...database, ...temporal, gateway }
    const isHealthy = Object.values(checks).every((check) => check === 'ok')
    response
      .status(isHealthy ? 200 : 503)
      .set('cache-control', 'no-store')
      .json({ status: isHealthy ? 'ok' : 'unavailable', version, checks })
  }
}

async function checkDatabase({ db }: ApiDeps): Promise<{ database: Check; host: Check }> {
  try {
    await within(sql`select 1`.execute(db))
    const hosts = await within(countLiveHosts(db))
    return { database: 'ok', host: hosts > 0 ? 'ok' : 'no host has reported in the last 45 s' }
  } catch (error) {
    return { database: reason(error), host: 'unknown while the database is away' }
  }
}

async function checkTemporal({ client }: ApiDeps): Promise<{ temporal: Check; orchestrator: Check }> {
  try {
    const { pollers } = await client.connection.withDeadline(Date.now() + CHECK_MS, () =>
      client.workflowService.describeTaskQueue({
        namespace: client.options.namespace,
        taskQueue: { name: ORCHESTRATOR_QUEUE },
        // TASK_QUEUE_TYPE_WORKFLOW
        taskQueueType: 1,
      }),
    )
    const isPolled = (pollers ?? []).some(({ lastAccessTime }) => {
      const seconds = Number(lastAccessTime?.seconds ?? 0)
      return Date.now() - seconds * 1000 < POLLER_MS
    })
    return { temporal: 'ok', orchestrator: isPolled ? 'ok' : 'no orchestrator worker polls for work' }
  } catch (error) {
    return { temporal: reason(error), orchestrator: 'unknown while Temporal is away' }
  }
}

/** It refuses whoever has no credential, which is answer enough. */
async function checkGateway(url: string): Promise<Check> {
  try {
    const response = await fetch(`${url}/`, { signal: AbortSignal.timeout(CHECK_MS) })
    await response.body?.cancel()
    return 'ok'
  } catch {
    return `no model gateway answers at ${url}`
  }
}

const reason = (error: unknown) => (error instanceof Error ? error.message || error.name : String(error))

async function within<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${CHECK_MS / 1000} s`)), CHECK_MS)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
