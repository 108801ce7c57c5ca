// Runs: written at their creation, served as the API shows them.
import { randomUUID } from 'node:crypto'
import { type Selectable, type SelectQueryBuilder, sql } from 'kysely'
import type { ForkedFrom } from '../../domain/checkpoint.ts'
import type { PinnedSkill } from '../../domain/configuration/skill.ts'
import { failureCodes } from '../../domain/failure.ts'
import { isRunBranch, runBranch } from '../../domain/git/branch.ts'
import { asServed, defaultPolicy } from '../../domain/harness.ts'
import type { ExecutionOrder } from '../../domain/host-api.ts'
import { MCP_START_SECONDS, type McpServerOrder, type McpServers, typeOf } from '../../domain/mcp/server.ts'
import { configWithServers, shownServer } from '../../domain/mcp/values.ts'
import type { Principal } from '../../domain/permission.ts'
import type { Concurrency } from '../../domain/queue.ts'
import { type AgentConfig, type InlineEnvironment, type RunItem, withoutSecrets } from '../../domain/run.ts'
import { isTerminal } from '../../domain/state.ts'
import type { ExecutionRef } from '../../workflows/contract.ts'
import { profileIn, profilesOf } from '../accounts/principals.ts'
import { textOfRules } from '../configuration/for-run.ts'
import type { Queryable, Tx } from '../database.ts'
import { isLive } from '../hosts/hosts.ts'
import { jsonb, storableText } from '../json.ts'
import { RunNotFoundError, refuseOlder } from '../locking.ts'
import { moneyOf } from '../money/usage.ts'
import { queuePlaces } from '../queue/queue.ts'
import type { RunsTable, Schema } from '../schema.ts'
import { inheritGiven } from '../secrets/given-values.ts'
import { usedSecrets } from '../secrets/run-secrets.ts'
import { insertRunSkills, servedSkills, skillsColumn } from '../skills/run-skills.ts'
import { artifactsOf } from './artifacts.ts'
import { attach, type NewAttachment } from './attachments.ts'
import { blockedHosts } from './blocked-hosts.ts'
import { newestCheckpoints } from './checkpoint-history.ts'
import { serveFailure } from './failure.ts'
import { messageWaits, newMail, promptBody } from './mail.ts'
import { openQuestions } from './questions.ts'
import { isVisible, type Visibility } from './run-access.ts'
import { searchRow } from './run-search.ts'
import { scoresOf } from './scores.ts'
import { STATE_JOURNAL } from './states.ts'

/** A run as asked for, with everything resolved that the server decides at its creation. */
export type NewRun = Pick<
  Selectable<RunsTable>,
  | 'title'
  | 'prompt'
  | 'source'
  | 'name'
  | 'agent'
  | 'model'
  | 'reasoning_level'
  | 'command'
  | 'policy'
  | 'base_prompt'
  | 'pool'
  | 'priority'
  | 'concurrency_group'
  | 'concurrency_limit'
  | 'idle_minutes'
  | 'config'
  | 'environment'
  | 'environment_id'
  | 'metadata'
  | 'demo'
  | 'team'
  | 'scope'
  | 'created_by_type'
  | 'created_by'
  | 'executor_type'
  | 'executor'
> &
  Partial<Pick<Selectable<RunsTable>, 'schedule' | 'mode' | 'conversation_id' | 'configuration'>> & {
    parent: { id: string; rootRunId: string } | null
    fork?: ForkOrigin
    /** What it works by, and what is at hand for it. */
    skills?: readonly PinnedSkill[]
    /** Files that come with the prompt. */
    attachments?: readonly NewAttachment[] | undefined
  }

/** A repository that is to have a pull request, and names no branch for it, has one of the run's own. */
const withRunBranches = (environment: InlineEnvironment, runId: string): InlineEnvironment => ({
  ...environment,
  repos: environment.repos.map((repository) => {
    const { pull_request: asked, push_branch: branch } = repository
    // A fork is not to work on the branch of the run that it comes from.
    const isOpen = branch === undefined || isRunBranch(branch)
    return asked && isOpen ? { ...repository, push_branch: runBranch(runId) } : repository
  }),
})

