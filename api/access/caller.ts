// Who makes a request, and whether they may.
import type { Request, RequestHandler, Response } from 'express'
import {
  type Action,
  may,
  OPERATOR,
  type Permission,
  type Principal,
  permissions,
  type Role,
  type Scope,
} from '../../domain/permission.ts'
import type { Holder, Membership } from '../../store/accounts/api-keys.ts'
import { DEFAULT_TEAM, teamExists } from '../../store/accounts/teams.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError } from '../errors.ts'
import { addressOf } from './address.ts'

/** Oz's header for whoever is in several teams. */
export const TEAM_HEADER = 'x-warp-team-uid'

export interface Caller extends Principal {
  name: string
  email: string | null
  /** The team that the request is about. */
  team: string
  /** In that team. Null: no member of it, let in by a share alone. */
  role: Role | null
  /** What the key is good for at most. */
  scope: Scope
  /** All teams that they may speak in; the operator may in every one. */
  memberships: 'all' | readonly Membership[]
  /** Null: the key of the settings, or a session. */
  key: Holder['key']
  /** The uid of the browser session; null for a key. */
  session: string | null
  /** Where the request comes from: the audit log keeps both. */
  address: string
  userAgent: string | null
}

/** Whoever has the admin key, for the team that the request names. @throws {HttpError} 403 for one that is not there. */
export async function operatorOf(db: ApiDeps['db'], request: Request): Promise<Caller> {
  const asked = teamAsked(request)
  if (asked !== undefined && asked !== DEFAULT_TEAM && !(await teamExists(db, asked)))
    throw new HttpError(403, 'not_authorized', `${TEAM_HEADER}: there is no team ${asked}.`)
  return {
    ...OPERATOR,
    name: 'Operator',
    email: null,
    team: asked ?? DEFAULT_TEAM,
    role: 'admin',
    scope: 'admin',
    memberships: 'all',
    key: null,
    session: null,
    ...placeOf(request),
  }
}

/** Whoever has a key or a session, for the team that the request names. @throws {HttpError} 403 where they are not in it, or in none. */
export function callerFrom(holder: Holder, request: Request): Caller {
  const { memberships } = holder
  const asked = holder.type === 'service_account' ? undefined : teamAsked(request)
  const active = asked === undefined ? memberships[0] : memberships.find(({ team }) => team === asked)
  if (!active)
    throw new HttpError(
      403,
      'not_authorized',
      asked === undefined
        ? 'You are in no team that this key is good for.'
        : `${TEAM_HEADER}: you are not in a team ${asked}, or this key is not good for it.`,
    )
  return { ...holder, ...active, session: null, ...placeOf(request) }
}

export const placeOf = (request: Request): Pick<Caller, 'address' | 'userAgent'> => ({
  address: addressOf(request),
  userAgent: request.get('user-agent') ?? null,
})

const teamAsked = (request: Request) => request.get(TEAM_HEADER) || undefined

export const callerOf = (response: Response): Caller => response.locals.caller as Caller

/** In any team, not only in the one that the request is about. Null: no member. */
export const roleIn = ({ memberships }: Caller, team: string): Role | null =>
  memberships === 'all' ? 'admin' : (memberships.find((membership) => membership.team === team)?.role ?? null)

/** The teams that they are in; of the operator, who sees everything without being in one, none. */
export const teamsOf = ({ memberships }: Caller): string[] =>
  memberships === 'all' ? [] : memberships.map(({ team }) => team)

/** Lets a request pass whose caller may do this in their team. What is about one run asks for that run's standing. */
export const permit =
  (action: Action): RequestHandler =>
  (_request, response, next) => {
    insist(callerOf(response), action)
    next()
  }

/** @throws {HttpError} 403 where the caller may not do this in their team. */
export function insist(caller: Caller, action: Action): void {
  if (!may(action, caller)) throw refused(action, caller)
}

/** Says what is missing: the key's scope, or the role. */
export function refused(action: Action, { type, role, scope }: Pick<Caller, 'type' | 'role' | 'scope'>): HttpError {
  const needed: Permission = permissions[action]
  const own = `${role === null ? 'no role' : `the role "${role}"`} and a key of scope "${scope}"`
  const why =
    needed.only === 'operator'
      ? 'only whoever has the admin key of the settings may.'
      : needed.only === 'people' && type === 'service_account'
        ? 'no service account may.'
        : `it takes the role "${needed.role}" and a key of scope "${needed.scope}", and you have ${own}.`
  return new HttpError(403, 'not_authorized', `You may not ${needed.means} (${action}): ${why}`)
}
