// The HTTP API on a free port, over a real database.
import type { Client } from '@temporalio/client'
import { createParser } from 'eventsource-parser'
import type { Express } from 'express'
import { type Logger, pino } from 'pino'
import { createApp } from '../../api/app.ts'
import { createBuildStarter } from '../../api/builds/build-starter.ts'
import { createDispatcher } from '../../api/dispatcher.ts'
import { createScheduleClock } from '../../api/schedules/schedule-clock.ts'
import { createScheduleKeeper, type ScheduleKeeper } from '../../api/schedules/schedule-keeper.ts'
import { registerSearchAttributes } from '../../api/search-attributes.ts'
import { serve } from '../../api/serve.ts'
import { createSkillReader } from '../../api/skills/skill-reader.ts'
import { loadConfig, version, webhookAllowed } from '../../config.ts'
import { RunEvent } from '../../domain/event.ts'
import { HOST_HEADER, HOST_SECRET_HEADER } from '../../domain/host-api.ts'
import type { Vault } from '../../domain/vault/vault.ts'
import { createObjectStore } from '../../objects/create.ts'
import { createDatabase, type Db } from '../../store/database.ts'
import { readFigures } from '../../store/figures.ts'
import { createEventListener } from '../../store/listener.ts'
import { createRegistry } from '../../telemetry/registry.ts'
import { createServerMetrics } from '../../telemetry/server-metrics.ts'
import { noTracing } from '../../telemetry/tracing.ts'
import { connectClient } from '../../temporal.ts'
import { createWebhookSender } from '../../webhooks/sender.ts'
import { holdToDocument } from './contract.ts'
import { startTestPostgres } from './postgres.ts'
import { givenHolder } from './runs.ts'
import { testVault } from './vault.ts'

const ADMIN_KEY = 'wk-test-admin-key-0001'
/** What the server makes hashes and signatures with. */
export const LINK_KEY = 'key-of-the-links-0001'
const WORKER_KEY = 'ww-test-worker-key-001'

