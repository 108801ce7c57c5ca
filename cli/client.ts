// The HTTP API as the command line uses it. Knows nothing but URLs, JSON and problems.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { CheckpointItem } from '../domain/checkpoint.ts'
import type { EventKind, RunEvent } from '../domain/event.ts'
import type { RepositoryResult } from '../domain/host-api.ts'
import type { CancelResponse, Harnesses, RunItem } from '../domain/run.ts'
import type { SkillList } from '../domain/skill.ts'
import type { RunState } from '../domain/state.ts'
import type { Statistics } from '../domain/statistics.ts'
import type { WorkerItem, WorkerKeyItem } from '../domain/worker.ts'
import packageJson from '../package.json' with { type: 'json' }
import { type AccountsApi, createAccountsApi } from './accounts-api.ts'
import { type ArtifactsApi, createArtifactsApi } from './artifacts-api.ts'
import type { GivenAnswer } from './ask.ts'
import { type AuditApi, createAuditApi } from './audit-api.ts'
import { createEnvironmentsApi, type EnvironmentsApi } from './environments-api.ts'
import { CliError, type ExitCode, exitCodes, type Problem } from './exit.ts'
import { createGitCredentialsApi, type GitCredentialsApi } from './git-credentials-api.ts'
import { createMcpServersApi, type McpServersApi } from './mcp-servers-api.ts'
import { createModelsApi, type ModelsApi } from './models-api.ts'
import { createMoneyApi, type MoneyApi } from './money-api.ts'
import { createSchedulesApi, type SchedulesApi } from './schedules-api.ts'
import { createSecretsApi, type SecretsApi } from './secrets-api.ts'
import { type ConfigurationApi, createConfigurationApi } from './shared-items-api.ts'
import { createWebhooksApi, type WebhooksApi } from './webhooks-api.ts'

/** A request that is neither a stream nor a bundle is answered within a second; a server that takes longer is not well. */
const REQUEST_TIMEOUT_MS = 30_000
/** Bundles may be large and the line slow. */
const DOWNLOAD_TIMEOUT_MS = 10 * 60_000
/** Pauses before a request is sent again that a server in trouble dropped. */
const RETRY_PAUSES_MS = [300, 1_000]
/** A server that has answered before and now refuses connections is being restarted. */
const RESTART_PAUSES_MS = [300, 1_000, 2_000, 4_000, 8_000]

export interface RunsQuery {
  limit?: number
  cursor?: string | undefined
  state?: readonly string[] | undefined
  q?: string | undefined
  /** Uid of a stored environment. */
  environment?: string | undefined
  /** Those that are shared with whoever asks, in place of their team's. */
  shared?: boolean
}

export interface RunsPage {
  runs: RunItem[]
  page_info: { has_next_page: boolean; next_cursor?: string | null }
}

export interface EventsPage {
  events: RunEvent[]
  page_info: { has_next_page: boolean; next_cursor?: string | number | null; last_sequence?: number }
}

export interface StartedRun {
  run_id: string
  state: RunState
  at_capacity: boolean
  /** What the server did not understand of the request, and left out. */
  warnings?: string[]
}

export interface CheckpointsPage {
  checkpoints: CheckpointItem[]
  page_info: { has_next_page: boolean; next_cursor?: string | null }
}

export interface Sent {
  message_id: string
  /** The run's state now that the message waits for it. */
  state: RunState
}

/** A repository's share of the result, as it is served: the patch and bundle come on their own. */
export type ResultItem = Omit<RepositoryResult, 'patch' | 'bundle'>

