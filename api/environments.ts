// Stored environments.
import { type Request, Router } from 'express'
import { EnvironmentConfig, type EnvironmentItem } from '../domain/environment.ts'
import { EnvironmentId, HIDDEN, withoutCredentials } from '../domain/run.ts'
import {
  deleteEnvironment,
  environmentOrders,
  findEnvironment,
  insertEnvironment,
  listEnvironments,
  NameTakenError,
  replaceEnvironment,
} from '../store/environments.ts'
import { DEFAULT_TEAM } from '../store/teams.ts'
import type { ApiDeps } from './deps.ts'
import { HttpError, invalid, notFound } from './errors.ts'
import { refuseBeyondLimits } from './limits.ts'
import { oneOf } from './list-query.ts'
import { once } from './once.ts'
import { onlyMethods, parseBody, queryOf } from './parse.ts'
import { heedEnvironmentFields } from './unknown-fields.ts'

export function environmentRoutes(deps: ApiDeps): Router {
  const { db, config: settings, builds } = deps
  const router = Router()

  router
    .route('/environments')
    .get(async (request, response) => {
      const order = oneOf(queryOf(request), 'sort_by', environmentOrders) ?? 'last_updated'
      response.json({ environments: await listEnvironments(db, DEFAULT_TEAM, order) })
    })
    .post(async (request, response) => {
      const { config, warnings } = configOf(request)
      const answer = await refusingTaken(() =>
        once(deps, request, response, 'POST /agent/environments', async (tx) => ({
          status: 201,
          response: {
            ...(await insertEnvironment(tx, DEFAULT_TEAM, withHidden(config, null), settings.AMBIENT_POOL)),
            ...warnings,
          },
        })),
      )
      builds.nudge()
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/environments/:uid')
    .get(async (request, response) => {
      response.json(orNotFound(request, await findEnvironment(db, DEFAULT_TEAM, environmentId(request))))
    })
    .put(async (request, response) => {
      const id = environmentId(request)
      const { config, warnings } = configOf(request)
      const target = { team: DEFAULT_TEAM, id, pool: settings.AMBIENT_POOL }
      const item = await refusingTaken(() =>
        db.transaction().execute((tx) => replaceEnvironment(tx, target, (stored) => withHidden(config, stored))),
      )
      builds.nudge()
      response.json({ ...orNotFound(request, item), ...warnings })
    })
    .delete(async (request, response) => {
      const id = environmentId(request)
      const deleted = await db.transaction().execute((tx) => deleteEnvironment(tx, DEFAULT_TEAM, id))
      if (!deleted) throw missing(id)
      builds.nudge()
      response.status(204).end()
    })
    .all(onlyMethods('GET', 'PUT', 'DELETE'))

  return router

  function configOf(request: Request): { config: EnvironmentConfig; warnings: Pick<EnvironmentItem, 'warnings'> } {
    const warnings = heedEnvironmentFields(request.body)
    const config = parseBody(EnvironmentConfig, request)
    refuseBeyondLimits(settings, config, '')
    return { config, warnings: warnings.length > 0 ? { warnings } : {} }
  }
}

/** An id in the path that none can have names nothing that exists. */
export function environmentId(request: Request): string {
  const id = EnvironmentId.safeParse(request.params.uid)
  if (!id.success) throw missing(String(request.params.uid))
  return id.data
}

export const missing = (id: string) => notFound(`There is no environment ${id}.`)

function orNotFound(request: Request, item: EnvironmentItem | null): EnvironmentItem {
  if (item === null) throw missing(environmentId(request))
  return item
}

async function refusingTaken<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof NameTakenError) throw new HttpError(409, 'conflict', `name: ${error.message}`)
    throw error
  }
}

/** What was sent as it had been shown stands for what is stored: a hidden value, and a URL without its credentials. */
function withHidden(config: EnvironmentConfig, stored: EnvironmentConfig | null): EnvironmentConfig {
  const env = Object.entries(config.env).map(([name, value]) => {
    if (value !== HIDDEN) return [name, value] as const
    const kept = stored?.env[name]
    if (kept === undefined) throw invalid(`env.${name}: ${HIDDEN} stands for a stored value, and there is none`)
    return [name, kept] as const
  })
  const repos = config.repos.map((repository) => {
    const same = stored?.repos.find(({ url }) => url !== repository.url && withoutCredentials(url) === repository.url)
    return same ? { ...repository, url: same.url } : repository
  })
  return { ...config, env: Object.fromEntries(env), repos }
}
