// A small server with the API that the command line uses, for tests: it serves what the test puts in.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json as readJson } from 'node:stream/consumers'
import type { CheckpointItem } from '../../domain/checkpoint.ts'
import type { EventKind, RunEvent } from '../../domain/event.ts'
import type { Harnesses, RunItem } from '../../domain/run.ts'
import { isTerminal, type RunState } from '../../domain/state.ts'
import type { ResultItem } from '../api/client.ts'

export const KEY = 'a-key-of-the-tests'
/** The id of every message that is sent. */
export const MESSAGE = '5b0c3c2e-1111-4111-8111-111111111111'

export interface Received {
  method: string
  path: string
  headers: IncomingMessage['headers']
  body: unknown
}

export interface TestRun {
  item: RunItem
  events: RunEvent[]
  result: ResultItem[]
  checkpoints: CheckpointItem[]
  patch: Buffer
  bundles: Map<string, Buffer>
  /** A message was sent that has not reached the agent: the run is not over. */
  waits: boolean
  /** Appends an event, and sends it to whoever listens. */
  add(kind: EventKind, data: Record<string, unknown>): void
  /** A `state` event, with what it means for the run itself. */
  state(state: RunState, more?: Partial<RunItem>): void
}

export interface TestServer {
  readonly url: string
  readonly requests: Received[]
  run(more?: Partial<RunItem>): TestRun
  /** Called with each POST, after it was answered; new runs are made by `onStart`. */
  onStart: (body: unknown) => TestRun
  onPost: (run: TestRun, action: string, body: unknown) => void
  harnesses: Harnesses
  /** Told with each run that is started. */
  warnings: string[]
  /** Answers the next request that fits with this problem. */
  refuseNext(path: RegExp, status: number, problem: Record<string, unknown>): void
  /** Resolves once this many streams have been opened in all. */
  streams(count: number): Promise<void>
  /** Ends all open connections, as a dying server does. */
  drop(): void
  stop(): Promise<void>
  start(): Promise<void>
}