export interface Api {
  readonly url: string
  start(body: unknown): Promise<StartedRun>
  list(query: RunsQuery): Promise<RunsPage>
  get(runId: string): Promise<RunItem>
  harnesses(): Promise<Harnesses>
  /** As `GET /agent` has them. */
  skills(query: Readonly<Record<string, string>>): Promise<SkillList>
  /** As `GET /agent/statistics` has them. */
  statistics(query: Readonly<Record<string, string | undefined>>): Promise<Statistics>
  checkpoints(runId: string, query: { limit: number; cursor?: string | undefined }): Promise<CheckpointsPage>
  cancel(runId: string): Promise<void>
  /** With all runs that it began. @returns those that are being cancelled. */
  cancelTree(runId: string): Promise<string[]>
  send(runId: string, message: string, delivery: 'queue' | 'interrupt'): Promise<Sent>
  answer(runId: string, answer: GivenAnswer, questionId?: string): Promise<void>
  /** `kinds`: only events of these. */
  events(runId: string, after: number, limit: number, kinds?: readonly EventKind[]): Promise<EventsPage>
  /** An open stream of server-sent events. Errors of the server's are thrown as {@link CliError}. */
  stream(runId: string, options: { after: number; signal: AbortSignal }): Promise<Response>
  result(runId: string): Promise<ResultItem[]>
  /** The bytes as git wrote them: files may be in any encoding. */
  patch(runId: string, repository?: string): Promise<Buffer>
  bundle(runId: string, repository: string): Promise<Buffer>
  readonly artifacts: ArtifactsApi
  readonly audit: AuditApi
  readonly secrets: SecretsApi
  readonly models: ModelsApi
  readonly environments: EnvironmentsApi
  readonly money: MoneyApi
  readonly gitCredentials: GitCredentialsApi
  readonly mcpServers: McpServersApi
  readonly schedules: SchedulesApi
  readonly configuration: ConfigurationApi
  readonly webhooks: WebhooksApi
  readonly accounts: AccountsApi
  readonly workers: {
    list(): Promise<WorkerItem[]>
    setDraining(workerId: string, draining: boolean): Promise<WorkerItem>
    remove(workerId: string): Promise<void>
    keys(): Promise<WorkerKeyItem[]>
    /** The key itself is told here and never again. */
    createKey(name: string, pool: string | undefined): Promise<WorkerKeyItem & { key: string }>
    revokeKey(uid: string): Promise<void>
  }
}

export interface ApiOptions {
  url: string
  key: string
  /** Uid of the team that is spoken of; unset: the server picks it. */
  team?: string | undefined
  unreachableHint: string
}