/** Where a forked run begins. */
export interface ForkOrigin {
  from: ForkedFrom
  checkpointId: string
}

/** Writes the run, its first message and its first state. Returns its id. */
export async function insertRun(
  tx: Tx,
  { parent, fork, schedule = null, configuration = null, attachments = [], skills = [], ...run }: NewRun,
  trace: string | null = null,
): Promise<string> {
  const id = randomUUID()
  const row = {
    ...run,
    title: storableText(run.title),
    prompt: storableText(run.prompt),
    command: run.command === null ? null : jsonb(run.command),
    config: jsonb(run.config),
    configuration: configuration === null ? null : jsonb(configuration),
    environment: run.environment === null ? null : jsonb(withRunBranches(run.environment, id)),
    metadata: jsonb(run.metadata),
    schedule: schedule === null ? null : jsonb(schedule),
  }
  const message = newMail(id, 'prompt', promptBody(run.prompt, 'queue', attachments.length, run.mode), trace)
  const search = searchRow({ ...run, id, skills: skills.map(({ name }) => name) })
  const created = { run_id: id, execution: 1, key: 'created' }
  const event = { run_id: id, sequence: 1, execution: 1, journal: STATE_JOURNAL, line: 1, part: 0, time: new Date() }
  const told = jsonb({ state: 'QUEUED', execution: 1 })
  // One statement: to start a run is what a caller waits for.
  await tx
    .with('message', (db) => db.insertInto('mail').values(message))
    .with('search', (db) => db.insertInto('run_search').values(search))
    .with('change', (db) => db.insertInto('state_changes').values({ ...created, number: 1, state: 'QUEUED' }))
    .with('entry', (db) =>
      db
        .insertInto('timeline')
        .values({ ...created, event_type: 'oz_run_created', payload: jsonb({ state: 'QUEUED' }) }),
    )
    .with('event', (db) => db.insertInto('events').values({ ...event, kind: 'state', data: told }))
    .insertInto('runs')
    .values({
      ...row,
      id,
      state: 'QUEUED',
      last_event_sequence: 1,
      transcript_bytes: sql<number>`pg_column_size(${told})`,
      skill: skills[0]?.name ?? null,
      parent_run_id: parent?.id ?? null,
      root_run_id: parent?.rootRunId ?? id,
      forked_from_run_id: fork?.from.run_id ?? null,
      forked_from_checkpoint: fork?.from.checkpoint ?? null,
      fork_session: fork?.from.session ?? null,
      forked_checkpoint_id: fork?.checkpointId ?? null,
    })
    .execute()
  await insertRunSkills(tx, { runId: id, team: run.team }, skills)
  if (fork) await inheritGiven(tx, { from: fork.from.run_id, to: id })
  await attach(tx, { runId: id, mailId: message.id }, attachments)
  return id
}

/** What a child run takes over; null when whoever asks sees no such run. It is locked, so that no cancel overlooks the child. */
export async function findParent(
  tx: Tx,
  runId: string,
  visibility: Visibility,
): Promise<{ id: string; rootRunId: string; metadata: Record<string, string>; scope: 'Team' | 'User' } | null> {
  const row = await tx
    .selectFrom('runs')
    .select(['id', 'root_run_id as rootRunId', 'metadata', 'scope'])
    .where('id', '=', runId)
    .where(isVisible(visibility))
    .forShare()
    .executeTakeFirst()
  return row ?? null
}

/** Secrets are opened where they are given, and nowhere else. */
type GivenApart = 'git' | 'secrets' | 'hidden_values' | 'secrets_trouble'

