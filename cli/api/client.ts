// The HTTP API as the command line uses it.
import type { CheckpointItem } from '../../domain/checkpoint.ts'
import type { SkillList } from '../../domain/configuration/skill.ts'
import type { EventKind, RunEvent } from '../../domain/event.ts'
import type { RepositoryResult } from '../../domain/host-api.ts'
import type { CancelResponse, Harnesses, RunItem } from '../../domain/run.ts'
import type { RunState } from '../../domain/state.ts'
import type { Statistics } from '../../domain/statistics.ts'
import type { WorkerItem, WorkerKeyItem } from '../../domain/worker.ts'
import type { GivenAnswer } from '../ask.ts'
import { type AccountsApi, createAccountsApi } from './accounts.ts'
import { type ArtifactsApi, createArtifactsApi } from './artifacts.ts'
import { type AuditApi, createAuditApi } from './audit.ts'
import { type ConfigurationApi, createConfigurationApi } from './configuration.ts'
import { createEnvironmentsApi, type EnvironmentsApi } from './environments.ts'
import { createGitCredentialsApi, type GitCredentialsApi } from './git-credentials.ts'
import { createMcpServersApi, type McpServersApi } from './mcp-servers.ts'
import { createModelsApi, type ModelsApi } from './models.ts'
import { createMoneyApi, type MoneyApi } from './money.ts'
import { type ApiOptions, createRequests, sending } from './requests.ts'
import { createSchedulesApi, type SchedulesApi } from './schedules.ts'
import { createSecretsApi, type SecretsApi } from './secrets.ts'
import { createWebhooksApi, type WebhooksApi } from './webhooks.ts'

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
export type ResultItem = Omit<RepositoryResult, 'patch' | 'bundle'> & { bundle_bytes: number | null }

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

export function createApi(options: ApiOptions): Api {
  const root = `${options.url}/api/v1/agent`
  const base = `${root}/runs`
  const workers = `${root}/workers`
  const requests = createRequests(options)
  const { steady, post, json, remove, once } = requests

  return {
    url: options.url,
    start: (body) => json(post(base, body)),
    list: (query) => json(steady(base + listQuery(query))),
    get: (runId) => json(steady(`${base}/${runId}`)),
    checkpoints: (runId, { limit, cursor }) => {
      const from = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`
      return json(steady(`${base}/${runId}/checkpoints?limit=${limit}${from}`))
    },
    harnesses: () => json(steady(`${root}/harnesses`)),
    skills: (query) => json(steady(`${root}?${new URLSearchParams(query)}`)),
    statistics: (query) => {
      const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined)
      return json(steady(`${root}/statistics?${new URLSearchParams(given)}`))
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
      once(`${base}/${runId}/events`, {
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
    artifacts: createArtifactsApi(`${root}/artifacts`, requests),
    audit: createAuditApi(`${root}/audit-log`, requests),
    models: createModelsApi(root, requests),
    secrets: createSecretsApi(root, requests),
    accounts: createAccountsApi(root, requests),
    environments: createEnvironmentsApi(`${root}/environments`, requests),
    money: createMoneyApi(root, requests),
    gitCredentials: createGitCredentialsApi(`${root}/git-credentials`, requests),
    mcpServers: createMcpServersApi(`${root}/mcp-servers`, requests),
    configuration: createConfigurationApi(root, requests),
    schedules: createSchedulesApi(`${root}/schedules`, requests),
    webhooks: createWebhooksApi(`${root}/webhooks`, requests),
    workers: {
      list: async () => (await json<{ workers: WorkerItem[] }>(steady(workers))).workers,
      setDraining: (workerId, draining) =>
        json(post(`${workers}/${encodeURIComponent(workerId)}/${draining ? 'drain' : 'undrain'}`)),
      remove: (workerId) => remove(`${workers}/${encodeURIComponent(workerId)}`),
      keys: async () => (await json<{ keys: WorkerKeyItem[] }>(steady(`${workers}/keys`))).keys,
      // Once: a key whose answer was lost would be one that nobody knows.
      createKey: (name, pool) =>
        json(once(`${workers}/keys`, sending('POST', { name, ...(pool !== undefined && { pool }) }))),
      revokeKey: (uid) => remove(`${workers}/keys/${encodeURIComponent(uid)}`),
    },
  }
}

/** Bundles may be large and the line slow. */
const DOWNLOAD_TIMEOUT_MS = 10 * 60_000

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
