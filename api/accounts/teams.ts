// Teams and their members.
import { type Request, type Response, Router } from 'express'
import {
  MemberChange,
  type MemberItem,
  NewMember,
  NewTeam,
  TeamChange,
  type TeamItem,
  TeamUid,
  Uid,
} from '../../domain/account.ts'
import { type Action, may } from '../../domain/permission.ts'
import { personByEmail } from '../../store/accounts/people.ts'
import { deleteTeam } from '../../store/accounts/removal.ts'
import {
  addMember,
  changeTeam,
  DEFAULT_TEAM,
  findMember,
  insertTeam,
  listMembers,
  listTeams,
  removeMember,
  setRole,
} from '../../store/accounts/teams.ts'
import { type Note, note } from '../../store/audit.ts'
import type { Tx } from '../../store/database.ts'
import { type Caller, callerOf, permit, refused, roleIn } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid, notFound } from '../errors.ts'
import { once } from '../once.ts'
import { onlyMethods, parseBody } from '../parse.ts'
import { refuseUnknown } from '../runs/unknown-fields.ts'
import { fieldsOf } from '../runs/unsupported.ts'
import { callOthers, removedAccount } from './removed.ts'

export function teamRoutes(deps: ApiDeps): Router {
  const { db, config } = deps
  const router = Router()

  router
    .route('/teams')
    .get(permit('account.view'), async (_request, response) => {
      response.json({ teams: await listTeams(db, callerOf(response).memberships) })
    })
    .post(permit('teams.manage'), async (request, response) => {
      refuseUnknown('', fieldsOf(request.body), NewTeam)
      const { name, run_limit: runLimit, limits } = parseBody(NewTeam, request)
      const own = { runLimit: runLimit ?? null, limits: limits ?? {} }
      const asked = { name, ...own, standard: config.AMBIENT_TEAM_RUNS, by: callerOf(response) }
      const answer = await once(deps, request, response, 'POST /agent/teams', async (tx) => {
        const item = await insertTeam(tx, asked)
        await noteChange(tx, response, 'teams.create', item.uid, { name })
        return { status: 201, response: item }
      })
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/teams/:team')
    .get(async (request, response) => {
      const team = teamFor(request, response, 'account.view')
      response.json(await knownTeam(callerOf(response), team))
    })
    .patch(permit('teams.manage'), async (request, response) => {
      const team = teamFor(request, response, 'teams.manage')
      refuseUnknown('', fieldsOf(request.body), TeamChange)
      const body = parseBody(TeamChange, request)
      const item = await db.transaction().execute(async (tx) => {
        await noteChange(tx, response, 'teams.update', team, {
          changed: Object.keys(body),
          ...(body.run_limit !== undefined && { run_limit: body.run_limit }),
          ...(body.limits !== undefined && { limits: Object.entries(body.limits).map(saidLimit) }),
        })
        const changed = await changeTeam(tx, team, body, config.AMBIENT_TEAM_RUNS)
        if (changed === null) throw missingTeam(team)
        return changed
      })
      response.json(item)
    })
    .delete(permit('teams.manage'), async (request, response) => {
      const team = teamFor(request, response, 'teams.manage')
      if (team === DEFAULT_TEAM) throw invalid('team: the first team of a server cannot be deleted')
      const removed = await db.transaction().execute(async (tx) => {
        const found = await deleteTeam(tx, team)
        if (found === null) throw missingTeam(team)
        await noteChange(tx, response, 'teams.delete', team, removedAccount(found))
        return found
      })
      callOthers(deps, removed)
      response.json(removedAccount(removed))
    })
    .all(onlyMethods('GET', 'PATCH', 'DELETE'))

  router
    .route('/teams/:team/members')
    .get(async (request, response) => {
      const team = teamFor(request, response, 'members.view')
      await knownTeam(callerOf(response), team)
      response.json({ members: await listMembers(db, team) })
    })
    .post(async (request, response) => {
      const team = teamFor(request, response, 'members.manage')
      refuseUnknown('', fieldsOf(request.body), NewMember)
      const body = parseBody(NewMember, request)
      await knownTeam(callerOf(response), team)
      const answer = await once(deps, request, response, `POST /agent/teams/${team}/members`, async (tx) => {
        const { uid } = await personByEmail(tx, { email: body.email, displayName: body.display_name })
        if (!(await addMember(tx, team, uid, body.role)))
          throw new HttpError(409, 'conflict', `${body.email} is in the team already.`)
        await noteChange(tx, response, 'members.add', team, { person: uid, role: body.role })
        return { status: 201, response: await member(tx, team, uid) }
      })
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/teams/:team/members/:person')
    .get(async (request, response) => {
      const team = teamFor(request, response, 'members.view')
      response.json(await member(db, team, personIn(request)))
    })
    .patch(async (request, response) => {
      const team = teamFor(request, response, 'members.manage')
      refuseUnknown('', fieldsOf(request.body), MemberChange)
      const { role } = parseBody(MemberChange, request)
      const person = personIn(request)
      const item = await db.transaction().execute(async (tx) => {
        if (!(await setRole(tx, team, person, role))) throw missingMember(person)
        await noteChange(tx, response, 'members.update', team, { person, role })
        return await member(tx, team, person)
      })
      response.json(item)
    })
    .delete(async (request, response) => {
      const caller = callerOf(response)
      const person = personIn(request)
      // Whoever wants to leave a team may.
      const leaves = caller.type === 'user' && caller.uid === person
      const team = teamFor(request, response, leaves ? 'keys.own' : 'members.manage')
      await db.transaction().execute(async (tx) => {
        if (!(await removeMember(tx, team, person))) throw missingMember(person)
        await noteChange(tx, response, 'members.remove', team, { person })
      })
      response.status(204).end()
    })
    .all(onlyMethods('GET', 'PATCH', 'DELETE'))

  return router

  async function knownTeam(caller: Caller, uid: string): Promise<TeamItem> {
    const role = roleIn(caller, uid)
    const [item] = role === null ? [] : await listTeams(db, [{ team: uid, role }])
    if (!item) throw missingTeam(uid)
    return item
  }

  async function member(from: Tx | typeof db, team: string, person: string): Promise<MemberItem> {
    const item = await findMember(from, team, person)
    if (item === null) throw missingMember(person)
    return item
  }
}

const saidLimit = ([name, most]: [string, number | null | undefined]) => `${name}: ${most ?? 'none'}`

const noteChange = (tx: Tx, response: Response, action: string, team: string, detail: NonNullable<Note['detail']>) =>
  note(tx, { caller: callerOf(response), action, thing: { type: 'team', uid: team, team }, detail })

/** The team of the path, which need not be the active one. @throws {HttpError} 404 for one that the caller is not in. */
function teamFor(request: Request, response: Response, action: Action): string {
  const caller = callerOf(response)
  const team = TeamUid.safeParse(request.params.team)
  const role = team.success ? roleIn(caller, team.data) : null
  if (!team.success || role === null) throw missingTeam(String(request.params.team))
  const standing = { ...caller, role }
  if (!may(action, standing)) throw refused(action, standing)
  return team.data
}

function personIn(request: Request): string {
  const uid = Uid.safeParse(request.params.person)
  if (!uid.success) throw missingMember(String(request.params.person))
  return uid.data
}

const missingTeam = (uid: string) => notFound(`There is no team ${uid}.`)
const missingMember = (uid: string) => notFound(`The team has no member ${uid}.`)
