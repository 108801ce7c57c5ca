// Who makes a request, and whether they may.
import type { Request, RequestHandler, Response } from 'express'
import { type Action, may, type Role, type Scope } from '../domain/permission.ts'
import { DEFAULT_TEAM } from '../store/teams.ts'
import { bearerToken, isSameKey } from './auth.ts'
import type { ApiDeps } from './deps.ts'
import { HttpError } from './errors.ts'

/** Oz's header for whoever is in several teams. */
export const TEAM_HEADER = 'x-warp-team-uid'

export interface Caller {
  type: 'operator' | 'user' | 'service_account'
  /** Of the user or service account; `operator` for the key of the settings. */
  uid: string
  /** The team that the request is about. */
  team: string
  /** In that team. */
  role: Role
  /** What the key is good for at most. */
  scope: Scope
}

/** Lets a request pass whose key is valid, and notes who makes it. */
export function identify({ keys }: Pick<ApiDeps, 'keys'>): RequestHandler {
  return (request, response, next) => {
    if (!isSameKey(bearerToken(request), keys.admin))
      throw new HttpError(401, 'authentication_required', 'This key is not valid here.')
    const team = teamAsked(request) ?? DEFAULT_TEAM
    response.locals.caller = { type: 'operator', uid: 'operator', team, role: 'admin', scope: 'admin' } satisfies Caller
    next()
  }
}

const teamAsked = (request: Request) => request.get(TEAM_HEADER) || undefined

export const callerOf = (response: Response): Caller => response.locals.caller as Caller

/** Lets a request pass whose caller may do this in their team. What is about one run asks for that run's standing. */
export const permit =
  (action: Action): RequestHandler =>
  (_request, response, next) => {
    const caller = callerOf(response)
    if (!may(action, caller)) throw refused(action, caller)
    next()
  }

/** Says what is missing: the key's scope, or the role. */
export const refused = (action: Action, { role, scope }: Caller): HttpError =>
  new HttpError(
    403,
    'not_authorized',
    `${action} is not allowed for the role "${role}" with a key of scope "${scope}".`,
  )
