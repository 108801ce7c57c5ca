// Who is let near one run: the one place that says so.
import type { Request, Response } from 'express'
import type { Profile } from '../../domain/account.ts'
import { type Action, isSame, may, type ShareLevel, type Standing } from '../../domain/permission.ts'
import type { RunItem } from '../../domain/run.ts'
import type { Reach } from '../../store/runs/cascade.ts'
import { findStanding, type Reader, type RunStanding, type Visibility } from '../../store/runs/run-access.ts'
import { type Caller, callerOf, refused, roleIn, teamsOf } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { notFound } from '../errors.ts'
import { runId } from '../parse.ts'

/** A share by link that came with a request: it is good for this run alone. Kept in `response.locals.link`. */
export interface LinkAccess {
  runId: string
  level: ShareLevel
}

/**
 * The run of the path, if the caller may do this with it.
 * @throws {HttpError} 404 where they may not even see it, as if there were none; 403 where they may see it.
 */
export async function runFor(
  deps: Pick<ApiDeps, 'db'>,
  request: Request,
  response: Response,
  action: Action,
): Promise<RunStanding> {
  return await runById(deps.db, response, runId(request), action)
}

/** As {@link runFor}, of a run that is not named by the path. */
export async function runById(
  db: Parameters<typeof findStanding>[0],
  response: Response,
  id: string,
  action: Action,
): Promise<RunStanding> {
  const caller = callerOf(response)
  const run = await findStanding(db, id, readerOf(caller))
  const standing = run && standingOf(caller, run, response.locals.link as LinkAccess | undefined)
  if (!run || !standing || !may('runs.view', standing)) throw notFound(`There is no run ${id}.`)
  if (!may(action, standing)) throw refused(action, standing)
  return run
}

function standingOf(caller: Caller, run: RunStanding, link: LinkAccess | undefined): Standing {
  const { type, scope } = caller
  const role = roleIn(caller, run.team)
  const isOwner = isSame(run.createdBy, caller)
  const byLink = link?.runId === run.id ? link.level : null
  return {
    type,
    scope,
    // Of a personal run the rest of the team knows nothing.
    role: run.scope === 'User' && role !== 'admin' && !isOwner ? null : role,
    isOwner,
    shared: run.shared === 'steer' || byLink === 'steer' ? 'steer' : (run.shared ?? byLink),
  }
}

/** Whose children the caller may cancel together with a run of this team: what they could cancel one by one. */
export function reachIn(caller: Caller, team: string): Reach {
  const role = roleIn(caller, team)
  const own = { type: caller.type, uid: caller.uid }
  if (role === 'admin') return 'all'
  return role === null ? 'itself' : { own, ofTeam: may('runs.cancel', { ...caller, role }) }
}

/** Whether a link alone lets the caller see a run of this team. */
export const isByLinkAlone = (response: Response, team: string): boolean =>
  response.locals.link !== undefined && response.locals.link !== null && roleIn(callerOf(response), team) === null

/** A run as strangers are shown it: nobody's e-mail address, which many also have as their name. */
export const withoutAddresses = <T extends Pick<RunItem, 'creator' | 'executor'>>(run: T): T => ({
  ...run,
  ...(run.creator && { creator: withoutAddress(run.creator) }),
  ...(run.executor && { executor: withoutAddress(run.executor) }),
})

const withoutAddress = (profile: Profile): Profile => ({
  ...profile,
  email: null,
  display_name: profile.display_name?.includes('@') ? null : profile.display_name,
})

/** As whom runs are shared with the caller. */
export const readerOf = (caller: Caller): Reader => ({
  type: caller.type,
  uid: caller.uid,
  teams: teamsOf(caller),
  keyTeam: caller.key?.team ?? null,
})

/** Which runs of their team the caller sees. */
export const visibleTo = ({ type, uid, team, role }: Caller): Visibility => ({
  team,
  own: role === 'admin' ? null : { type, uid },
})
