// Runs that begin from a checkpoint of another one: what they take over from it.
import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../../config.ts'
import type { ForkFrom, ForkSession } from '../../domain/checkpoint.ts'
import { agentOf, type HarnessType } from '../../domain/harness.ts'
import { type AgentConfig, type Repository, type StartRun, withoutCredentials } from '../../domain/run.ts'
import { resolveHarness } from '../../runs/harness.ts'
import { withEnvironmentLimits } from '../../runs/limits.ts'
import { environmentConfig } from '../../store/builds/environments.ts'
import type { Tx } from '../../store/database.ts'
import { holdCheckpoint } from '../../store/runs/checkpoint-history.ts'
import { atWorkIn, findConversation, lockConversation } from '../../store/runs/conversations.ts'
import { type ForkSource, findForkSource } from '../../store/runs/forks.ts'
import type { Visibility } from '../../store/runs/run-access.ts'
import type { ForkOrigin } from '../../store/runs/runs.ts'
import { HttpError, invalid } from '../errors.ts'
import { fieldsOf } from './unsupported.ts'

export interface Fork {
  /** The request, with what it leaves open as the other run has it. */
  body: StartRun
  /** The stored environment that the other run named. */
  environmentId: string | null
  /** The other run's. */
  scope: ForkSource['scope']
  origin: ForkOrigin
}

/**
 * A request with `fork_from`, completed from the run that it names. `given` is
 * the body as it was sent, without defaults.
 * @throws {HttpError} 400 for a run or checkpoint that never was, another
 * repository, a session that the agent cannot go on with, or more than its stored
 * environment allows; 409 where there is no checkpoint yet, or no longer.
 */
export async function completeFork(
  tx: Tx,
  settings: Config,
  visibility: Visibility,
  body: StartRun,
  from: ForkFrom,
  given: unknown,
): Promise<Fork> {
  const source = await findForkSource(tx, from.run_id, visibility)
  if (source === null) throw invalid(`fork_from.run_id: there is no run ${from.run_id}`)
  const asked = fieldsOf(given)
  const stored = source.environment_id && (await environmentConfig(tx, visibility.team, source.environment_id))
  // What it does not ask for is as in the other run, which had it allowed.
  if (stored) withEnvironmentLimits(body.config ?? {}, stored)
  const config = configOf(source, body.config ?? {}, fieldsOf(asked.config))
  const { agent } = resolveHarness(settings, config)
  const session = sessionOf(source, agent, from.session ?? null)
  const checkpoint = await checkpointOf(tx, source, from.checkpoint ?? null)
  const { priority, concurrency_group: group, concurrency_limit: limit } = source
  return {
    body: {
      ...body,
      config,
      environment: environmentOf(source, body.environment ?? null, fieldsOf(asked.environment)),
      metadata: { ...source.metadata, ...body.metadata },
      priority: body.priority ?? priority,
      concurrency: body.concurrency ?? (group === null || limit === null ? null : { group, limit }),
    },
    environmentId: source.environment_id,
    scope: source.scope,
    origin: {
      from: { run_id: source.id, checkpoint: checkpoint.number, session },
      checkpointId: checkpoint.id,
    },
  }
}

/**
 * Where a conversation goes on: at the last checkpoint that the caller sees of it.
 * @throws {HttpError} 400 where there is no such conversation; 409 where it is still going on.
 */
export async function lastOfConversation(
  tx: Tx,
  id: string,
  visibility: Visibility,
  { fork_from: other }: StartRun,
): Promise<ForkFrom> {
  if (other) throw invalid('fork_from: cannot be given together with conversation_id')
  await lockConversation(tx, id)
  const runs = await findConversation(tx, id, visibility)
  const last = runs.at(-1)
  if (last === undefined) throw invalid(`conversation_id: there is no conversation ${id}`)
  const atWork = await atWorkIn(tx, id)
  if (atWork !== null)
    throw new HttpError(
      409,
      'conflict',
      `conversation_id: its run ${atWork} is not over. Send that one a follow-up, or wait for its end.`,
    )
  return { run_id: (runs.findLast(({ checkpoints }) => checkpoints > 0) ?? last).id }
}

export const GO_ON = 'Go on with what you were doing.'

