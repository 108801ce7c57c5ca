// Stored environments.
import { type Request, type Response, Router } from 'express'
import { EnvironmentConfig, type EnvironmentItem } from '../../domain/environment.ts'
import { EnvironmentId, HIDDEN, withoutCredentials } from '../../domain/run.ts'
import type { Vault } from '../../domain/vault/vault.ts'
import { refuseBeyondLimits } from '../../runs/limits.ts'
import { openEnvironment, sealEnvironment } from '../../secrets/vault/inline.ts'
import { note } from '../../store/audit.ts'
import {
  deleteEnvironment,
  environmentOrders,
  findEnvironment,
  insertEnvironment,
  listEnvironments,
  NameTakenError,
  replaceEnvironment,
} from '../../store/builds/environments.ts'
import type { Tx } from '../../store/database.ts'
import { callerOf, permit } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid, notFound } from '../errors.ts'
import { once } from '../once.ts'
import { onlyMethods, parseBody, queryOf } from '../parse.ts'
import { oneOf } from '../runs/list-query.ts'
import { heedEnvironmentFields } from '../runs/unknown-fields.ts'

export function environmentRoutes(deps: ApiDeps): Router {
  const { db, config: settings, builds, skills, vault } = deps
  const router = Router()

  router
    .route('/environments')
    .get(permit('environments.view'), async (request, response) => {
      const order = oneOf(queryOf(request), 'sort_by', environmentOrders) ?? 'last_updated'
      response.json({ environments: await listEnvironments(db, callerOf(response).team, order) })
    })
    .post(permit('environments.manage'), async (request, response) => {
      const { config, warnings } = configOf(request)
      const answer = await refusingTaken(() =>
        once(deps, request, response, 'POST /agent/environments', async (tx) => {
          const by = callerOf(response)
          const item = await insertEnvironment(tx, by.team, withHidden(vault, config, null), settings.AMBIENT_POOL, by)
          await noteChange(tx, response, 'environments.create', item.uid, config.name)
          return { status: 201, response: { ...item, ...warnings } }
        }),
      )
      builds.nudge()
      skills.nudge()
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/environments/:uid')
    .get(permit('environments.view'), async (request, response) => {
      response.json(orNotFound(request, await findEnvironment(db, callerOf(response).team, environmentId(request))))
    })
    .put(permit('environments.manage'), async (request, response) => {
      const id = environmentId(request)
      const { config, warnings } = configOf(request)
      const by = callerOf(response)
      const target = { team: by.team, id, pool: settings.AMBIENT_POOL, by }
      const item = await refusingTaken(() =>
        db.transaction().execute(async (tx) => {
          const replaced = await replaceEnvironment(tx, target, (stored) => withHidden(vault, config, stored))
          if (replaced !== null) await noteChange(tx, response, 'environments.update', id, config.name)
          return replaced
        }),
      )
      builds.nudge()
      skills.nudge()
      response.json({ ...orNotFound(request, item), ...warnings })
    })
    .delete(permit('environments.manage'), async (request, response) => {
      const id = environmentId(request)
      const deleted = await db.transaction().execute(async (tx) => {
        const isDeleted = await deleteEnvironment(tx, callerOf(response).team, id)
        if (isDeleted) await noteChange(tx, response, 'environments.delete', id)
        return isDeleted
      })
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

const noteChange = (tx: Tx, response: Response, action: string, uid: string, name?: string) =>
  note(tx, {
    caller: callerOf(response),
    action,
    thing: { type: 'environment', uid },
    ...(name !== undefined && { detail: { name } }),
  })

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

/**
 * As it is kept: sealed. What was sent as it had been shown stands for what is stored: a hidden value, and a URL without
 * its credentials. A value that is the same stays as it was sealed, so that it is no change.
 */
function withHidden(vault: Vault, config: EnvironmentConfig, stored: EnvironmentConfig | null): EnvironmentConfig {
  for (const [name, value] of Object.entries(config.env)) {
    if (value === HIDDEN && stored?.env[name] === undefined)
      throw invalid(`env.${name}: ${HIDDEN} stands for a stored value, and there is none`)
  }
  const known = stored && openEnvironment(vault, stored)
  const sealed = sealEnvironment(vault, config)
  const env = Object.entries(sealed.env).map(([name, value]) => {
    const kept = stored?.env[name]
    const isKept = config.env[name] === HIDDEN || config.env[name] === known?.env[name]
    return [name, isKept && kept !== undefined ? kept : value] as const
  })
  const repos = sealed.repos.map((repository, index) => {
    const asked = config.repos[index]?.url
    const same = stored?.repos.find(({ url }, at) => {
      const isShown = url !== asked && withoutCredentials(url) === asked
      return isShown || known?.repos[at]?.url === asked
    })
    return same ? { ...repository, url: same.url } : repository
  })
  return { ...sealed, env: Object.fromEntries(env), repos }
}
