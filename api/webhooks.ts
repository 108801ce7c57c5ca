// Outbound webhooks: whom to tell of what, and what came of it.
import { type Request, type Response, Router } from 'express'
import { z } from 'zod'
import { WEBHOOKS } from '../domain/limits.ts'
import { WebhookConfig, type WebhookDeliveries, type WebhookItem, type WebhookWithSecret } from '../domain/webhook.ts'
import { note } from '../store/audit.ts'
import type { Tx } from '../store/database.ts'
import { newUid } from '../store/uid.ts'
import {
  type DeliveryPlace,
  findDelivery,
  insertPing,
  listDeliveries,
  resendDelivery,
} from '../store/webhook-deliveries.ts'
import {
  deleteWebhook,
  findWebhook,
  insertWebhook,
  listWebhooks,
  renewSecret,
  replaceWebhook,
  type StoredWebhook,
} from '../store/webhooks.ts'
import { secretOf } from '../webhooks/sign.ts'
import { callerOf, permit } from './access/caller.ts'
import { refuseUnknownEnvironments } from './builds/known-environments.ts'
import { byUid } from './by-uid.ts'
import type { ApiDeps } from './deps.ts'
import { HttpError, invalid, notFound } from './errors.ts'
import { once } from './once.ts'
import { limitOf, pageInfo } from './page.ts'
import { onlyMethods, parseBody, pathId, queryOf } from './parse.ts'
import { heedWebhookFields } from './runs/unknown-fields.ts'

const DEFAULT_LIMIT = 50

const { uidOf, orMissing } = byUid('webhook')

