// Starting, reading and listing runs.
import { type Request, type Response, Router } from 'express'
import type { z } from 'zod'
import type { Config } from '../config.ts'
import type { EnvironmentConfig } from '../domain/environment.ts'
import { TITLE_CHARS } from '../domain/limits.ts'
import { InlineEnvironment, Metadata, StartRun, type StartRunResponse } from '../domain/run.ts'
import { isCancelledWithChildren } from '../store/cascade.ts'
import type { Tx } from '../store/database.ts'
import { environmentConfig } from '../store/environments.ts'
import { liveHostKinds } from '../store/hosts.ts'
import { wouldWait } from '../store/queue.ts'
import { listRuns } from '../store/run-list.ts'
import { findParent, findRun, insertRun } from '../store/runs.ts'
import { DEFAULT_TEAM } from '../store/teams.ts'
import { traceOf } from '../telemetry/tracing.ts'
import type { ApiDeps } from './deps.ts'
import { createDoor } from './door.ts'
import { HttpError, invalid, notFound } from './errors.ts'
import { completeFork, type Fork } from './forks.ts'
import { resolveHarness } from './harness.ts'
import { refuseBeyondLimits, withEnvironmentLimits } from './limits.ts'
import { cursorOf, parseListQuery } from './list-query.ts'
import { once } from './once.ts'
import { onlyMethods, parse, parseBody, queryOf, runId } from './parse.ts'
import { heedRunFields } from './unknown-fields.ts'
import { refuseUnsupported } from './unsupported.ts'

type Started = z.infer<typeof StartRunResponse>

/**
 * Runs that are being accepted at the same time. However many are asked for at
 * once, connections to the database are left for hosts, cancels and readers;
 * nobody waits for one until the pool gives up.
 */
const ACCEPTED_AT_ONCE = 8

export function runRoutes(deps: ApiDeps): Router {
  const router = Router()
  const door = createDoor(ACCEPTED_AT_ONCE)

  const start = async (request: Request, response: Response) => {
    refuseUnsupported(request.body)
    const warnings = heedRunFields(request.body)
    const body = parseBody(StartRun, request)
    const answer = await door(() =>
      once(deps, request, response, 'POST /agent/runs', async (tx) => ({
        status: 200,
        response: {
          ...(await startAsked(tx, deps.config, body, request, traceOf(response))),
          ...(warnings.length > 0 && { warnings }),
        },
      })),
    )
    deps.dispatcher.nudge((answer.response as Started).run_id)
    response.status(answer.status).json(answer.response)
  }
  router.route('/runs').post(start)
  // The older path of the same, which one of the official clients uses.
  router.route('/run').post(start).all(onlyMethods('POST'))

  router.get('/runs', async (request, response) => {
    const query = parseListQuery(queryOf(request))
    const page = query.matchesNothing ? { runs: [], next: null } : await listRuns(deps.db, query)
    response.json({
      runs: page.runs,
      page_info: {
        has_next_page: page.next !== null,
        ...(page.next === null ? {} : { next_cursor: cursorOf(query.order, page.next) }),
      },
    })
  })
  router.all('/runs', onlyMethods('GET', 'POST'))

  router
    .route('/runs/:runId')
    .get(async (request, response) => {
      const id = runId(request)
      const run = await findRun(deps.db, id)
      if (!run) throw notFound(`There is no run ${id}.`)
      response.json(run)
    })
    .all(onlyMethods('GET'))

  return router
}

/** A fork is a run like any other, once it is completed from the one that it comes from. */
async function startAsked(
  tx: Tx,
  settings: Config,
  body: StartRun,
  request: Request,
  trace: string | null,
): Promise<Started> {
  const source = sourceOf(request)
  if (!body.fork_from) return await startRun(tx, settings, body, source, trace)
  const fork = await completeFork(tx, settings, body, body.fork_from, request.body)
  return await startRun(tx, settings, fork.body, source, trace, fork)
}

/** The run as it is written down: everything the server decides is decided here and stays with the run. */
async function startRun(
  tx: Tx,
  settings: Config,
  body: StartRun,
  source: string,
  trace: string | null,
  fork: Fork | null = null,
): Promise<Started> {
  refuseBeyondLimits(settings, body.config ?? null)
  const stored = await storedEnvironment(tx, body)
  const config = stored ? withEnvironmentLimits(body.config ?? {}, stored.config) : (body.config ?? null)
  const environment = stored ? InlineEnvironment.parse(stored.config) : (body.environment ?? null)
  const environmentId = stored?.id ?? fork?.environmentId ?? null
  const harness = resolveHarness(settings, config)
  const pool = poolOf(settings, config?.worker_host ?? null)
  const parent = body.parent_run_id ? await findParent(tx, body.parent_run_id) : null
  if (body.parent_run_id && !parent) throw invalid(`parent_run_id: there is no run ${body.parent_run_id}`)
  if (parent && (await isCancelledWithChildren(tx, parent.id))) {
    throw new HttpError(409, 'conflict', `parent_run_id: the run ${parent.id} was cancelled with its children.`)
  }
  for (const field of ['image', 'egress'] as const) {
    const place = stored ? `config.environment_id: its ${field}` : `environment.${field}`
    if (environment?.[field]) await refuseWithoutContainers(tx, pool, place)
  }
  const concurrency = body.concurrency ?? null
  const atCapacity = await wouldWait(tx, { pool, team: DEFAULT_TEAM, concurrency, environmentId })
  const run = {
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
    ...(fork && { fork: fork.origin }),
  }
  const id = await insertRun(tx, run, trace)
  return { run_id: id, task_id: id, state: 'QUEUED', at_capacity: atCapacity }
}

/** What `config.environment_id` names, with its secrets; null where it names nothing. */
async function storedEnvironment(tx: Tx, body: StartRun): Promise<{ id: string; config: EnvironmentConfig } | null> {
  const id = body.config?.environment_id || null
  if (id === null) return null
  if (body.environment) throw invalid('environment: cannot be given together with config.environment_id')
  const config = await environmentConfig(tx, DEFAULT_TEAM, id)
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

/** The sources that official clients know. */
const sources = new Set([
  ...['LINEAR', 'API', 'SLACK', 'LOCAL', 'SCHEDULED_AGENT', 'WEB_APP', 'GITHUB_ACTION', 'CLOUD_MODE', 'CLI', 'JIRA'],
  ...['SELF_IMPROVEMENT', 'GITHUB_WEBHOOK', 'GITLAB_WEBHOOK', 'AUTOFIX', 'RUN_SCORER', 'ORCHESTRATION'],
])

function sourceOf(request: Request): string {
  const named = request.get('x-oz-api-source')?.toUpperCase()
  if (named !== undefined && sources.has(named)) return named
  return request.get('user-agent')?.startsWith('ambient-cli') ? 'CLI' : 'API'
}
