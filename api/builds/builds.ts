// The builds of stored environments: asking for them, and watching them.
import { type Request, type Response, Router } from 'express'
import { type BuildItem, StartBuild } from '../../domain/environment.ts'
import { note } from '../../store/audit.ts'
import { findBuild, findBuilds, listBuilds } from '../../store/builds/build-list.ts'
import { buildLogEnd, readBuildLog } from '../../store/builds/build-log.ts'
import { askForBuild, buildingHosts, cancelBuild } from '../../store/builds/builds.ts'
import { environmentConfig } from '../../store/builds/environments.ts'
import type { Tx } from '../../store/database.ts'
import { isLiveHost } from '../../store/hosts/hosts.ts'
import { callerOf, insist, permit } from '../access/caller.ts'
import { isRefusedNow } from '../access/identify.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid, notFound } from '../errors.ts'
import { once } from '../once.ts'
import { cutPage, limitOf } from '../page.ts'
import { onlyMethods, parseBody, pathId, queryOf, wholeNumber } from '../parse.ts'
import { streamRows } from '../runs/stream.ts'
import { heedBuildFields } from '../runs/unknown-fields.ts'
import { environmentId, missing } from './environments.ts'

const DEFAULT_LIMIT = 50
const DEFAULT_LINES = 500
/** Lines may be long. */
const MOST_LINES = 1_000

export function buildRoutes(deps: ApiDeps): Router {
  const { db, config: settings, builds } = deps
  const router = Router()

  router
    .route('/environments/:uid/builds')
    .get(permit('environments.view'), async (request, response) => {
      const id = await knownEnvironment(request, response)
      const query = queryOf(request)
      const limit = limitOf(query, DEFAULT_LIMIT)
      const found = await listBuilds(db, {
        environmentId: id,
        hostId: query.get('worker_id') || null,
        after: cursorOf(query),
        limit: limit + 1,
      })
      const { page, info } = cutPage(found, limit, (last) => last.build_id)
      response.json({ builds: page, page_info: info })
    })
    .post(permit('environments.manage'), async (request, response) => {
      const id = environmentId(request)
      const warnings = heedBuildFields(request.body)
      const body = parseBody(StartBuild, request)
      const answer = await once(deps, request, response, `POST /agent/environments/${id}/builds`, async (tx) => {
        const started = await startBuilds(tx, callerOf(response).team, id, body)
        const detail = { reason: body.reason, builds: started.map((build) => build.build_id) }
        await note(tx, {
          caller: callerOf(response),
          action: 'environments.build',
          thing: { type: 'environment', uid: id },
          detail,
        })
        return { status: 202, response: { builds: started, ...(warnings.length > 0 && { warnings }) } }
      })
      builds.nudge()
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/environments/:uid/builds/:buildId')
    .get(permit('environments.view'), async (request, response) => {
      response.json(await knownBuild(request, response))
    })
    .all(onlyMethods('GET'))

  router
    .route('/environments/:uid/builds/:buildId/cancel')
    .post(permit('environments.manage'), async (request, response) => {
      const { build_id: id, finished_at: finishedAt } = await knownBuild(request, response)
      if (finishedAt !== null) throw new HttpError(409, 'conflict', `The build ${id} is over.`)
      await db.transaction().execute(async (tx) => {
        await cancelBuild(tx, id)
        await note(tx, { caller: callerOf(response), action: 'builds.cancel', thing: { type: 'build', uid: id } })
      })
      builds.nudge()
      response.status(202).json(await knownBuild(request, response))
    })
    .all(onlyMethods('POST'))

  router
    .route('/environments/:uid/builds/:buildId/log')
    .get(permit('environments.view'), async (request, response) => {
      const { build_id: id } = await knownBuild(request, response)
      const query = queryOf(request)
      const wantsStream = request.accepts(['application/json', 'text/event-stream']) === 'text/event-stream'
      const lastEventId = wantsStream ? request.get('last-event-id') : undefined
      const after = lastEventId
        ? wholeNumber(lastEventId, 'Last-Event-ID', 0, Number.MAX_SAFE_INTEGER)
        : wholeNumber(query.get('after') ?? '0', 'after', 0, Number.MAX_SAFE_INTEGER)
      if (wantsStream) {
        await streamRows(deps, request, response, {
          topic: id,
          after,
          endless: false,
          isRefused: () => isRefusedNow(response, async () => insist(callerOf(response), 'environments.view')),
          read: (from, limit) => readBuildLog(db, id, from, limit),
          positionOf: ({ position }) => position,
          endsWith: null,
          async end() {
            const end = await buildLogEnd(db, id)
            return end && { ...end, tell: (sent) => ({ state: end.state, last_position: sent }) }
          },
        })
        return
      }
      const limit = limitOf(query, DEFAULT_LINES, MOST_LINES)
      // Asked before reading: of a build that is over here, the lines that follow are all.
      const end = await buildLogEnd(db, id)
      const lines = await readBuildLog(db, id, after, limit)
      const reached = lines.at(-1)?.position ?? after
      response.json({
        lines,
        page_info: {
          has_next_page: reached < (end?.last ?? 0),
          next_cursor: String(reached),
          state: end?.state,
          is_over: end?.isOver ?? true,
        },
      })
    })
    .all(onlyMethods('GET'))

  return router

  async function startBuilds(tx: Tx, team: string, id: string, asked: StartBuild): Promise<BuildItem[]> {
    const { reason, force, worker_id: worker } = asked
    const environment = await environmentConfig(tx, team, id)
    if (environment === null) throw missing(id)
    if (!environment.prepare)
      throw new HttpError(409, 'conflict', 'Its runs set themselves up (prepare: false): there is nothing to build.')
    if (worker != null && !(await isLiveHost(tx, worker)))
      throw invalid(`worker_id: there is no connected host ${worker}`)
    const hosts = worker == null ? await buildingHosts(tx, id, settings.AMBIENT_POOL) : [worker]
    if (hosts.length === 0) {
      const detail = `No host that could build it is connected: none of the pool "${settings.AMBIENT_POOL}", and none that has built it before.`
      throw new HttpError(409, 'conflict', detail)
    }
    const ids: string[] = []
    for (const hostId of hosts) {
      const build = await askForBuild(tx, { environmentId: id, hostId, reason, force })
      if (build !== null) ids.push(build)
    }
    return findBuilds(tx, ids)
  }

  async function knownEnvironment(request: Request, response: Response): Promise<string> {
    const id = environmentId(request)
    if ((await environmentConfig(db, callerOf(response).team, id)) === null) throw missing(id)
    return id
  }

  async function knownBuild(request: Request, response: Response): Promise<BuildItem> {
    const environment = await knownEnvironment(request, response)
    const id = pathId(request, 'buildId', 'build')
    const build = await findBuild(db, environment, id)
    if (build === null) throw notFound(`The environment has no build ${id}.`)
    return build
  }
}

function cursorOf(query: URLSearchParams): string | null {
  const cursor = query.get('cursor')
  if (cursor !== null && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(cursor))
    throw invalid('cursor: is not one of this list')
  return cursor
}