export interface TestApi {
  readonly url: string
  readonly key: string
  readonly db: Db
  readonly vault: Vault
  readonly app: Express
  /** Any route of the public API, with the admin key. */
  call<T = Body>(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply<T>>
  /** Any route of the hosts' API, with the worker key of the settings, as {@link HOST} unless it says otherwise. */
  host<T = Body>(method: string, path: string, body?: unknown, as?: HostIdentity): Promise<Reply<T>>
  /** Has a host report, and hold an execution of a run. */
  hold(runId: string, options?: { execution?: number; as?: HostIdentity }): Promise<void>
  /** Reads a run's stream until its end, or until `enough` says so. */
  stream(runId: string, options?: StreamOptions): Promise<Streamed>
  readonly schedules: ScheduleKeeper
  /** That of another server over the same database. */
  anotherKeeper(): ScheduleKeeper
  /** As when the process is told to stop: open streams end. */
  close(): Promise<void>
}

/** Who a request to the hosts' API says it comes from. */
export interface HostIdentity {
  id?: string
  secret?: string
  key?: string
}

export const HOST = { id: 'machine-1', secret: 'secret-of-machine-1', key: WORKER_KEY }

// biome-ignore lint/suspicious/noExplicitAny: an answer's shape is what a test asserts.
export type Body = any

export interface Reply<T> {
  status: number
  headers: Headers
  body: T
}

export interface StreamOptions {
  after?: number
  lastEventId?: string
  always?: boolean
  enough?: (events: RunEvent[]) => boolean
}

export interface Streamed {
  events: RunEvent[]
  /** The data of the `end` event; null when the stream ended without one. */
  end: unknown
}

export interface TestApiOptions {
  /** Unset: a database of its own, which goes with it. */
  databaseUrl?: string
  env?: Record<string, string>
  /** Unset: a Temporal that does not answer. */
  client?: Client
  /** Unset: nothing is logged. */
  log?: Logger
}

export async function startTestApi({ databaseUrl: url, ...options }: TestApiOptions = {}): Promise<TestApi> {
  if (url !== undefined) return serveTestApi(url, options)
  const postgres = await startTestPostgres()
  const api = await serveTestApi(await postgres.databaseUrl(), options)
  return {
    ...api,
    async close() {
      await api.close()
      await postgres.stop()
    },
  }
}

async function serveTestApi(
  databaseUrl: string,
  { env, client: given, log = pino({ level: 'silent' }) }: Omit<TestApiOptions, 'databaseUrl'>,
): Promise<TestApi> {
  const config = loadConfig({ TEMPORAL_ADDRESS: '127.0.0.1:1', ...env })
  const database = createDatabase(databaseUrl, { connections: 20 })
  const { db } = database
  const client = given ?? connectClient(config)
  const attributes = registerSearchAttributes({ client, log })
  const metrics = createServerMetrics(createRegistry('server', version), () => readFigures(db))
  const dispatcher = createDispatcher({ db, client, attributes, metrics, tracing: noTracing, log })
  const builds = createBuildStarter({ db, client, attributes, config, log })
  const keys = { admin: ADMIN_KEY, worker: WORKER_KEY, links: LINK_KEY }
  const scheduleClock = createScheduleClock(client, attributes)
  const newKeeper = () => createScheduleKeeper({ db, clock: scheduleClock, dispatcher, config, log })
  const schedules = newKeeper()
  const skills = createSkillReader({ db, client, config, log })
  const webhooks = createWebhookSender({
    db,
    key: keys.links,
    allowed: webhookAllowed(config),
    hours: config.AMBIENT_WEBHOOK_HOURS,
    disableDays: config.AMBIENT_WEBHOOK_DISABLE_DAYS,
    log,
    pauses: [0.1],
  })
  const listener = createEventListener({
    url: databaseUrl,
    onMail: dispatcher.nudgeFirst,
    onWebhook: webhooks.nudge,
    onSlot: schedules.nudge,
  })
  const closing = new AbortController()
  const vault = testVault()
  const objects = createObjectStore(config)
  const app = createApp({
    config,
    db,
    client,
    listener,
    dispatcher,
    builds,
    webhooks,
    schedules,
    skills,
    scheduleClock,
    keys,
    vault,
    objects,
    metrics,
    tracing: noTracing,
    log,
    closing: closing.signal,
  })
  const serving = await serve(app, 0, '127.0.0.1')
  const url = `http://127.0.0.1:${serving.address.port}`

  async function call(key: string, method: string, target: string, body?: unknown, headers?: Record<string, string>) {
    const response = await fetch(`${url}${target}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    const type = response.headers.get('content-type')
    const isJson = type?.includes('json') ?? false
    const answered = isJson ? JSON.parse(text) : text
    // What a redirect led to is not what was asked.
    if (!response.redirected) holdToDocument({ method, target, status: response.status, type, body: answered })
    return { status: response.status, headers: response.headers, body: answered }
  }

  const host = (method: string, path: string, body?: unknown, as: HostIdentity = {}) => {
    const { id, secret, key } = { ...HOST, ...as }
    const headers = { [HOST_HEADER]: id, [HOST_SECRET_HEADER]: secret }
    return call(key, method, `/internal/v1${path}`, body, headers)
  }

  async function stream(runId: string, { after, lastEventId, always, enough }: StreamOptions = {}): Promise<Streamed> {
    const query = new URLSearchParams()
    if (after !== undefined) query.set('after', String(after))
    if (always) query.set('follow', 'always')
    const stop = new AbortController()
    const response = await fetch(`${url}/api/v1/agent/runs/${runId}/events?${query}`, {
      signal: stop.signal,
      headers: {
        authorization: `Bearer ${ADMIN_KEY}`,
        accept: 'text/event-stream',
        ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
      },
    })
    if (!response.ok || !response.body) throw new Error(`${response.status}: ${await response.text()}`)
    const streamed: Streamed = { events: [], end: null }
    const parser = createParser({
      onEvent({ id, event, data }) {
        if (event === 'end') {
          streamed.end = JSON.parse(data)
          return
        }
        const parsed = RunEvent.parse(JSON.parse(data))
        if (String(parsed.sequence) !== id) throw new Error(`event ${parsed.sequence} came under id ${id}`)
        streamed.events.push(parsed)
      },
    })
    const decoder = new TextDecoder()
    for await (const chunk of response.body) {
      parser.feed(decoder.decode(chunk, { stream: true }))
      if (enough?.(streamed.events)) break
    }
    stop.abort()
    return streamed
  }

  return {
    url,
    key: ADMIN_KEY,
    db,
    vault,
    app,
    schedules,
    anotherKeeper: newKeeper,
    call: (method, path, body, headers) => call(ADMIN_KEY, method, `/api/v1${path}`, body, headers),
    host,
    async hold(runId, { execution = 1, as = {} } = {}) {
      const { id, pool } = { ...HOST, pool: 'default', ...as }
      await host('PUT', `/hosts/${id}`, { pool, kind: 'direct', version: '1', capacity: 1000, in_use: 0 }, as)
      await givenHolder(db, { runId, execution, hostId: id })
    },
    stream,
    async close() {
      closing.abort()
      await serving.drain()
      attributes.close()
      await dispatcher.close()
      await builds.close()
      await webhooks.close()
      await schedules.close()
      await skills.close()
      await listener.close()
      if (!given) await client.connection.close()
      await database.close()
    },
  }
}
