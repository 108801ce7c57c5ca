// Secrets: made, changed and deleted here, and never shown again.
import { type Response, Router } from 'express'
import { z } from 'zod'
import { Uid } from '../../domain/account.ts'
import { type Action, may } from '../../domain/permission.ts'
import {
  NewSecret,
  SecretChange,
  type SecretItem,
  type SecretPage,
  type SecretScope,
  secretScopes,
} from '../../domain/vault/secret.ts'
import { findIdentity } from '../../store/accounts/identities.ts'
import { note } from '../../store/audit.ts'
import { environmentConfig } from '../../store/builds/environments.ts'
import type { Tx } from '../../store/database.ts'
import {
  changeSecret,
  deleteSecret,
  findSecret,
  insertSecret,
  listSecrets,
  SecretTakenError,
  type SecretView,
  secretContext,
} from '../../store/secrets/secrets.ts'
import { newUid } from '../../store/uid.ts'
import { type Caller, callerOf, insist, permit } from '../access/caller.ts'
import { byUid } from '../by-uid.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid } from '../errors.ts'
import { once } from '../once.ts'
import { cutPage, limitOf } from '../page.ts'
import { onlyMethods, parseBody, queryOf } from '../parse.ts'
import { oneOf } from '../runs/list-query.ts'
import { refuseUnknown } from '../runs/unknown-fields.ts'
import { fieldsOf } from '../runs/unsupported.ts'

const DEFAULT_LIMIT = 100
const { uidOf, orMissing } = byUid('secret')

export function secretRoutes(deps: ApiDeps): Router {
  const { db, vault } = deps
  const router = Router()

  router
    .route('/secrets')
    .get(permit('secrets.view'), async (request, response) => {
      const query = queryOf(request)
      const limit = limitOf(query, DEFAULT_LIMIT)
      const filter = {
        scope: oneOf(query, 'scope', secretScopes),
        name: query.get('name') ?? undefined,
        owner: query.get('environment_id') ?? query.get('agent_uid') ?? undefined,
      }
      const page = { after: placeIn(query.get('cursor')), limit: limit + 1 }
      const found = await listSecrets(db, viewOf(callerOf(response)), filter, page)
      const { page: secrets, info } = cutPage(found, limit, cursorOf)
      response.json({ secrets, page_info: info } satisfies SecretPage)
    })
    .post(permit('secrets.view'), async (request, response) => {
      refuseUnknown('', fieldsOf(request.body), NewSecret)
      const asked = parseBody(NewSecret, request)
      const caller = callerOf(response)
      insistOn(caller, asked.scope)
      const answer = await once(deps, request, response, 'POST /agent/secrets', async (tx) => {
        const uid = newUid()
        const owner = await ownerOf(tx, caller, asked)
        const place = { uid, team: caller.team, owner, by: { type: caller.type, uid: caller.uid } }
        const item = await refusingTaken(asked, () =>
          insertSecret(tx, place, asked, vault.seal(asked.value, secretContext(uid))),
        )
        await noteChange(tx, caller, 'secrets.create', item)
        return { status: 201, response: item }
      })
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/secrets/:secretUid')
    .get(permit('secrets.view'), async (request, response) => {
      const uid = uidOf(request, 'secretUid')
      response.json(orMissing(uid, await findSecret(db, viewOf(callerOf(response)), uid)))
    })
    .patch(permit('secrets.view'), async (request, response) => {
      refuseUnknown('', fieldsOf(request.body), SecretChange)
      const change = parseBody(SecretChange, request)
      const uid = uidOf(request, 'secretUid')
      const item = await changing(response, uid, async (tx, { caller, view, stored }) => {
        if (change.path != null && stored.kind !== 'file') throw invalid('path: only a file has a path')
        const sealed = change.value === undefined ? null : vault.seal(change.value, secretContext(uid))
        const changed = await changeSecret(
          tx,
          { view, uid, by: { type: caller.type, uid: caller.uid } },
          change,
          sealed,
        )
        if (changed) await noteChange(tx, caller, 'secrets.update', changed, { value_changed: sealed !== null })
        return changed
      })
      response.json(orMissing(uid, item))
    })
    .delete(permit('secrets.view'), async (request, response) => {
      const uid = uidOf(request, 'secretUid')
      await changing(response, uid, async (tx, { caller, view, stored }) => {
        await deleteSecret(tx, view, uid)
        await noteChange(tx, caller, 'secrets.delete', stored)
      })
      response.status(204).end()
    })
    .all(onlyMethods('GET', 'PATCH', 'DELETE'))

  return router

  /** What may be changed depends on whose it is. */
  function changing<T>(
    response: Response,
    uid: string,
    work: (tx: Tx, found: { caller: Caller; view: SecretView; stored: SecretItem }) => Promise<T>,
  ): Promise<T> {
    const caller = callerOf(response)
    const view = viewOf(caller)
    return db.transaction().execute(async (tx) => {
      const stored = orMissing(uid, await findSecret(tx, view, uid))
      insistOn(caller, stored.scope)
      return await work(tx, { caller, view, stored })
    })
  }
}

/** One's own are seen by oneself alone; a service account has none. */
const viewOf = ({ team, type, uid }: Caller): SecretView => ({ team, person: type === 'service_account' ? null : uid })

function insistOn(caller: Caller, scope: SecretScope): void {
  const action: Action = scope === 'person' ? 'secrets.own' : 'secrets.manage'
  if (!may(action, caller)) insist(caller, action)
}

/** The uid of whose secret it is to be; of a team's, empty. */
async function ownerOf(tx: Tx, { team, uid }: Caller, asked: NewSecret): Promise<string> {
  const { scope, environment_id: environment, agent_uid: agent } = asked
  if (environment != null && scope !== 'environment') throw invalid('environment_id: only of the scope "environment"')
  if (agent != null && scope !== 'agent') throw invalid('agent_uid: only of the scope "agent"')
  switch (scope) {
    case 'team':
      return ''
    case 'person':
      return uid
    case 'environment':
      if (environment == null) throw invalid('environment_id: which environment is it for?')
      if ((await environmentConfig(tx, team, environment)) === null)
        throw invalid(`environment_id: there is no environment ${environment}`)
      return environment
    case 'agent':
      if (agent == null) throw invalid('agent_uid: which service account is it for?')
      if ((await findIdentity(tx, team, agent)) === null)
        throw invalid(`agent_uid: the team has no service account ${agent}`)
      return agent
  }
}

async function refusingTaken<T>({ name, scope }: NewSecret, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof SecretTakenError)
      throw new HttpError(409, 'conflict', `name: there is a secret ${name} of this ${scope} already. Change that one.`)
    throw error
  }
}

const noteChange = (
  tx: Tx,
  caller: Caller,
  action: string,
  { uid, name, scope, owner, version }: SecretItem,
  more: { value_changed?: boolean } = {},
) =>
  note(tx, {
    caller,
    action,
    thing: { type: 'secret', uid },
    detail: { name, scope, ...(owner !== null && { owner }), version, ...more },
  })

/** An id that none can have names nothing that exists. */
const Place = z.tuple([z.string().max(255), Uid])

const cursorOf = ({ name, uid }: SecretItem): string => Buffer.from(JSON.stringify([name, uid])).toString('base64url')

function placeIn(cursor: string | null): { name: string; uid: string } | null {
  if (cursor === null) return null
  let decoded: unknown
  try {
    decoded = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
  } catch {
    // Said below.
  }
  const place = Place.safeParse(decoded)
  if (!place.success) throw invalid('cursor: is not one of this list')
  const [name, uid] = place.data
  return { name, uid }
}
