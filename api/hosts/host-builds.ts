// What a host asks of the server for the builds of environments. A build is its host's own; every route is safe to repeat.
import type { Request, Response, Router } from 'express'
import { BuildAsked, BuildLog, BuildOrder, BuildRequest, BuildUsed } from '../../domain/host-api.ts'
import { EnvironmentId } from '../../domain/run.ts'
import { appendBuildLog } from '../../store/builds/build-log.ts'
import { askForBuild, findBuildOrder, mayBuild, noteUse } from '../../store/builds/builds.ts'
import type { ApiDeps } from '../deps.ts'
import { notFound } from '../errors.ts'
import { parse, parseBody, pathId } from '../parse.ts'
import { callerOf, forbidden, hostRouter, refuseUnreported } from './host-auth.ts'

export function hostBuildRoutes({ db, builds }: Pick<ApiDeps, 'db' | 'builds'>): Router {
  const router = hostRouter({ db })

  router.post('/environments/:environmentId/builds', async (request, response) => {
    const { reason } = parseBody(BuildRequest, request)
    const environmentId = await environmentOf(request, response)
    const { hostId } = callerOf(response)
    const build = await db.transaction().execute((tx) => askForBuild(tx, { environmentId, hostId, reason }))
    // To a host, 409 means that its run is another one's.
    if (build === null) throw notFound(`The environment ${environmentId} is gone, or is not to be built.`)
    builds.nudge()
    response.json(parse(BuildAsked, { build_id: build }))
  })

  router.post('/environments/:environmentId/used', async (request, response) => {
    const { key } = parseBody(BuildUsed, request)
    const environmentId = await environmentOf(request, response)
    await noteUse(db, { environmentId, hostId: callerOf(response).hostId, key })
    response.json({})
  })

  router.get('/builds/:buildId', async (request, response) => {
    response.json(parse(BuildOrder, await orderOf(request, response)))
  })

  router.post('/builds/:buildId/log', async (request, response) => {
    const log = parseBody(BuildLog, request)
    const { build_id: id } = await orderOf(request, response)
    await appendBuildLog(db, id, log)
    response.json({})
  })

  return router

  /** Its secrets are in a build's order: only a host that had a run of it asks for one. */
  async function environmentOf(request: Request, response: Response): Promise<string> {
    refuseUnreported(response)
    const id = EnvironmentId.safeParse(request.params.environmentId)
    if (!id.success) throw notFound(`There is no environment ${String(request.params.environmentId)}.`)
    const { hostId } = callerOf(response)
    if (!(await mayBuild(db, id.data, hostId)))
      throw forbidden(`${hostId} has had no run of the environment ${id.data}.`)
    return id.data
  }

  async function orderOf(request: Request, response: Response): Promise<BuildOrder> {
    refuseUnreported(response)
    const id = pathId(request, 'buildId', 'build')
    const found = await findBuildOrder(db, id)
    if (found === null) throw notFound(`There is no build ${id}.`)
    const { hostId } = callerOf(response)
    if (found.hostId !== hostId) throw forbidden(`The build is not for ${hostId}.`)
    return found.order
  }
}
