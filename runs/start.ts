// The beginning of a run, whoever asks for it: over HTTP, or a schedule whose time has come.
import type { z } from 'zod'
import type { Config } from '../config.ts'
import type { AgentName } from '../domain/harness.ts'
import { TITLE_CHARS } from '../domain/limits.ts'
import { parse } from '../domain/parse.ts'
import { HttpError, invalid } from '../domain/problem.ts'
import {
  InlineEnvironment,
  Metadata,
  type RunMode,
  type RunSchedule,
  type StartRun,
  type StartRunResponse,
} from '../domain/run.ts'
import type { Tx } from '../store/database.ts'
import { liveHostKinds } from '../store/hosts/hosts.ts'
import { wouldWait } from '../store/queue/queue.ts'
import type { NewAttachment } from '../store/runs/attachments.ts'
import { isCancelledWithChildren } from '../store/runs/cascade.ts'
import type { Visibility } from '../store/runs/run-access.ts'
import { type ForkOrigin, findParent, insertRun, type NewRun } from '../store/runs/runs.ts'
import { areNamedByOthers } from '../store/secrets/run-secrets.ts'
import { refuseFurtherChild } from './children.ts'
import { type Inherited, resolveConfiguration } from './configuration.ts'
import { resolveHarness } from './harness.ts'
import { withMcpServers } from './mcp-servers.ts'
import { withModelAccess } from './models.ts'
import { refuseWithoutMoney, setBudgets } from './money.ts'
import type { RunOwner } from './owner.ts'
import { refuseUnknownSecrets } from './secrets.ts'
import { BY_SKILL, pinSkills, withPinned, withSkillSources } from './skills.ts'

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
  /** The run whose configuration it takes over: `body.config` has it already. */
  inherited?: Inherited
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
  await refuseWithoutMoney(tx, settings, run)
  const { pool, environment_id: environmentId } = run
  const concurrency = body.concurrency ?? null
  const atCapacity = await wouldWait(tx, { pool, team: origin.owner.team, concurrency, environmentId })
  const id = await insertRun(tx, run, origin.trace)
  await setBudgets(tx, settings, id, run)
  return { run_id: id, task_id: id, state: 'QUEUED', at_capacity: atCapacity }
}

/**
 * The run as it is written down: everything the server decides is decided here and stays with the run.
 * @throws {HttpError} where it cannot be as it is asked for.
 */
export async function resolveRun(tx: Tx, settings: Config, body: StartRun, origin: RunOrigin): Promise<NewRun> {
  const { source, visibility, fork = null } = origin
  const { identity: _, ...owner } = origin.owner
  const resolved = await resolveConfiguration(tx, settings, body, {
    ...origin,
    environmentId: fork?.environmentId ?? origin.environmentId ?? null,
  })
  const { prompt, config: asked, environment: stored } = resolved
  const environment = stored ? InlineEnvironment.parse(stored.config) : (body.environment ?? null)
  const environmentId = stored?.id ?? fork?.environmentId ?? origin.environmentId ?? null
  const place = { team: owner.team, environmentId, forkedFrom: fork?.origin.from.run_id ?? null }
  const skills = await pinSkills(tx, place, asked.skills ?? [])
  const config = withPinned(asked, skills)
  const standard = resolveHarness(settings, config)
  const pool = poolOf(settings, config.worker_host ?? null)
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
  // What is begun below a personal run, or with what is in it, is as personal, unless the request says otherwise.
  const scope = body.team == null && [parent?.scope, fork?.scope].includes('User') ? 'User' : owner.scope
  const own = holderOf({ ...owner, scope })
  const holder = { ...own, environmentId, namedByOthers: await areNamedByOthers(tx, own.creator, resolved.record) }
  await refuseUnknownSecrets(tx, holder, config.secrets)
  const harness = await withModelAccess(tx, holder, config, standard)
  const concurrency = body.concurrency ?? null
  return {
    ...owner,
    scope,
    title: body.title ?? (prompt === BY_SKILL ? (skills[0]?.name ?? prompt) : titleOf(prompt)),
    prompt,
    source,
    name: config.name ?? null,
    agent: harness.agent,
    model: harness.model,
    reasoning_level: harness.reasoningLevel,
    command: harness.command,
    policy: config.permission_policy ?? null,
    base_prompt: config.base_prompt ?? null,
    pool,
    priority: body.priority ?? 0,
    concurrency_group: concurrency?.group ?? null,
    concurrency_limit: concurrency?.limit ?? null,
    idle_minutes: config.idle_timeout_minutes ?? settings.AMBIENT_IDLE_MINUTES,
    config: await withMcpServers(tx, owner.team, harness.agent, config),
    configuration: withSkillSources(resolved.record, asked, skills),
    environment,
    environment_id: environmentId,
    metadata: parse(Metadata, { ...parent?.metadata, ...body.metadata }),
    demo: harness.demo,
    parent,
    schedule: origin.schedule ?? null,
    mode: modeOf(body, harness.agent),
    conversation_id: origin.conversationId ?? null,
    attachments: origin.attachments,
    skills,
    ...(fork && { fork: fork.origin }),
  }
}

/** Whose secrets a run can have. */
const holderOf = (run: Omit<RunOwner, 'identity'>) => ({
  team: run.team,
  scope: run.scope,
  creator: { type: run.created_by_type, uid: run.created_by },
  executor: { type: run.executor_type, uid: run.executor },
})

/** @throws {HttpError} 422 for a command, which is given its prompt as it is. */
export function modeOf({ mode }: Pick<StartRun, 'mode'>, agent: AgentName): RunMode {
  if (agent !== 'command' || mode == null || mode === 'normal') return mode ?? 'normal'
  throw new HttpError(422, 'operation_not_supported', `mode: a command has none. Leave it out, or name an agent.`)
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