/** What a host needs to carry out an execution; `late`: to hand over what it still has of one that is over. */
export async function findOrder(
  db: Queryable,
  { runId, execution }: ExecutionRef,
  { late = false } = {},
): Promise<Omit<ExecutionOrder, 'transcript_bytes' | 'disk_bytes' | GivenApart> & { config: AgentConfig }> {
  const run = await db
    .selectFrom('runs')
    .select([
      'execution',
      'agent',
      'model',
      'reasoning_level',
      'command',
      'policy',
      'base_prompt',
      'team',
      'environment',
      'environment_id',
      'config',
      'configuration',
      'forked_from_run_id',
      'forked_from_checkpoint',
      'fork_session',
      'forked_checkpoint_id',
    ])
    .select(skillsColumn.as('skills'))
    .select((eb) =>
      eb
        .exists(
          eb.selectFrom('checkpoints').select('id').where('run_id', '=', runId).where('completed_at', 'is not', null),
        )
        .as('has_checkpoint'),
    )
    .where('id', '=', runId)
    .executeTakeFirst()
  if (!run) throw new RunNotFoundError(runId)
  if (!late) refuseOlder(run, execution)
  // Nothing has come before a run's first execution.
  const former = execution === 1 ? null : await formerExecution(db, runId, execution)
  const { configuration, ...told } = run
  return {
    ...told,
    run_id: runId,
    execution,
    environment: run.environment ?? { repos: [], setup_commands: [], env: {} },
    commit_identity: run.config.commit_identity ?? null,
    rules: await textOfRules(db, configuration?.rules ?? []),
    mcp_servers: mcpServersFor(run.config.mcp_servers ?? {}),
    repository_mcp_servers: run.config.repository_mcp_servers ?? false,
    prepared: run.environment_id === null ? null : await preparedStart(db, run.environment_id),
    former,
    has_checkpoint: Boolean(run.has_checkpoint),
    forked_from: forkedFrom(run),
    begins_forked: run.forked_checkpoint_id !== null,
    skills: run.skills ?? [],
  }
}

const mcpServersFor = (servers: McpServers): McpServerOrder[] =>
  Object.entries(servers).map(([name, server]) => ({
    name,
    type: typeOf(server),
    required: server.required ?? false,
    start_seconds: server.start_seconds ?? MCP_START_SECONDS,
  }))

const forkedFrom = (
  run: Pick<RunRow, 'forked_from_run_id' | 'forked_from_checkpoint' | 'fork_session'>,
): ForkedFrom | null => {
  const { forked_from_run_id: runId, forked_from_checkpoint: checkpoint, fork_session: session } = run
  return runId === null || checkpoint === null || session === null ? null : { run_id: runId, checkpoint, session }
}

/** Null where the environment is gone, or has every run set itself up. */
async function preparedStart(db: Queryable, environmentId: string): Promise<ExecutionOrder['prepared']> {
  const row = await db
    .selectFrom('environments')
    .select([
      sql<boolean>`coalesce((config ->> 'prepare')::boolean, true)`.as('prepare'),
      sql<boolean>`coalesce((config ->> 'wait_for_build')::boolean, false)`.as('wait'),
    ])
    .where('id', '=', environmentId)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  return row?.prepare ? { environment_id: environmentId, wait: row.wait } : null
}

/** The newest execution before this one that a host took. */
async function formerExecution(db: Queryable, runId: string, execution: number): Promise<ExecutionOrder['former']> {
  const row = await db
    .selectFrom('executions')
    .select(['execution', 'host_id'])
    .where('run_id', '=', runId)
    .where('execution', '<', execution)
    .where('host_id', 'is not', null)
    .orderBy('execution', 'desc')
    .limit(1)
    .executeTakeFirst()
  return row?.host_id == null ? null : { execution: row.execution, host_id: row.host_id }
}

/** Something has happened to the run that its readers may want to know. */
export async function touchRun(tx: Tx, runId: string): Promise<void> {
  await tx.updateTable('runs').set({ updated_at: sql`now()` }).where('id', '=', runId).execute()
}