/** Whoever goes on with a conversation, or names a skill, may have nothing to add. */
export function withPrompt(body: unknown): unknown {
  const { conversation_id: conversation, prompt, saved_prompt: saved, ...rest } = fieldsOf(body)
  const isBlank = prompt == null || (typeof prompt === 'string' && prompt.trim() === '')
  if (conversation && isBlank && saved == null) return { ...rest, conversation_id: conversation, prompt: GO_ON }
  const { skill_spec: spec, skills } = fieldsOf(rest.config)
  return isBlank && (rest.skill || spec || skills) ? { ...fieldsOf(body), prompt: undefined } : body
}

/** Another agent takes over neither model nor command. */
function configOf(source: ForkSource, config: AgentConfig, given: Record<string, unknown>): AgentConfig {
  const { environment_id: named, ...former } = source.config
  if (config.environment_id && config.environment_id !== named)
    throw invalid('config.environment_id: a fork works in the environment of the run that it comes from')
  const asked = fieldsOf(given.harness)
  const other = config.harness && (asked.type ?? asked.agent) != null ? config.harness : null
  const type: HarnessType = other ? (agentOf(other) ?? 'oz') : source.agent
  const isSame = type === source.agent
  const harness = {
    type,
    model_id: config.harness?.model_id ?? (isSame && config.model_id == null ? source.model : null),
    reasoning_level: config.harness?.reasoning_level ?? (isSame ? source.reasoning_level : null),
    command: config.harness?.command ?? (isSame ? source.command : null),
  }
  const { environment_id: _, ...own } = config
  if (!isSame) delete former.model_id
  return { ...former, worker_host: source.pool, ...withoutNulls(own), harness }
}

const withoutNulls = <T extends object>(fields: T): Partial<T> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)) as Partial<T>

/** The work is in those repositories, so they are the same; how they are set up may be another way. */
function environmentOf(
  source: ForkSource,
  asked: (StartRun['environment'] & {}) | null,
  given: Record<string, unknown>,
): StartRun['environment'] {
  if (asked === null) return source.environment
  const { repos, ...rest } = asked
  const former = source.environment?.repos ?? []
  if (given.repos != null && !isDeepStrictEqual(repos.map(placeOf), former.map(placeOf)))
    throw invalid('environment.repos: a fork works in the repositories of the run that it comes from; leave them out')
  const own = Object.fromEntries(Object.entries(rest).filter(([name]) => given[name] != null))
  return {
    ...(source.environment ?? asked),
    ...own,
    repos: given.repos == null ? former : repos.map(withUrlOf(former)),
  }
}

const placeOf = ({ url, ref, path }: Repository) => [withoutCredentials(url), ref, path]

/** A URL as it was shown, without credentials, stands for the one that is stored. */
const withUrlOf = (former: readonly Repository[]) => (repository: Repository, at: number) =>
  repository.url === placeOf(repository)[0] ? { ...repository, url: former[at]?.url ?? repository.url } : repository

/** Commands have no session; an agent finds only its own. */
function sessionOf(source: ForkSource, agent: string, asked: ForkSession | null): ForkSession {
  const canContinue = agent === source.agent && agent !== 'command'
  if (asked !== 'continue') return asked ?? (canContinue ? 'continue' : 'fresh')
  if (canContinue) return asked
  throw invalid(
    agent === 'command'
      ? 'fork_from.session: the command harness has no sessions; leave it out'
      : `fork_from.session: ${agent} cannot go on with a session of ${source.agent}; leave it out, or say "fresh"`,
  )
}

async function checkpointOf(
  tx: Tx,
  source: ForkSource,
  which: number | string | null,
): Promise<{ id: string; number: number }> {
  const found = await holdCheckpoint(tx, source.id, which)
  if (found !== null) return found
  const name = which === null ? '' : ` ${which}`
  if (source.checkpoints === 0)
    throw new HttpError(
      409,
      'conflict',
      `fork_from: the run ${source.id} has no checkpoint yet. One is made after each turn.`,
    )
  // An id that is not there any more is like one that never was.
  if (typeof which === 'number' && which > source.checkpoints)
    throw invalid(
      `fork_from.checkpoint: the run ${source.id} has had ${source.checkpoints}, and none with the number ${which}`,
    )
  throw new HttpError(
    409,
    'conflict',
    `fork_from: the checkpoint${name} of the run ${source.id} is not kept${typeof which === 'number' || which === null ? ' any more' : ''}. GET /agent/runs/${source.id}/checkpoints lists those that are.`,
  )
}