export function webhookRoutes(deps: ApiDeps): Router {
  const { db, webhooks, keys } = deps
  const router = Router()
  const may = permit('webhooks.manage')

  router
    .route('/webhooks')
    .get(may, async (_request, response) => {
      response.json({ webhooks: await listWebhooks(db, callerOf(response).team) })
    })
    .post(may, async (request, response) => {
      const config = configOf(request)
      const { type, uid, team } = callerOf(response)
      const answer = await once(deps, request, response, 'POST /agent/webhooks', async (tx) => {
        if ((await listWebhooks(tx, team)).length >= WEBHOOKS)
          throw new HttpError(
            409,
            'conflict',
            `A team has ${WEBHOOKS} webhooks at most. Delete one that is not needed.`,
          )
        await refuseUnknown(tx, team, config, null)
        const item = await insertWebhook(tx, { id: newUid(), team, by: { type, uid }, config })
        await noteChange(tx, response, 'webhooks.create', item)
        // Without the secret: what was answered is kept for a while.
        return { status: 201, response: item }
      })
      const item = answer.response as WebhookItem
      // Of a request that comes again much later, the secret may have been made anew: then it is not shown again.
      const stored = await findWebhook(db, team, item.uid)
      const isFirst = stored === null || stored.secretNumber === 1
      response.status(answer.status).json(isFirst ? withSecret({ item, secretNumber: 1 }) : { ...item, secret: '' })
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/webhooks/:uid')
    .get(may, async (request, response) => {
      const { uid, team } = placeOf(request, response)
      response.json(orMissing(uid, await findWebhook(db, team, uid)).item)
    })
    .put(may, async (request, response) => {
      const { uid, team } = placeOf(request, response)
      const config = configOf(request)
      const item = await db.transaction().execute(async (tx) => {
        const { item: former } = orMissing(uid, await findWebhook(tx, team, uid))
        await refuseUnknown(tx, team, config, former)
        const replaced = orMissing(uid, await replaceWebhook(tx, { team, id: uid }, config))
        await noteChange(tx, response, 'webhooks.update', replaced)
        return replaced
      })
      response.json(item)
    })
    .delete(may, async (request, response) => {
      const { uid, team } = placeOf(request, response)
      await db.transaction().execute(async (tx) => {
        const stored = orMissing(uid, await findWebhook(tx, team, uid))
        await deleteWebhook(tx, team, uid)
        await noteChange(tx, response, 'webhooks.delete', stored.item)
      })
      response.status(204).end()
    })
    .all(onlyMethods('GET', 'PUT', 'DELETE'))

  router
    .route('/webhooks/:uid/secret')
    .post(may, async (request, response) => {
      const { uid, team } = placeOf(request, response)
      const stored = await db.transaction().execute(async (tx) => {
        const renewed = await renewSecret(tx, team, uid)
        if (renewed !== null) await noteChange(tx, response, 'webhooks.renew_secret', renewed.item)
        return renewed
      })
      response.json(withSecret(orMissing(uid, stored)))
    })
    .all(onlyMethods('POST'))

  router
    .route('/webhooks/:uid/ping')
    .post(may, async (request, response) => {
      const { uid, team } = placeOf(request, response)
      const id = await db.transaction().execute(async (tx) => {
        orMissing(uid, await findWebhook(tx, team, uid))
        return await insertPing(tx, uid)
      })
      webhooks.nudge()
      response.status(202).json(await findDelivery(db, uid, id))
    })
    .all(onlyMethods('POST'))

  router
    .route('/webhooks/:uid/deliveries')
    .get(may, async (request, response) => {
      const { uid, team } = placeOf(request, response)
      const query = queryOf(request)
      const limit = limitOf(query, DEFAULT_LIMIT)
      const after = positionOf(query.get('cursor'))
      orMissing(uid, await findWebhook(db, team, uid))
      const { deliveries, next } = await listDeliveries(db, uid, { limit, after })
      response.json({
        deliveries,
        page_info: pageInfo(next && cursorOf(next)),
      } satisfies WebhookDeliveries)
    })
    .all(onlyMethods('GET'))

  router
    .route('/webhooks/:uid/deliveries/:deliveryId/resend')
    .post(may, async (request, response) => {
      const { uid, team } = placeOf(request, response)
      const id = pathId(request, 'deliveryId', 'delivery')
      const delivery = await db.transaction().execute(async (tx) => {
        orMissing(uid, await findWebhook(tx, team, uid))
        return await resendDelivery(tx, uid, id)
      })
      if (delivery === null) throw notFound(`The webhook ${uid} has no delivery ${id}.`)
      webhooks.nudge()
      response.status(202).json(delivery)
    })
    .all(onlyMethods('POST'))

  return router

  function withSecret({ item, secretNumber }: StoredWebhook): WebhookWithSecret {
    return { ...item, secret: secretOf(keys.links, { id: item.uid, number: secretNumber }) }
  }
}

function configOf(request: Request): WebhookConfig {
  heedWebhookFields(request.body)
  return parseBody(WebhookConfig, request)
}

const refuseUnknown = (tx: Tx, team: string, { filter }: WebhookConfig, former: WebhookItem | null) =>
  refuseUnknownEnvironments(tx, team, {
    field: 'filter.environment_ids',
    ids: filter.environment_ids ?? [],
    former: former?.filter.environment_ids,
  })

const noteChange = (tx: Tx, response: Response, action: string, { uid, name, url }: WebhookItem) =>
  note(tx, {
    caller: callerOf(response),
    action,
    thing: { type: 'webhook', uid },
    // A path may have a token in it.
    detail: { name, host: new URL(url).host },
  })

const placeOf = (request: Request, response: Response) => ({ uid: uidOf(request), team: callerOf(response).team })

const Position = z.tuple([z.iso.datetime(), z.uuid()])

const cursorOf = ({ createdAt, id }: DeliveryPlace): string =>
  Buffer.from(JSON.stringify([createdAt, id])).toString('base64url')

function positionOf(cursor: string | null): DeliveryPlace | null {
  if (cursor === null) return null
  let decoded: unknown
  try {
    decoded = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
  } catch {
    // Said below.
  }
  const position = Position.safeParse(decoded)
  if (!position.success) throw invalid('cursor: is not one of this list')
  const [createdAt, id] = position.data
  return { createdAt, id }
}