export async function startTestServer(): Promise<TestServer> {
  const runs = new Map<string, TestRun>()
  const listeners = new Map<string, Set<ServerResponse>>()
  const requests: Received[] = []
  const refusals: { path: RegExp; status: number; problem: Record<string, unknown> }[] = []
  let opened = 0
  let streamWaiters: { count: number; resolve: () => void }[] = []
  let port = 0
  let http: Server

  function run(more: Partial<RunItem> = {}): TestRun {
    const id = more.run_id ?? randomUUID()
    const made: TestRun = {
      item: { ...emptyRun(id), ...more },
      events: [],
      result: [],
      checkpoints: [],
      patch: Buffer.alloc(0),
      bundles: new Map(),
      waits: false,
      add(kind, data) {
        if (kind === 'prompt') made.waits = false
        const event: RunEvent = {
          sequence: made.events.length + 1,
          time: new Date(Date.UTC(2030, 0, 1, 12, 0, made.events.length)).toISOString(),
          kind,
          execution: made.item.execution,
          data,
        }
        made.events.push(event)
        made.item.last_event_sequence = event.sequence
        for (const response of listeners.get(id) ?? []) send(response, event)
      },
      state(state, change = {}) {
        made.item = { ...made.item, ...change, state }
        made.add('state', { state, execution: made.item.execution, ...(change.failure && { failure: change.failure }) })
        if (isTerminal(state) && !made.waits) for (const response of listeners.get(id) ?? []) finish(response)
      },
    }
    runs.set(id, made)
    return made
  }

  const send = (response: ServerResponse, event: RunEvent) =>
    response.write(`id: ${event.sequence}\ndata: ${JSON.stringify(event)}\n\n`)

  const finish = (response: ServerResponse) => response.end('event: end\ndata: {}\n\n')

  function stream(request: IncomingMessage, response: ServerResponse, url: URL, wanted: TestRun): void {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.flushHeaders()
    const after = Number(request.headers['last-event-id'] ?? url.searchParams.get('after') ?? 0)
    for (const event of wanted.events) if (event.sequence > after) send(response, event)
    opened++
    const ready = streamWaiters.filter(({ count }) => count <= opened)
    streamWaiters = streamWaiters.filter(({ count }) => count > opened)
    for (const { resolve } of ready) resolve()
    if (isTerminal(wanted.item.state) && !wanted.waits) finish(response)
    if (response.writableEnded) return
    const open = listeners.get(wanted.item.run_id) ?? new Set()
    listeners.set(wanted.item.run_id, open.add(response))
    response.on('close', () => open.delete(response))
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', 'http://localhost')
    const body = request.method === 'POST' ? await readJson(request) : undefined
    const { method = 'GET', headers } = request
    requests.push({ method, path: url.pathname + url.search, headers, body })
    const refusal = refusals.findIndex(({ path }) => path.test(request.url ?? ''))
    if (refusal >= 0) {
      const [refused] = refusals.splice(refusal, 1)
      return problem(response, refused?.status ?? 500, refused?.problem ?? {})
    }
    if (headers.authorization !== `Bearer ${KEY}`) {
      return problem(response, 401, {
        title: 'Authentication required',
        detail: 'the key is not known',
        retryable: false,
      })
    }
    if (url.pathname === '/api/v1/agent/harnesses') return answer(response, server.harnesses)
    const [id, action = ''] = url.pathname.replace(/^\/api\/v1\/agent\/runs\/?/, '').split('/')
    if (!id) {
      if (method !== 'POST') return list(response, url)
      const made = server.onStart(body)
      return answer(response, {
        run_id: made.item.run_id,
        state: made.item.state,
        at_capacity: false,
        warnings: server.warnings,
      })
    }
    const wanted = runs.get(id)
    if (!wanted) return problem(response, 404, { title: 'Not found', detail: 'there is no such run', retryable: false })
    if (method === 'POST') {
      wanted.waits ||= action === 'followups'
      const answers: Record<string, object> = {
        followups: { message_id: MESSAGE, state: stateOf(wanted) },
        cancel: { run_id: wanted.item.run_id, cancelled_run_ids: [wanted.item.run_id] },
      }
      answer(response, answers[action ?? ''] ?? {})
      return server.onPost(wanted, action, body)
    }
    if (action === '') return answer(response, { ...wanted.item, state: stateOf(wanted) })
    if (action === 'diff') return diff(response, url, wanted)
    if (action === 'checkpoints')
      return answer(response, { checkpoints: wanted.checkpoints, page_info: { has_next_page: false } })
    if (headers.accept === 'text/event-stream') return stream(request, response, url, wanted)
    const after = Number(url.searchParams.get('after'))
    const limit = Number(url.searchParams.get('limit'))
    const kinds = url.searchParams.getAll('kind')
    const rest = wanted.events.filter(
      ({ sequence, kind }) => sequence > after && (kinds.length === 0 || kinds.includes(kind)),
    )
    answer(response, {
      events: rest.slice(0, limit),
      page_info: { has_next_page: rest.length > limit, last_sequence: wanted.events.length },
    })
  }

  function list(response: ServerResponse, url: URL): void {
    const states = url.searchParams.getAll('state')
    const all = [...runs.values()]
      .map(({ item }) => item)
      .filter(({ state }) => states.length === 0 || states.includes(state))
    const from = Number(url.searchParams.get('cursor') ?? 0)
    const to = from + Number(url.searchParams.get('limit') ?? 20)
    const more = to < all.length
    answer(response, {
      runs: all.slice(from, to),
      page_info: { has_next_page: more, ...(more && { next_cursor: String(to) }) },
    })
  }

  function diff(response: ServerResponse, url: URL, wanted: TestRun): void {
    const format = url.searchParams.get('format')
    if (format === 'json') answer(response, { repositories: wanted.result })
    else response.end(format === 'bundle' ? wanted.bundles.get(url.searchParams.get('repo') ?? '') : wanted.patch)
  }

  const server: TestServer = {
    get url() {
      return `http://127.0.0.1:${port}`
    },
    requests,
    run,
    onStart: () => run(),
    onPost: () => undefined,
    harnesses: { default_harness: 'opencode', harnesses: [] },
    warnings: [],
    refuseNext: (path, status, problem) => refusals.push({ path, status, problem }),
    streams: (count) =>
      opened >= count ? Promise.resolve() : new Promise((resolve) => streamWaiters.push({ count, resolve })),
    drop: () => http.closeAllConnections(),
    async stop() {
      http.closeAllConnections()
      http.close()
      await once(http, 'close')
    },
    async start() {
      http = createServer((request, response) => void handle(request, response))
      http.listen(port, '127.0.0.1')
      await once(http, 'listening')
      port = (http.address() as AddressInfo).port
    },
  }
  await server.start()
  return server
}

/** A run for which a message waits is not over. */
const stateOf = ({ item, waits }: TestRun): RunState => (waits && isTerminal(item.state) ? 'QUEUED' : item.state)

function answer(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function problem(response: ServerResponse, status: number, body: Record<string, unknown>): void {
  response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify({ status, ...body }))
}

const operator = {
  type: 'user',
  uid: 'operator',
  display_name: 'Operator',
  email: null,
  photo_url: null,
} as const

export function emptyRun(id: string): RunItem {
  return {
    run_id: id,
    task_id: id,
    title: 'Fix the greeting',
    state: 'QUEUED',
    prompt: 'Fix the greeting',
    created_at: '2030-01-01T12:00:00.000Z',
    updated_at: '2030-01-01T12:00:00.000Z',
    started_at: null,
    finished_at: null,
    run_time: null,
    status_message: null,
    queue: null,
    team: 'default',
    scope: { type: 'Team', uid: 'default' },
    creator: operator,
    executor: operator,
    priority: 0,
    concurrency: null,
    failure: null,
    source: 'CLI',
    schedule: null,
    execution_location: 'REMOTE',
    execution: 1,
    is_run_type_cancellable: true,
    is_sandbox_running: false,
    agent_config: { harness: { type: 'codex', agent: 'codex' } },
    agent_skill: null,
    skills: [],
    configuration: null,
    environment: null,
    conversation_id: id,
    mode: 'normal',
    scores: [],
    secrets: [],
    request_usage: null,
    budgets: [],
    session_id: null,
    parent_run_id: null,
    root_run_id: id,
    forked_from: null,
    checkpoint: null,
    metadata: {},
    artifacts: [],
    children: [],
    last_event_sequence: 0,
    blocked_hosts: [],
    questions: [],
    demo: false,
  }
}
