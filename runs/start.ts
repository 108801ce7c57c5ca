// The beginning of a run, whoever asks for it: over HTTP, or a schedule whose time has come.
import type { z } from 'zod'
import type { Config } from '../config.ts'
import type { EnvironmentConfig } from '../domain/environment.ts'
import type { AgentName } from '../domain/harness.ts'
import { TITLE_CHARS } from '../domain/limits.ts'
import { parse } from '../domain/parse.ts'
import { HttpError, invalid, notFound } from '../domain/problem.ts'
import {
  InlineEnvironment,
  Metadata,
  type RunMode,
  type RunSchedule,
  type StartRun,
  type StartRunResponse,
} from '../domain/run.ts'
import { environmentConfig } from '../store/builds/environments.ts'
import type { Tx } from '../store/database.ts'
import { liveHostKinds } from '../store/hosts/hosts.ts'
import { wouldWait } from '../store/queue/queue.ts'
import type { NewAttachment } from '../store/runs/attachments.ts'
import { isCancelledWithChildren } from '../store/runs/cascade.ts'
import type { Visibility } from '../store/runs/run-access.ts'
import { type ForkOrigin, findParent, insertRun, type NewRun } from '../store/runs/runs.ts'
import { refuseFurtherChild } from './children.ts'
import { resolveHarness } from './harness.ts'
import { refuseBeyondLimits, withEnvironmentLimits } from './limits.ts'
import type { RunOwner } from './owner.ts'

/** Where a run comes from, beside what is asked for. */
export interface RunOrigin {
  owner: RunOwner
  /** Which runs whoever asks sees: a parent is one of them. */
  visibility: Visibility
  source: string
  trace: string | null
  /** What it begins with, where it is a fork; and of the run that it comes from the stored environment, and whose it is. */
  fork?: { origin: ForkOrigin; environmentId: string | null; scope: RunOwner['scope'] }
  /** The stored environment that its `environment` was copied from. */
  environmentId?: string | null
  /** Files that come with its prompt. */
  attachments?: readonly NewAttachment[] | undefined
  /** The run that its conversation began with, where it goes on with one. */
  conversationId?: string | undefined
  /** The schedule that makes it. */
  schedule?: RunSchedule
}

/**
 * Writes the run down.
 * @throws {HttpError} before anything is written, where it cannot be as it is asked for.
 */
export async function startRun(
  tx: Tx,
  settings: Config,
  body: StartRun,
  origin: RunOrigin,
): Promise<z.infer<typeof StartRunResponse>> {
  const run = await resolveRun(tx, settings, body, origin)
  const { pool, environment_id: environmentId } = run
  const concurrency = body.concurrency ?? null
  const atCapacity = await wouldWait(tx, { pool, team: origin.owner.team, concurrency, environmentId })
  const id = await insertRun(tx, run, origin.trace)
  return { run_id: id, task_id: id, state: 'QUEUED', at_capacity: atCapacity }
}

/**
 * The run as it is written down: everything the server decides is decided here and stays with the run.
 * @throws {HttpError} where it cannot be as it is asked for.
 */