export async function runExists(db: Queryable, runId: string): Promise<boolean> {
  return (await db.selectFrom('runs').select('id').where('id', '=', runId).executeTakeFirst()) !== undefined
}

/** Null when there is no such run. */
export async function findRun(db: Queryable, runId: string): Promise<RunItem | null> {
  const row = await selectRuns(db).where('runs.id', '=', runId).executeTakeFirst()
  if (!row) return null
  const [run] = await serveRuns(db, [row])
  return run ?? null
}

/** Milliseconds that a run has worked, over all executions, the current one up to now. */
const workedMs = sql<number | null>`(
  select sum(extract(epoch from coalesce(executions.finished_at, now()) - executions.started_at) * 1000)::bigint
  from executions
  where executions.run_id = runs.id
)`

/** The kind of the host that has the run, or that all hosts have which may take it. */
const hostKind = sql<'docker' | 'direct' | null>`coalesce(
  (select kind from hosts where hosts.id = runs.host_id),
  (select case when count(distinct kind) = 1 then min(kind) end from hosts where hosts.pool = runs.pool and ${isLive})
)`

export type RunRow = Selectable<RunsTable> & {
  worked_ms: number | null
  message_waits: boolean
  host_kind: 'docker' | 'direct' | null
}

export const selectRuns = (db: Queryable): SelectQueryBuilder<Schema, 'runs', RunRow> =>
  db
    .selectFrom('runs')
    .selectAll('runs')
    .select([workedMs.as('worked_ms'), messageWaits.as('message_waits'), hostKind.as('host_kind')])

/** A run that has ended and for which a message waits is not over: what it ended with is of its former execution. */
const asRead = (row: RunRow): RunRow =>
  row.message_waits && isTerminal(row.state)
    ? { ...row, state: 'QUEUED', failure: null, message: null, finished_at: null }
    : row

/** Rows as runs of the API, with what hangs on them. */
export async function serveRuns(db: Queryable, written: readonly RunRow[]): Promise<RunItem[]> {
  const rows = written.map(asRead)
  const ids = rows.map((row) => row.id)
  const queued = rows.filter((row) => row.state === 'QUEUED').map((row) => row.id)
  const [blocked, questions, children, places, checkpoints, artifacts, scores, secrets, skills, profiles, money] =
    await Promise.all([
      blockedHosts(db, ids),
      openQuestions(db, ids),
      childrenOf(db, ids),
      queuePlaces(db, queued),
      newestCheckpoints(db, ids),
      artifactsOf(db, ids),
      scoresOf(db, ids),
      usedSecrets(db, ids),
      servedSkills(db, ids),
      profilesOf(db, [...rows.map(creatorOf), ...rows.map(executorOf)]),
      moneyOf(db, ids),
    ])
  return rows.map((row) => ({
    run_id: row.id,
    task_id: row.id,
    title: row.title,
    state: row.state,
    prompt: row.prompt,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
    started_at: row.started_at?.toISOString() ?? null,
    finished_at: row.finished_at?.toISOString() ?? null,
    run_time: row.worked_ms === null ? null : duration(row.worked_ms),
    status_message: statusMessage(row, places.get(row.id)?.message, questions.get(row.id)?.[0]),
    queue: places.get(row.id) ?? null,
    team: row.team,
    scope: { type: row.scope, uid: row.scope === 'User' ? row.created_by : row.team },
    creator: profileIn(profiles, creatorOf(row)),
    executor: profileIn(profiles, executorOf(row)),
    priority: row.priority,
    concurrency: concurrencyOf(row),
    failure: row.failure ? serveFailure(row.failure) : null,
    source: row.source,
    schedule: row.schedule,
    execution_location: 'REMOTE',
    execution: row.execution,
    is_sandbox_running: row.sandbox_running,
    is_run_type_cancellable: true,
    agent_config: resolvedConfig(row),
    agent_skill: skills.get(row.id)?.[0] ?? null,
    skills: skills.get(row.id) ?? [],
    configuration: row.configuration,
    environment: row.environment && withoutSecrets(row.environment),
    secrets: secrets.get(row.id) ?? [],
    conversation_id: row.conversation_id ?? row.id,
    mode: row.mode,
    // A run at work is its own session.
    session_id: row.sandbox_running ? row.id : null,
    parent_run_id: row.parent_run_id,
    root_run_id: row.root_run_id,
    forked_from: forkedFrom(row),
    checkpoint: checkpoints.get(row.id) ?? null,
    metadata: row.metadata,
    scores: scores.get(row.id) ?? [],
    request_usage: money.usage.get(row.id) ?? null,
    budgets: money.budgets.get(row.id) ?? [],
    artifacts: artifacts.get(row.id) ?? [],
    children: children.get(row.id) ?? [],
    last_event_sequence: row.last_event_sequence,
    blocked_hosts: blocked.get(row.id) ?? [],
    questions: questions.get(row.id) ?? [],
    demo: row.demo,
  }))
}

