// What a host asks of the server for the builds of environments. A build is its host's own; every route is safe to repeat.
import type { Request, Response, Router } from 'express'
import {
  BuildAsked,
  BuildLog,
  BuildOrder,
  BuildRequest,
  BuildUsed,
  EnvironmentGit,
  GitCredential,
} from '../../domain/host-api.ts'
import { EnvironmentId } from '../../domain/run.ts'
import { appendBuildLog } from '../../store/builds/build-log.ts'
import { askForBuild, findBuildOrder, mayBuild, noteUse, type StoredBuildOrder } from '../../store/builds/builds.ts'
import { environmentRepositories, issueHostGitToken } from '../../store/git/tokens.ts'
import type { ApiDeps } from '../deps.ts'
import { notFound } from '../errors.ts'
import { parse, parseBody, pathId } from '../parse.ts'
import { giveSecretsOfBuild, openedEnvironment } from './given-secrets.ts'
import { callerOf, forbidden, hostRouter, refuseUnreported } from './host-auth.ts'
import { brokered } from './host-git.ts'

export function hostBuildRoutes(deps: Pick<ApiDeps, 'db' | 'builds' | 'vault' | 'config' | 'log'>): Router {
  const { db, builds, vault } = deps
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
    const order = await orderOf(request, response)
    const isOver = !['QUEUED', 'BUILDING'].includes(order.state)
    const given = isOver ? {} : await giveSecretsOfBuild({ db, vault }, order)
    // Of one that is over, the values are gone.
    const { environment, trouble } = isOver
      ? { environment: order.environment, trouble: {} }
      : openedEnvironment(vault, order.environment)
    const git = isOver ? [] : await brokered(deps, { team: order.team, person: null }, order.environment.repos)
    response.json(parse(BuildOrder, { ...order, ...given, ...trouble, git, environment }))
  })

  router.post('/builds/:buildId/git-credential', async (request, response) => {
    const { build_id: buildId } = await orderOf(request, response)
    response.json(parse(GitCredential, { git_token: await issueHostGitToken(db, { buildId }) }))
  })

  router.post('/environments/:environmentId/git-credential', async (request, response) => {
    const environmentId = await environmentOf(request, response)
    const found = await environmentRepositories(db, environmentId)
    const git = found === null ? [] : await brokered(deps, { team: found.team, person: null }, found.repositories)
    const token = git.length === 0 ? null : await issueHostGitToken(db, { environmentId })
    response.json(parse(EnvironmentGit, { git_token: token, git }))
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

  async function orderOf(request: Request, response: Response): Promise<StoredBuildOrder> {
    refuseUnreported(response)
    const id = pathId(request, 'buildId', 'build')
    const found = await findBuildOrder(db, id)
    if (found === null) throw notFound(`There is no build ${id}.`)
    const { hostId } = callerOf(response)
    if (found.hostId !== hostId) throw forbidden(`The build is not for ${hostId}.`)
    return found.order
  }
}
