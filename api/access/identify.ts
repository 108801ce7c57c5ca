// The ways in which a request says who makes it: a key, a browser's session, a share link.
import type { Request, RequestHandler, Response } from 'express'
import { SHARE_HEADER, SHARE_PARAMETER } from '../../domain/session.ts'
import { findHolder, isKnownKey } from '../../store/accounts/api-keys.ts'
import { findShareLink, type ShareLink } from '../../store/accounts/share-links.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError } from '../errors.ts'
import { queryOf } from '../parse.ts'
import type { LinkAccess } from '../runs/run-access.ts'
import type { Attempts } from './attempts.ts'
import { bearerToken, isSameKey } from './auth.ts'
import { type Caller, callerFrom, operatorOf, placeOf } from './caller.ts'
import { callerBySession } from './session.ts'

export type IdentifyDeps = Pick<ApiDeps, 'config' | 'db' | 'keys'> & { attempts: Attempts }

/** Lets a request pass that says who makes it, and notes who that is. A key counts before a session, and a link beside both. */
export function identify(deps: IdentifyDeps): RequestHandler {
  return async (request, response, next) => {
    const look = async () => {
      const link = await linkOf(deps, request)
      response.locals.link = link && ({ runId: link.runId, level: link.level } satisfies LinkAccess)
      response.locals.caller = await callerFor(deps, request, link)
    }
    response.locals.lookAgain = look
    await look()
    next()
  }
}

/**
 * Whether the caller may not do it any more, while an answer goes on: a key is
 * revoked, a share or a membership ends. `ask` throws as at the beginning.
 * @throws what is wrong with the server itself.
 */
export async function isRefusedNow(response: Response, ask: () => Promise<unknown>): Promise<boolean> {
  try {
    await (response.locals.lookAgain as () => Promise<void>)()
    await ask()
    return false
  } catch (error) {
    if (error instanceof HttpError && [401, 403, 404].includes(error.status)) return true
    throw error
  }
}

async function callerFor(deps: IdentifyDeps, request: Request, link: ShareLink | null): Promise<Caller> {
  if (request.get('authorization') !== undefined) return await callerByKey(deps, request, bearerToken(request))
  const caller = await callerBySession(deps, request)
  if (caller) return caller
  if (link?.isPublic && isViewOf(link, request)) return viewerBy(link, request)
  if (link) throw unauthenticated('This link is good only for somebody who has signed in.')
  throw unauthenticated('Send the key as "Authorization: Bearer <key>".')
}

/** Who has this key. @throws {HttpError} 401 where nobody has; instead of it 429 from an address that was wrong too often. */
export async function callerByKey(deps: IdentifyDeps, request: Request, key: string): Promise<Caller> {
  const { db, keys, attempts } = deps
  if (isSameKey(key, keys.admin)) return await operatorOf(db, request)
  const holder = await findHolder(db, key)
  if (holder) return callerFrom(holder, request)
  // Whoever has a key that was good once guesses nothing.
  if (!(await isKnownKey(db, key))) attempts.fail(request)
  throw unauthenticated('This key is not valid here: it is unknown, revoked or expired, or its owner is disabled.')
}

async function linkOf({ db, attempts }: IdentifyDeps, request: Request): Promise<ShareLink | null> {
  const token = request.get(SHARE_HEADER) || queryOf(request).get(SHARE_PARAMETER)
  return token ? await linkBy({ db, attempts }, request, token) : null
}

/** What the link is good for; null where it is none, or good no longer. @throws {HttpError} 429 instead of null from an address that was wrong too often. */
export async function linkBy(
  { db, attempts }: Pick<IdentifyDeps, 'db' | 'attempts'>,
  request: Request,
  token: string,
): Promise<ShareLink | null> {
  const link = await findShareLink(db, token)
  if (link === null) attempts.fail(request)
  return link
}

/** Nobody but the link vouches for such a request, so it may read its run, and what lies below that, and nothing else. */
function isViewOf({ runId }: ShareLink, { method, path }: Request): boolean {
  const below = `/runs/${runId}`
  const asked = path.toLowerCase()
  // Whose an artifact is, its own route finds out.
  const isBelow = asked === below || asked.startsWith(`${below}/`) || asked.startsWith('/artifacts/')
  return isBelow && (method === 'GET' || method === 'HEAD')
}

/** Somebody of whom nothing is known but the link that they have. */
const viewerBy = ({ uid, team }: ShareLink, request: Request): Caller => ({
  type: 'user',
  uid: `link ${uid}`,
  name: 'Share link',
  email: null,
  team,
  role: null,
  scope: 'read',
  memberships: [],
  key: null,
  session: null,
  ...placeOf(request),
})

const unauthenticated = (detail: string) => new HttpError(401, 'authentication_required', detail)
