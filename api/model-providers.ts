// A team's own model endpoints, and the keys for them, which are never shown again.
import { type Request, type Response, Router } from 'express'
import { MODEL_PROVIDERS, ModelProviderConfig, type ModelProviderItem } from '../domain/models/provider.ts'
import { note } from '../store/audit.ts'
import type { Tx } from '../store/database.ts'
import {
  deleteModelProvider,
  findModelProvider,
  insertModelProvider,
  listModelProviders,
  replaceModelProvider,
} from '../store/models/providers.ts'
import { isTaken } from '../store/taken.ts'
import { callerOf, permit } from './access/caller.ts'
import { byUid } from './by-uid.ts'
import type { ApiDeps } from './deps.ts'
import { HttpError, invalid } from './errors.ts'
import { once } from './once.ts'
import { onlyMethods, parseBody } from './parse.ts'

const { uidOf, orMissing } = byUid('endpoint')

export function modelProviderRoutes(deps: ApiDeps): Router {
  const { db, vault } = deps
  const router = Router()
  const may = permit('models.manage')

  router
    .route('/providers')
    .get(may, async (_request, response) => {
      response.json({ providers: await listModelProviders(db, vault, callerOf(response).team) })
    })
    .post(may, async (request, response) => {
      const config = parseBody(ModelProviderConfig, request)
      const { type, uid, team } = callerOf(response)
      const answer = await named(config.name, () =>
        once(deps, request, response, 'POST /agent/providers', async (tx) => {
          if ((await listModelProviders(tx, vault, team)).length >= MODEL_PROVIDERS)
            throw new HttpError(409, 'conflict', `A team has ${MODEL_PROVIDERS} endpoints at most.`)
          const item = await insertModelProvider(tx, vault, { team, by: { type, uid }, config })
          await noteChange(tx, response, 'providers.create', item)
          return { status: 201, response: item }
        }),
      )
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/providers/:uid')
    .get(may, async (request, response) => {
      const { uid, team } = placeOf(request, response)
      response.json(orMissing(uid, await findModelProvider(db, vault, team, uid)))
    })
    .put(may, async (request, response) => {
      const place = placeOf(request, response)
      const config = parseBody(ModelProviderConfig, request)
      const item = await named(config.name, () =>
        db.transaction().execute(async (tx) => {
          refuseElsewhere(await findModelProvider(tx, vault, place.team, place.uid), config)
          const changed = await replaceModelProvider(tx, vault, place, config)
          if (changed !== null) await noteChange(tx, response, 'providers.update', changed)
          return changed
        }),
      )
      response.json(orMissing(place.uid, item))
    })
    .delete(may, async (request, response) => {
      const { uid, team } = placeOf(request, response)
      await db.transaction().execute(async (tx) => {
        const item = orMissing(uid, await findModelProvider(tx, vault, team, uid))
        await deleteModelProvider(tx, team, uid)
        await noteChange(tx, response, 'providers.delete', item)
      })
      response.status(204).end()
    })
    .all(onlyMethods('GET', 'PUT', 'DELETE'))

  return router
}

/** Whoever may change where an endpoint is does not learn its key by that. */
function refuseElsewhere(former: ModelProviderItem | null, config: ModelProviderConfig): void {
  if (former === null || new URL(former.base_url).origin === new URL(config.base_url).origin) return
  const kept = [
    ...(former.has_api_key && config.api_key === undefined ? ['api_key'] : []),
    ...(former.header_names.length > 0 && config.headers === undefined ? ['headers'] : []),
  ]
  if (kept[0] !== undefined) throw invalid(`${kept[0]}: is to be given again where it would be shown to another server`)
}

const noteChange = (tx: Tx, response: Response, action: string, { uid, name, format, base_url }: ModelProviderItem) =>
  note(tx, {
    caller: callerOf(response),
    action,
    thing: { type: 'provider', uid },
    detail: { name, format, host: new URL(base_url).host },
  })

async function named<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isTaken(error)) throw new HttpError(409, 'conflict', `name: There is an endpoint "${name}" already.`)
    throw error
  }
}

const placeOf = (request: Request, response: Response) => ({ uid: uidOf(request), team: callerOf(response).team })
