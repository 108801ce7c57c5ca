// Who makes a request with a browser: the session in its cookie, and that the request was meant.
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Request } from 'express'
import { publicUrl } from '../../config.ts'
import { CSRF_HEADER } from '../../domain/session.ts'
import { findSession, type Session } from '../../store/accounts/sessions.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError } from '../errors.ts'
import { type Caller, callerFrom, operatorOf } from './caller.ts'
import { readCookie } from './cookies.ts'

export const SESSION_COOKIE = 'session'

type Deps = Pick<ApiDeps, 'config' | 'db' | 'keys'>

/** A session that can be used, with what its browser keeps of it. */
export type OpenSession = Session & { token: string }

/** The session of the request's cookie. Null without one that can still be used. */
export async function sessionOf(deps: Deps, request: Request): Promise<OpenSession | null> {
  const token = readCookie(deps.config, request, SESSION_COOKIE)
  return token === null ? null : await sessionBy(deps, token)
}

export async function sessionBy({ config, db, keys }: Deps, token: string): Promise<OpenSession | null> {
  const idleMinutes = config.AMBIENT_SESSION_IDLE_MINUTES
  const session = await findSession(db, { token, idleMinutes, operatorKey: keys.admin })
  return session && { ...session, token }
}

/**
 * Who is behind the request's cookie; null without a session.
 * @throws {HttpError} 403 for a request that changes something and does not show that it comes from our own pages.
 */
export async function callerBySession(deps: Deps, request: Request): Promise<Caller | null> {
  const session = await sessionOf(deps, request)
  if (session === null) return null
  if (!isSafe(request)) insistOnIntent(deps, request, session.token, csrfHeaderOf(request))
  const { holder } = session
  const caller = holder === null ? await operatorOf(deps.db, request) : callerFrom(holder, request)
  return { ...caller, session: session.uid }
}

const isSafe = ({ method }: Request) => method === 'GET' || method === 'HEAD' || method === 'OPTIONS'

/** Of the session, and told to our own pages alone: a page of another origin can send the cookie, and cannot read this. */
export const csrfTokenOf = (sessionToken: string): string =>
  createHmac('sha256', sessionToken).update('csrf').digest('base64url')

export const csrfHeaderOf = (request: Request): string | undefined => request.get(CSRF_HEADER)

/** @throws {HttpError} 403 */
export function insistOnIntent(
  { config }: Pick<Deps, 'config'>,
  request: Request,
  sessionToken: string,
  given: string | undefined,
): void {
  insistOnOwnOrigin({ config }, request)
  const [wanted, shown] = [csrfTokenOf(sessionToken), given ?? ''].map((text) => Buffer.from(text))
  if (!wanted || !shown || wanted.length !== shown.length || !timingSafeEqual(wanted, shown))
    throw new HttpError(
      403,
      'not_authorized',
      `A session in a browser needs the header ${CSRF_HEADER} for this, with the csrf_token of GET /auth/session.`,
    )
}

/** Browsers say from which origin's page a request comes. @throws {HttpError} 403 for any other than ours, or none. */
export function insistOnOwnOrigin({ config }: Pick<Deps, 'config'>, request: Request): void {
  const origin = request.get('origin') ?? ''
  if (origin === new URL(publicUrl(config)).origin || origin === ownLoopback(request)) return
  throw new HttpError(
    403,
    'not_authorized',
    `This request has to come from a page of this server, ${publicUrl(config)}, by its Origin header.`,
  )
}

/** A server on the same machine is found by several names, none of which a page from elsewhere can have. */
function ownLoopback(request: Request): string | null {
  const host = request.get('host') ?? ''
  return /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(host) ? `http://${host}` : null
}
