// The keys by which people and service accounts speak to this API.
import { type Request, Router } from 'express'
import { Uid } from '../../domain/account.ts'
import { type ApiKeyItem, NewApiKey } from '../../domain/api-key.ts'
import { hasScope, may } from '../../domain/permission.ts'
import {
  createApiKey,
  type KeySelection,
  keysMadeWith,
  listApiKeys,
  type NewKey,
  revokeApiKey,
} from '../../store/accounts/api-keys.ts'
import { findIdentity } from '../../store/accounts/identities.ts'
import { findActivePerson } from '../../store/accounts/people.ts'
import { findActiveMember } from '../../store/accounts/teams.ts'
import { note } from '../../store/audit.ts'
import type { Tx } from '../../store/database.ts'
import { type Caller, callerOf, insist, permit, roleIn } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid, notFound } from '../errors.ts'
import { onlyMethods, parseBody, queryOf } from '../parse.ts'
import { refuseUnknown } from '../runs/unknown-fields.ts'
import { fieldsOf } from '../runs/unsupported.ts'

export function apiKeyRoutes({ db }: Pick<ApiDeps, 'db'>): Router {
  const router = Router()

  router
    .route('/api-keys')
    .get(permit('keys.own'), async (request, response) => {
      const caller = callerOf(response)
      const all = flag(request, 'all')
      if (all) insist(caller, 'keys.manage')
      response.json({ keys: await listApiKeys(db, all ? allOf(caller) : ownOf(caller)) })
    })
    // Not through once(): the answer has the key itself, and is not to be kept.
    .post(permit('keys.own'), async (request, response) => {
      refuseUnknown('', fieldsOf(request.body), NewApiKey)
      const asked = parseBody(NewApiKey, request)
      const { key, item } = await db.transaction().execute(async (tx) => {
        const caller = callerOf(response)
        const made = await createApiKey(tx, await keyAsked(tx, caller, asked))
        await noteChange(tx, caller, 'keys.create', made.item)
        return made
      })
      response.status(201).json({ ...item, key })
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/api-keys/:keyUid')
    .delete(permit('keys.own'), async (request, response) => {
      const caller = callerOf(response)
      const uid = Uid.safeParse(request.params.keyUid)
      const cascade = flag(request, 'cascade')
      const revoked =
        uid.success &&
        (await db.transaction().execute(async (tx) => {
          if (!(await revoke(tx, caller, uid.data))) return false
          for (const made of cascade ? await keysMadeWith(tx, uid.data) : []) await revoke(tx, caller, made)
          return true
        }))
      if (!revoked) throw notFound(`There is no API key ${String(request.params.keyUid)}.`)
      response.status(204).end()
    })
    .all(onlyMethods('DELETE'))

  return router
}

/** One's own; and whoever sees to the team's keys, any of them; the operator those of every team. */
async function revoke(tx: Tx, caller: Caller, uid: string): Promise<boolean> {
  const own = caller.type === 'user' ? await revokeApiKey(tx, uid, ownOf(caller)) : null
  const others = caller.type === 'operator' ? 'any' : allOf(caller)
  const revoked = own ?? (may('keys.manage', caller) ? await revokeApiKey(tx, uid, others) : null)
  if (revoked) await noteChange(tx, caller, 'keys.revoke', revoked)
  return revoked !== null
}

const noteChange = (
  tx: Tx,
  caller: Caller,
  action: string,
  { uid, name, key_prefix, owner, scope, team }: ApiKeyItem,
) =>
  note(tx, {
    caller,
    action,
    thing: { type: 'api_key', uid, ...(team !== null && { team }) },
    detail: { name, key_prefix, owner: owner.uid, scope },
  })

const ownOf = ({ uid, key }: Caller): KeySelection => ({ person: uid, teams: key?.team ? [key.team] : null })

const allOf = ({ team, type }: Caller): KeySelection => ({ team, withUnbound: type === 'operator' })

function flag(request: Request, name: string): boolean {
  const value = queryOf(request).get(name) ?? 'false'
  if (value !== 'true' && value !== 'false') throw invalid(`${name}: must be true or false`)
  return value === 'true'
}

/** No key is good for more, or for longer, than the one that it is made with. */
async function keyAsked(tx: Tx, caller: Caller, asked: NewApiKey): Promise<NewKey> {
  const { name, scope } = asked
  if (!hasScope(caller.scope, scope))
    throw new HttpError(403, 'not_authorized', `scope: this key has "${caller.scope}", and makes none of "${scope}".`)
  const createdBy = { type: caller.type, uid: caller.uid }
  const madeWith = caller.key?.uid ?? null
  return { name, scope, expiresAt: endOf(caller, asked), createdBy, madeWith, ...(await ownerOf(tx, caller, asked)) }
}

function endOf({ key }: Caller, { expires_at: asked }: NewApiKey): Date | null {
  const most = key?.expiresAt ?? null
  if (asked == null) return most
  const end = new Date(asked)
  if (end.getTime() <= Date.now()) throw invalid('expires_at: is over already')
  if (most !== null && end > most)
    throw new HttpError(403, 'not_authorized', `expires_at: is after the end of this key, ${most.toISOString()}.`)
  return end
}

async function ownerOf(tx: Tx, caller: Caller, asked: NewApiKey): Promise<Pick<NewKey, 'owner' | 'team'>> {
  const { agent_uid: agent, person, team } = asked
  if (agent != null) {
    insist(caller, 'keys.manage')
    if (person != null) throw invalid('person: a key is that of a person or of a service account, not of both')
    if (team != null && team !== caller.team) throw invalid(`team: a service account speaks in its own, ${caller.team}`)
    if (!(await findIdentity(tx, caller.team, agent)))
      throw invalid(`agent_uid: the team has no service account ${agent}`)
    return { owner: { agent }, team: caller.team }
  }
  if (person != null && caller.type !== 'operator')
    throw new HttpError(403, 'not_authorized', 'person: only the admin key of the settings makes keys for others.')
  if (person == null && caller.type === 'operator')
    throw invalid('person: say whose key it is to be: that of a person, or of a service account (agent_uid)')
  const uid = person == null ? caller.uid : await findActivePerson(tx, person)
  if (uid === null) throw invalid(`person: there is nobody ${person} who gets in here`)
  if (team != null && !(await isIn(tx, caller, team, uid))) throw invalid(`team: ${uid} is in no team ${team}`)
  return { owner: { person: uid }, team: team ?? caller.key?.team ?? null }
}

const isIn = async (tx: Tx, caller: Caller, team: string, person: string) =>
  caller.type === 'operator' ? (await findActiveMember(tx, team, person)) !== null : roleIn(caller, team) !== null
