// Starting, reading and listing runs.
import { type Request, type Response, Router } from 'express'
import type { z } from 'zod'
import type { Config } from '../../config.ts'
import { StartRun, type StartRunResponse } from '../../domain/run.ts'
import { runSources } from '../../domain/run-sources.ts'
import { ownerOf } from '../../runs/owner.ts'
import { withSkills } from '../../runs/skills.ts'
import { startRun } from '../../runs/start.ts'
import { configToKeep } from '../../secrets/mcp/values.ts'
import { sealEnvironment } from '../../secrets/vault/inline.ts'
import { note } from '../../store/audit.ts'
import type { Tx } from '../../store/database.ts'
import type { NewAttachment } from '../../store/runs/attachments.ts'
import { listRuns } from '../../store/runs/run-list.ts'
import { findRun } from '../../store/runs/runs.ts'
import { traceOf } from '../../telemetry/tracing.ts'
import { type Caller, callerOf, permit } from '../access/caller.ts'
import { firstLinkToken, shareByLink, shareUrl } from '../access/share-links.ts'
import type { ApiDeps } from '../deps.ts'
import { createDoor } from '../door.ts'
import { notFound } from '../errors.ts'
import { once } from '../once.ts'
import { pageInfo } from '../page.ts'
import { onlyMethods, parseBody, queryOf } from '../parse.ts'
import { keepAttachments } from './attachments.ts'
import { completeFork, lastOfConversation, withPrompt } from './forks.ts'
import { cursorOf, parseListQuery } from './list-query.ts'
import { isByLinkAlone, runFor, visibleTo, withoutAddresses } from './run-access.ts'
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
    request.body = withPrompt(request.body)
    const body = sealed(deps, callerOf(response).team, withSkills(parseBody(StartRun, request)))
    const shared = body.config?.session_sharing?.public_access ?? null
    const attachments = await keepAttachments(deps, body)
    const answer = await door(() =>
      once(deps, request, response, 'POST /agent/runs', async (tx) => {
        const from = { request, trace: traceOf(response), attachments }
        const started = await startAsked(tx, deps.config, callerOf(response), body, from)
        await note(tx, {
          caller: callerOf(response),
          action: 'runs.create',
          thing: { type: 'run', uid: started.run_id },
        })
        if (shared) await shareByLink(tx, deps.keys.links, started.run_id, shared, callerOf(response))
        return { status: 200, response: { ...started, ...(warnings.length > 0 && { warnings }) } }
      }),
    )
    const started = answer.response as Started
    deps.dispatcher.nudge(started.run_id)
    // Beside the answer that is kept for a repeated request: the link is written down nowhere.
    const link = shared && shareUrl(deps.config, firstLinkToken(deps.keys.links, started.run_id))
    response.status(answer.status).json({ ...started, ...(link && { session_link: link }) })
  }
  router.route('/runs').post(permit('runs.create'), start)
  // The older path of the same, which one of the official clients uses.
  router.route('/run').post(permit('runs.create'), start).all(onlyMethods('POST'))

  router.get('/runs', permit('runs.view'), async (request, response) => {
    const query = parseListQuery(queryOf(request), callerOf(response))
    const page = query.matchesNothing ? { runs: [], next: null } : await listRuns(deps.db, query)
    response.json({
      runs: page.runs,
      page_info: pageInfo(page.next && cursorOf(query.order, page.next)),
    })
  })
  router.all('/runs', onlyMethods('GET', 'POST'))

  router
    .route('/runs/:runId')
    .get(async (request, response) => {
      const { id, team } = await runFor(deps, request, response, 'runs.view')
      const run = await findRun(deps.db, id)
      if (!run) throw notFound(`There is no run ${id}.`)
      response.json(isByLinkAlone(response, team) ? withoutAddresses(run) : run)
    })
    .all(onlyMethods('GET'))

  return router
}

/** Values of variables and of MCP servers are sealed before anything of the request is kept. */
const sealed = ({ vault }: ApiDeps, team: string, body: StartRun): StartRun => ({
  ...body,
  ...(body.config && { config: configToKeep(vault, team, body.config) }),
  ...(body.environment && { environment: sealEnvironment(vault, body.environment) }),
})

/** A fork is a run like any other, once it is completed from the one that it comes from. */
async function startAsked(
  tx: Tx,
  settings: Config,
  caller: Caller,
  body: StartRun,
  { request, ...from }: { request: Request; trace: string | null; attachments: readonly NewAttachment[] },
): Promise<Started> {
  const owner = await ownerOf(tx, caller, body)
  const visibility = visibleTo(caller)
  const origin = { ...from, owner, visibility, source: sourceOf(request) }
  const { conversation_id: conversationId } = body
  const forkFrom = conversationId ? await lastOfConversation(tx, conversationId, visibility, body) : body.fork_from
  if (!forkFrom) return await startRun(tx, settings, body, origin)
  const fork = await completeFork(tx, settings, visibility, body, forkFrom, request.body)
  return await startRun(tx, settings, fork.body, {
    ...origin,
    fork,
    conversationId: conversationId ?? undefined,
    inherited: { source: { type: 'forked_run', uid: fork.origin.from.run_id }, asked: body.config ?? null },
  })
}

const sources = new Set<string>(runSources)

function sourceOf(request: Request): string {
  const named = request.get('x-oz-api-source')?.toUpperCase()
  if (named !== undefined && sources.has(named)) return named
  return request.get('user-agent')?.startsWith('ambient-cli') ? 'CLI' : 'API'
}