export async function resolveRun(tx: Tx, settings: Config, body: StartRun, origin: RunOrigin): Promise<NewRun> {
  const { source, visibility, fork = null } = origin
  const { identity: _, ...owner } = origin.owner
  refuseBeyondLimits(settings, body.config ?? null)
  const stored = await storedEnvironment(tx, owner.team, body)
  const config = stored ? withEnvironmentLimits(body.config ?? {}, stored.config) : (body.config ?? null)
  const environment = stored ? InlineEnvironment.parse(stored.config) : (body.environment ?? null)
  const environmentId = stored?.id ?? fork?.environmentId ?? origin.environmentId ?? null
  const harness = resolveHarness(settings, config)
  const pool = poolOf(settings, config?.worker_host ?? null)
  const parent = body.parent_run_id ? await findParent(tx, body.parent_run_id, visibility) : null
  if (body.parent_run_id && !parent) throw invalid(`parent_run_id: there is no run ${body.parent_run_id}`)
  if (parent && (await isCancelledWithChildren(tx, parent.id))) {
    throw new HttpError(409, 'conflict', `parent_run_id: the run ${parent.id} was cancelled with its children.`)
  }
  if (parent) await refuseFurtherChild(tx, settings, parent.id)
  for (const field of ['image', 'egress'] as const) {
    const place = stored ? `config.environment_id: its ${field}` : `environment.${field}`
    if (environment?.[field]) await refuseWithoutContainers(tx, pool, place)
  }
  const concurrency = body.concurrency ?? null
  return {
    ...owner,
    // What is begun below a personal run, or with what is in it, is as personal, unless the request says otherwise.
    scope: body.team == null && [parent?.scope, fork?.scope].includes('User') ? 'User' : owner.scope,
    title: body.title ?? titleOf(body.prompt),
    prompt: body.prompt,
    source,
    name: config?.name ?? null,
    agent: harness.agent,
    model: harness.model,
    reasoning_level: harness.reasoningLevel,
    command: harness.command,
    policy: config?.permission_policy ?? null,
    base_prompt: config?.base_prompt ?? null,
    pool,
    priority: body.priority ?? 0,
    concurrency_group: concurrency?.group ?? null,
    concurrency_limit: concurrency?.limit ?? null,
    idle_minutes: config?.idle_timeout_minutes ?? settings.AMBIENT_IDLE_MINUTES,
    config: config ?? {},
    environment,
    environment_id: environmentId,
    metadata: parse(Metadata, { ...parent?.metadata, ...body.metadata }),
    demo: harness.demo,
    parent,
    schedule: origin.schedule ?? null,
    mode: modeOf(body, harness.agent),
    conversation_id: origin.conversationId ?? null,
    attachments: origin.attachments,
    ...(fork && { fork: fork.origin }),
  }
}

/** @throws {HttpError} 422 for a command, which is given its prompt as it is. */
export function modeOf({ mode }: Pick<StartRun, 'mode'>, agent: AgentName): RunMode {
  if (agent !== 'command' || mode == null || mode === 'normal') return mode ?? 'normal'
  throw new HttpError(422, 'operation_not_supported', `mode: a command has none. Leave it out, or name an agent.`)
}

/** What `config.environment_id` names, with its secrets; null where it names nothing. */
async function storedEnvironment(
  tx: Tx,
  team: string,
  body: StartRun,
): Promise<{ id: string; config: EnvironmentConfig } | null> {
  const id = body.config?.environment_id || null
  if (id === null) return null
  if (body.environment) throw invalid('environment: cannot be given together with config.environment_id')
  const config = await environmentConfig(tx, team, id)
  if (config === null) throw notFound(`config.environment_id: there is no environment ${id}.`)
  return { id, config }
}

/** An image means nothing to hosts that run agents as processes, and they hold none to the hosts it may reach. A pool without a live host may yet get one with containers. */
async function refuseWithoutContainers(tx: Tx, pool: string, what: string): Promise<void> {
  const kinds = await liveHostKinds(tx, pool)
  if (kinds.length === 0 || kinds.includes('docker')) return
  throw new HttpError(
    422,
    'operation_not_supported',
    `${what}: the hosts of the pool "${pool}" run agents as processes of their machine (AMBIENT_HOST=direct), without containers. Leave it out, or name a pool with containers in config.worker_host.`,
  )
}

/** `warp` is what official clients call the hosts of the service itself. */
const poolOf = (settings: Config, asked: string | null) =>
  asked === null || asked === 'warp' ? settings.AMBIENT_POOL : asked

/** A generated title is a tenth as long as a given one may be. */
const GENERATED_TITLE_CHARS = TITLE_CHARS / 10

/** The first line of the prompt that says something. */
function titleOf(prompt: string): string {
  const line = prompt.trim().split('\n', 1)[0]?.trim() ?? ''
  const characters = [...line]
  return characters.length <= GENERATED_TITLE_CHARS
    ? line
    : `${characters.slice(0, GENERATED_TITLE_CHARS - 1).join('')}…`
}
