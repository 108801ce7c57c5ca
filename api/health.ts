// Whether a run that is started now would be carried out.
import { readFileSync } from 'node:fs'
import type { RequestHandler } from 'express'
import { sql } from 'kysely'
import { type Config, version } from '../config.ts'
import { PartTrouble, partTroubleFile } from '../domain/part-trouble.ts'
import { countReportingHosts, REPORTING_SECONDS } from '../store/hosts/hosts.ts'
import { PRESENCE_MS } from '../store/hosts/presence.ts'
import type { EventListener } from '../store/listener.ts'
import { ORCHESTRATOR_QUEUE } from '../workflows/contract.ts'
import type { ApiDeps } from './deps.ts'

/** A poll takes a minute at most, so a worker that has not asked for longer is gone. Its own word tells it much sooner. */
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
    const checks = withTroubles(deps.config, { ...database, ...temporal, gateway })
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
    const hosts = await within(countReportingHosts(db))
    return { database: 'ok', host: hosts > 0 ? 'ok' : `no host has reported in the last ${REPORTING_SECONDS} s` }
  } catch (error) {
    return { database: reason(error), host: 'unknown while the database is away' }
  }
}

async function checkTemporal({ client, listener }: ApiDeps): Promise<{ temporal: Check; orchestrator: Check }> {
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
    return { temporal: 'ok', orchestrator: isPolled ? checkWord(listener) : 'no orchestrator worker polls for work' }
  } catch (error) {
    return { temporal: reason(error), orchestrator: 'unknown while Temporal is away' }
  }
}

/** A worker that hangs, or that was stopped, still counts as polling. */
function checkWord(listener: EventListener): Check {
  const ago = listener.workerHeardAgo()
  if (ago === null || ago <= PRESENCE_MS) return 'ok'
  return `no orchestrator worker has said that it lives in the last ${Math.floor(ago / 1000)} s`
}

/** Ends in a row after which a part is in trouble, even where it is up at this moment. */
const TROUBLE_ENDS = 3
/** The supervisor waits 10 s at most before it starts a part again. */
const TROUBLE_MS = 30_000

/** With what the supervisor of this machine says of parts that keep ending. */
function withTroubles(config: Pick<Config, 'AMBIENT_DATA'>, checks: Record<string, Check>): Record<string, Check> {
  return Object.fromEntries(
    Object.entries(checks).map(([name, check]) => {
      const part = supervised[name]
      const trouble = part === undefined ? null : readTrouble(partTroubleFile(config.AMBIENT_DATA, part))
      if (trouble === null || (check === 'ok' && trouble.count < TROUBLE_ENDS)) return [name, check]
      const told = `its process ${trouble.how}, ${trouble.count} times in a row; it is started again`
      return [name, check === 'ok' ? told : `${check}; ${told}`]
    }),
  )
}

/** Names of the parts that the checks are about, as the supervisor has them. */
const supervised: Readonly<Record<string, string>> = {
  database: 'Postgres',
  temporal: 'Temporal',
  orchestrator: 'worker',
  host: 'host',
  gateway: 'gateway',
}

function readTrouble(file: string): PartTrouble | null {
  try {
    const trouble = PartTrouble.parse(JSON.parse(readFileSync(file, 'utf8')))
    return Date.now() - Date.parse(trouble.at) < TROUBLE_MS ? trouble : null
  } catch {
    return null // No trouble, or no supervisor on this machine.
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