const creatorOf = ({ created_by_type: type, created_by: uid }: RunRow): Principal => ({ type, uid })
const executorOf = ({ executor_type: type, executor: uid }: RunRow): Principal => ({ type, uid })

const concurrencyOf = ({ concurrency_group: group, concurrency_limit: limit }: RunRow): Concurrency | null =>
  group === null || limit === null ? null : { group, limit }

/** What Oz calls it. */
const pauseCodes = { budget: 'budget_exceeded', credits: 'insufficient_credits' } as const

/** What it waits for at this moment is newer than what its last change of state said. */
function statusMessage(
  row: RunRow,
  inLine: string | undefined,
  question: RunItem['questions'][number] | undefined,
): RunItem['status_message'] {
  if (row.failure) {
    const { oz, retryable } = failureCodes[row.failure.code]
    return { message: row.failure.message, ...(oz === null ? {} : { error_code: oz }), retryable }
  }
  const message = inLine ?? question?.title ?? row.message ?? undefined
  if (message === undefined) return null
  return { message, ...(question?.about && { error_code: pauseCodes[question.about] }) }
}

/** The configuration as asked for, with what the server chose in its place. */
function resolvedConfig(row: RunRow): Record<string, unknown> {
  return {
    ...configWithServers(row.config, shownServer),
    ...(row.environment_id === null ? {} : { environment_id: row.environment_id }),
    model_id: row.model,
    worker_host: row.pool,
    // Null only while no host says what its default is.
    permission_policy: row.policy ?? (row.host_kind && defaultPolicy(row.host_kind)),
    idle_timeout_minutes: row.idle_minutes,
    harness: asServed({
      type: row.agent,
      agent: row.agent,
      model_id: row.model,
      reasoning_level: row.reasoning_level,
      ...(row.command === null ? {} : { command: row.command }),
    }),
  }
}

async function childrenOf(db: Queryable, ids: readonly string[]): Promise<Map<string, string[]>> {
  const children = new Map<string, string[]>()
  if (ids.length === 0) return children
  const rows = await db
    .selectFrom('runs')
    .select(['id', 'parent_run_id'])
    .where('parent_run_id', 'in', ids)
    .orderBy('created_at')
    .execute()
  for (const { id, parent_run_id: parent } of rows) {
    if (parent !== null) children.set(parent, [...(children.get(parent) ?? []), id])
  }
  return children
}

/** ISO 8601: PT2M30S, PT1H0M5S, PT0.4S. */
function duration(milliseconds: number): string {
  const seconds = Math.round(Math.max(0, milliseconds) / 100) / 10
  const hours = Math.floor(seconds / 3600)
  const minutes = Math.floor((seconds % 3600) / 60)
  const rest = Math.round((seconds % 60) * 10) / 10
  return `PT${hours ? `${hours}H` : ''}${hours || minutes ? `${minutes}M` : ''}${rest}S`
}
