// The people that there are: for the operator all, for others those of their own teams.
import { type Request, type Response, Router } from 'express'
import { NewPerson, PersonChange, type PersonItem, Uid } from '../../domain/account.ts'
import { changePerson, EmailTakenError, findPerson, listPeople, personByEmail } from '../../store/accounts/people.ts'
import { deletePerson } from '../../store/accounts/removal.ts'
import { type Note, note } from '../../store/audit.ts'
import type { Queryable, Tx } from '../../store/database.ts'
import { callerOf, permit, teamsOf } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid, notFound } from '../errors.ts'
import { once } from '../once.ts'
import { cutPage, limitOf } from '../page.ts'
import { onlyMethods, parseBody, queryOf } from '../parse.ts'
import { refuseUnknown } from '../runs/unknown-fields.ts'
import { fieldsOf } from '../runs/unsupported.ts'
import { callOthers, removedAccount } from './removed.ts'

const DEFAULT_LIMIT = 100

export function peopleRoutes(deps: ApiDeps): Router {
  const { db } = deps
  const router = Router()

  router
    .route('/people')
    .get(permit('members.view'), async (request, response) => {
      const query = queryOf(request)
      const limit = limitOf(query, DEFAULT_LIMIT)
      const found = await listPeople(db, {
        teams: teamsSeen(response),
        after: addressIn(query.get('cursor')),
        limit: limit + 1,
      })
      const { page, info } = cutPage(found, limit, (last) => Buffer.from(last.email).toString('base64url'))
      response.json({ people: page, page_info: info })
    })
    .post(permit('people.manage'), async (request, response) => {
      refuseUnknown('', fieldsOf(request.body), NewPerson)
      const body = parseBody(NewPerson, request)
      const answer = await once(deps, request, response, 'POST /agent/people', async (tx) => {
        const { uid, isNew } = await personByEmail(tx, { email: body.email, displayName: body.display_name })
        if (!isNew) throw taken(new EmailTakenError(body.email))
        await noteChange(tx, response, 'people.create', uid)
        return { status: 201, response: await person(tx, uid, null) }
      })
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/people/:person')
    .get(permit('members.view'), async (request, response) => {
      response.json(await person(db, personUid(request), teamsSeen(response)))
    })
    .patch(permit('people.manage'), async (request, response) => {
      const uid = personUid(request)
      refuseUnknown('', fieldsOf(request.body), PersonChange)
      const body = parseBody(PersonChange, request)
      const item = await db.transaction().execute(async (tx) => {
        if (!(await changePerson(tx, uid, body).catch(refuseTaken))) throw missing(uid)
        await noteChange(tx, response, 'people.update', uid, {
          changed: Object.keys(body),
          ...(body.disabled !== undefined && { disabled: body.disabled }),
        })
        return await person(tx, uid, null)
      })
      response.json(item)
    })
    .delete(permit('people.manage'), async (request, response) => {
      const uid = personUid(request)
      const removed = await db.transaction().execute(async (tx) => {
        const found = await deletePerson(tx, uid)
        if (found === null) throw missing(uid)
        await noteChange(tx, response, 'people.delete', uid, removedAccount(found))
        return found
      })
      callOthers(deps, removed)
      response.json(removedAccount(removed))
    })
    .all(onlyMethods('GET', 'PATCH', 'DELETE'))

  return router
}

/** People are in several teams, or in none. */
const noteChange = (tx: Tx, response: Response, action: string, uid: string, detail?: Note['detail']) =>
  note(tx, {
    caller: callerOf(response),
    action,
    thing: { type: 'person', uid, team: null },
    ...(detail && { detail }),
  })

/** Null: all. */
function teamsSeen(response: Response): string[] | null {
  const caller = callerOf(response)
  return caller.memberships === 'all' ? null : teamsOf(caller)
}

async function person(db: Queryable, uid: string, teams: readonly string[] | null): Promise<PersonItem> {
  const item = await findPerson(db, uid, teams)
  if (item === null) throw missing(uid)
  return item
}

function personUid(request: Request): string {
  const uid = Uid.safeParse(request.params.person)
  if (!uid.success) throw missing(String(request.params.person))
  return uid.data
}

function addressIn(cursor: string | null): string | null {
  if (cursor === null) return null
  const address = Buffer.from(cursor, 'base64url').toString('utf8')
  if (!/^[^\s@\0]+@[^\s@\0]+$/.test(address)) throw invalid('cursor: is not one of this list')
  return address
}

const missing = (uid: string) => notFound(`There is nobody with the uid ${uid}.`)
const taken = (error: EmailTakenError) => new HttpError(409, 'conflict', `email: ${error.message}`)

function refuseTaken(error: unknown): never {
  throw error instanceof EmailTakenError ? taken(error) : error
}