export function createApi(options: ApiOptions): Api {
  const base = `${options.url}/api/v1/agent/runs`
  const workers = `${options.url}/api/v1/agent/workers`
  const headers = {
    authorization: `Bearer ${options.key}`,
    'user-agent': `ambient-cli/${packageJson.version}`,
    'x-oz-api-source': 'CLI',
    ...(options.team !== undefined && { 'x-warp-team-uid': options.team }),
  }

  let hasAnswered = false

  async function request(url: string, init: RequestInit = {}): Promise<Response> {
    const signal = init.signal ?? AbortSignal.timeout(REQUEST_TIMEOUT_MS)
    let response: Response
    try {
      response = await fetch(url, { ...init, signal, headers: { ...headers, ...(init.headers as object) } })
    } catch (error) {
      if (init.signal?.aborted && (init.signal.reason as Error | undefined)?.name !== 'TimeoutError') throw error
      throw unreachable(options.url, error, options.unreachableHint)
    }
    hasAnswered = true
    if (response.ok) return response
    throw await refused(response)
  }

  /** Sent again where a repeat is harmless: a GET, or a POST that carries an idempotency key. */
  async function steady(url: string, init: () => RequestInit = () => ({})): Promise<Response> {
    for (const pause of hasAnswered ? RESTART_PAUSES_MS : RETRY_PAUSES_MS) {
      try {
        return await request(url, init())
      } catch (error) {
        if (!(error instanceof CliError)) throw error
        const restarting = hasAnswered && error.exitCode === exitCodes.unreachable
        if (!restarting && !error.problem.retryable) throw error
        await delay(pause)
      }
    }
    return request(url, init())
  }

  async function json<T>(response: Promise<Response>): Promise<T> {
    const answer = await response
    try {
      return (await answer.json()) as T
    } catch (error) {
      throw new CliError(exitCodes.error, `What answers at ${options.url} is not an Ambient server.`, {
        hint: 'AMBIENT_URL and AMBIENT_PORT say where the server is looked for.',
        cause: error,
      })
    }
  }

  const post = (url: string, body?: unknown): Promise<Response> => {
    const key = randomUUID()
    return steady(url, () => ({
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify(body ?? {}),
    }))
  }

  return {
    url: options.url,
    start: (body) => json(post(base, body)),
    list: (query) => json(steady(base + listQuery(query))),
    get: (runId) => json(steady(`${base}/${runId}`)),
    checkpoints: (runId, { limit, cursor }) => {
      const from = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`
      return json(steady(`${base}/${runId}/checkpoints?limit=${limit}${from}`))
    },
    harnesses: () => json(steady(`${options.url}/api/v1/agent/harnesses`)),
    skills: (query) => json(steady(`${options.url}/api/v1/agent?${new URLSearchParams(query)}`)),
    statistics: (query) => {
      const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined)
      return json(steady(`${options.url}/api/v1/agent/statistics?${new URLSearchParams(given)}`))
    },
    cancel: async (runId) => {
      await post(`${base}/${runId}/cancel`)
    },
    cancelTree: async (runId) =>
      (await json<CancelResponse>(post(`${base}/${runId}/cancel`, { cascade: true }))).cancelled_run_ids,
    send: (runId, message, delivery) => json(post(`${base}/${runId}/followups`, { message, delivery })),
    answer: async (runId, given, questionId) => {
      await post(`${base}/${runId}/answers`, {
        ...given,
        ...(questionId !== undefined && { question_id: questionId }),
      })
    },
    events: (runId, after, limit, kinds = []) => {
      const only = kinds.map((kind) => `&kind=${kind}`).join('')
      return json(steady(`${base}/${runId}/events?after=${after}&limit=${limit}${only}`))
    },
    stream: (runId, { after, signal }) =>
      request(`${base}/${runId}/events`, {
        signal,
        headers: { accept: 'text/event-stream', 'last-event-id': String(after) },
      }),
    result: async (runId) =>
      (await json<{ repositories: ResultItem[] }>(steady(`${base}/${runId}/diff?format=json`))).repositories,
    patch: async (runId, repository) => {
      const repo = repository === undefined ? '' : `&repo=${encodeURIComponent(repository)}`
      const answer = await steady(`${base}/${runId}/diff?format=patch${repo}`, download)
      return Buffer.from(await answer.arrayBuffer())
    },
    bundle: async (runId, repository) => {
      const answer = await steady(
        `${base}/${runId}/diff?format=bundle&repo=${encodeURIComponent(repository)}`,
        download,
      )
      return Buffer.from(await answer.arrayBuffer())
    },
    artifacts: createArtifactsApi(`${options.url}/api/v1/agent/artifacts`, { steady, json }),
    audit: createAuditApi(`${options.url}/api/v1/agent/audit-log`, { steady, json }),
    models: createModelsApi(`${options.url}/api/v1/agent`, { steady, post, json }),
    secrets: createSecretsApi(`${options.url}/api/v1/agent`, { steady, post, json }),
    accounts: createAccountsApi(`${options.url}/api/v1/agent`, { steady, post, json }, request),
    environments: createEnvironmentsApi(`${options.url}/api/v1/agent/environments`, { steady, post, json }),
    money: createMoneyApi(`${options.url}/api/v1/agent`, { steady, post, json }),
    gitCredentials: createGitCredentialsApi(`${options.url}/api/v1/agent/git-credentials`, { steady, post, json }),
    mcpServers: createMcpServersApi(`${options.url}/api/v1/agent/mcp-servers`, { steady, post, json }),
    configuration: createConfigurationApi(`${options.url}/api/v1/agent`, { steady, post, json }),
    schedules: createSchedulesApi(`${options.url}/api/v1/agent/schedules`, { steady, post, json }),
    webhooks: createWebhooksApi(`${options.url}/api/v1/agent/webhooks`, { steady, post, json }),
    workers: {
      list: async () => (await json<{ workers: WorkerItem[] }>(steady(workers))).workers,
      setDraining: (workerId, draining) =>
        json(post(`${workers}/${encodeURIComponent(workerId)}/${draining ? 'drain' : 'undrain'}`)),
      remove: async (workerId) => {
        await steady(`${workers}/${encodeURIComponent(workerId)}`, () => ({ method: 'DELETE' }))
      },
      keys: async () => (await json<{ keys: WorkerKeyItem[] }>(steady(`${workers}/keys`))).keys,
      // Once: a key whose answer was lost would be one that nobody knows.
      createKey: (name, pool) =>
        json(
          request(`${workers}/keys`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ name, ...(pool !== undefined && { pool }) }),
          }),
        ),
      revokeKey: async (uid) => {
        await steady(`${workers}/keys/${encodeURIComponent(uid)}`, () => ({ method: 'DELETE' }))
      },
    },
  }
}

const download = (): RequestInit => ({ signal: AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS) })

function listQuery(query: RunsQuery): string {
  // By their creation, which does not change while pages are turned.
  const search = new URLSearchParams({ sort_by: 'created_at' })
  if (query.limit !== undefined) search.set('limit', String(query.limit))
  if (query.cursor) search.set('cursor', query.cursor)
  for (const state of query.state ?? []) search.append('state', state)
  if (query.q) search.set('q', query.q)
  if (query.shared) search.set('shared', 'true')
  if (query.environment) search.set('environment_id', query.environment)
  return `?${search}`
}

function unreachable(url: string, error: unknown, hint: string): CliError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const code = (cause as NodeJS.ErrnoException).code
  const timedOut = (error as Error).name === 'TimeoutError'
  const reason = timedOut
    ? 'no answer in time'
    : code === 'ECONNREFUSED'
      ? 'connection refused'
      : (code ?? String((cause as Error).message))
  return new CliError(exitCodes.unreachable, `No Ambient server answers at ${url} (${reason}).`, {
    hint,
    // Refused means that nobody listens: waiting a second does not help, and the person should know at once.
    problem: {
      title: 'Server unreachable',
      detail: reason,
      error: 'unreachable',
      retryable: code === 'ECONNRESET' || code === 'UND_ERR_SOCKET',
    },
    cause: error,
  })
}

async function refused(response: Response): Promise<CliError> {
  const problem = await readProblem(response)
  const message = [problem.title, problem.detail]
    .filter((part, index, all) => part && all.indexOf(part) === index)
    .join(': ')
  return new CliError(exitCodeOfStatus(response.status), message, {
    hint:
      response.status === 401
        ? 'AMBIENT_API_KEY, or the admin key in the data directory, is not the server’s.'
        : undefined,
    problem,
  })
}

async function readProblem(response: Response): Promise<Problem> {
  const text = await response.text().catch(() => '')
  try {
    const body: unknown = JSON.parse(text)
    if (typeof body === 'object' && body !== null && 'title' in body)
      return { ...(body as Problem), status: response.status }
  } catch {
    // Not JSON: a proxy's page, or another program's; the status line is all that can be said.
  }
  return {
    title: `The server answered ${response.status} ${response.statusText}`.trim(),
    status: response.status,
    retryable: response.status === 502 || response.status === 503,
  }
}

function exitCodeOfStatus(status: number): ExitCode {
  if (status === 401 || status === 403) return exitCodes.unauthorised
  return status >= 500 || status === 429 ? exitCodes.error : exitCodes.usage
}
