import type { z } from 'zod'
import type { AgentConfig, InlineEnvironment, StartRun } from '../../domain/run.ts'
import { isTerminal } from '../../domain/state.ts'
import type { GetChildRun, StartChildRun } from '../../domain/tools.ts'
import { type RunOrigin, startRun } from '../../runs/start.ts'
import type { CredentialHolder } from '../../secrets/gateway/credential.ts'
import { note } from '../../store/audit.ts'
import { childRuns, lastWords, type ParentRun, parentRun } from '../../store/runs/child-runs.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, notFound } from '../errors.ts'
import { onceForRun } from './once.ts'

/** Starts a run below the agent's own: of the same team and person, in the same environment, held to the same rules. */
export async function startChildRun(
  { db, config: settings, dispatcher }: ApiDeps,
  holder: CredentialHolder,
  args: z.infer<typeof StartChildRun>,
): Promise<string> {
  let started: string | null = null
  const said = await onceForRun(db, holder, 'start_child_run', args, async ({ tx, run, tell }) => {
    if (settings.AMBIENT_CHILD_DEPTH === 0)
      throw new HttpError(
        403,
        'not_authorized',
        'Agents start no runs here (AMBIENT_CHILD_DEPTH). Do the work yourself.',
      )
    const parent = await parentRun(tx, run.id)
    const { run_id: id } = await startRun(tx, settings, bodyOf(parent, args), originOf(parent, args))
    await note(tx, {
      caller: { type: parent.created_by_type, uid: parent.created_by, team: parent.team },
      action: 'runs.create',
      thing: { type: 'run', uid: id },
      detail: { by_agent_of: parent.id },
    })
    const title = args.title ?? args.prompt.slice(0, 50)
    await tell('child', { run_id: id, title })
    started = id
    return `Started as ${id}. Ask for it with get_child_run.`
  })
  if (started !== null) dispatcher.nudge(started)
  return said
}

function bodyOf(parent: ParentRun, { prompt, title, agent }: z.infer<typeof StartChildRun>): StartRun {
  const isSame = agent === undefined || agent === parent.agent
  // It draws on its parent's budgets, and has none of its own.
  const { environment_id: _, model_id: __, base_prompt: ___, name: ____, budget: _____, ...rest } = parent.config
  // Nor does it work by its parent's skills, any more than by its base prompt: it has a task of its own.
  const { tree_budget: ______, skill_spec: _______, skills: ________, ...config } = rest
  return {
    prompt,
    title: title ?? null,
    config: {
      ...config,
      worker_host: parent.pool,
      permission_policy: parent.policy,
      harness: {
        type: agent ?? parent.agent,
        model_id: isSame ? parent.model : null,
        reasoning_level: isSame ? parent.reasoning_level : null,
        ...(parent.agent === 'command' && isSame ? { command: parent.config.harness?.command ?? null } : {}),
      },
    } satisfies AgentConfig,
    environment: parent.environment && withoutPushing(parent.environment),
    parent_run_id: parent.id,
    priority: parent.priority,
  }
}

/** Two runs that push to one branch would only refuse one another. */
const withoutPushing = (environment: InlineEnvironment): InlineEnvironment => ({
  ...environment,
  repos: environment.repos.map(({ push_branch: _, pull_request: __, ...repository }) => repository),
})

/** Whoever the parent belongs to and works as, its child does. */
function originOf({ team, ...parent }: ParentRun, { agent }: z.infer<typeof StartChildRun>): RunOrigin {
  const { scope, created_by_type, created_by, executor_type, executor } = parent
  return {
    owner: { team, scope, created_by_type, created_by, executor_type, executor, identity: null },
    visibility: { team, own: null },
    source: 'ORCHESTRATION',
    trace: null,
    environmentId: parent.environment_id,
    inherited: {
      source: { type: 'parent_run', uid: parent.id },
      asked: agent === undefined ? null : { harness: { type: agent } },
    },
  }
}

/** Longest that is told of what a child has said, in characters. */
const WORDS_CHARS = 20_000

/** Of the runs that this one has started, and of no others. */
export async function getChildRun(
  { db }: ApiDeps,
  { runId }: CredentialHolder,
  { run_id: asked }: z.infer<typeof GetChildRun>,
): Promise<string> {
  const children = await childRuns(db, runId, asked)
  if (asked !== undefined && children.length === 0) throw notFound(`You have started no run ${asked}.`)
  if (asked === undefined)
    return JSON.stringify(
      children.map(({ id, title, state, message }) => ({ run_id: id, title, state, ...(message && { message }) })),
    )
  const [child] = children
  if (!child) throw notFound(`You have started no run ${asked}.`)
  const { id, title, state, message } = child
  const over = isTerminal(state)
  const words = over ? await lastWords(db, id, WORDS_CHARS) : ''
  return JSON.stringify({
    run_id: id,
    title,
    state,
    is_over: over,
    ...(message && { message }),
    ...(words !== '' && { result: words }),
  })
}
