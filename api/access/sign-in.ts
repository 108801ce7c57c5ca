// Signing in with a browser: by a key, or by a provider of identities.
import { randomBytes } from 'node:crypto'
import { type Request, type Response, Router } from 'express'
import type { Logger } from 'pino'
import { publicUrl } from '../../config.ts'
import { SignIn } from '../../domain/session.ts'
import { findPersonHolder } from '../../store/accounts/people.ts'
import { createSession, endSession, type SessionOwner } from '../../store/accounts/sessions.ts'
import { admitPerson, rememberSignIn, takeSignIn } from '../../store/accounts/sign-in.ts'
import { type Actor, note } from '../../store/audit.ts'
import type { Tx } from '../../store/database.ts'
import { HttpError, notFound } from '../errors.ts'
import { onlyMethods, parseBody, queryOf } from '../parse.ts'
import { placeOf } from './caller.ts'
import { clearCookie, readCookie, setCookie } from './cookies.ts'
import { callerByKey, type IdentifyDeps } from './identify.ts'
import type { OidcClient } from './oidc.ts'
import { type OidcSettings, oidcSettings } from './oidc-settings.ts'
import { createRefusals } from './refusals.ts'
import { csrfTokenOf, insistOnOwnOrigin, SESSION_COOKIE, sessionBy, sessionOf } from './session.ts'
import { sessionAnswer } from './sessions.ts'
import { sendSignInPage } from './sign-in-page.ts'
import { type SignInTrouble, StrayCallbackError, troubleOf } from './sign-in-trouble.ts'

/** Where somebody is who has signed in without having wanted to be anywhere. */
export const SIGN_IN_PATH = '/auth/login'
/** Holds what belongs to a sign-in under way: its token, and where it leads. */
const SIGN_IN_COOKIE = 'sign_in'
const SIGN_IN_SECONDS = 15 * 60
const TOKEN_BYTES = 32

export type SignInDeps = IdentifyDeps & { log: Logger }

/** Below `/auth`. @throws {ConfigError} for settings that do not fit together. */
export function signInRoutes(deps: SignInDeps): Router {
  const { config, db, attempts, log } = deps
  const router = Router()
  const settings = oidcSettings(config)
  const provider = settings && providerOf(settings)
  const providerName = settings && new URL(settings.issuer).host
  const refusals = createRefusals()
  const redirectUri = `${publicUrl(config)}/auth/callback`

  router
    .route('/login')
    .get(async (request, response) => {
      const query = queryOf(request)
      const returnTo = pathWithin(query.get('return_to'))
      if (query.get('with') === 'oidc') return await goToProvider(request, response, returnTo)
      const session = await sessionOf(deps, request)
      sendSignInPage(response, 200, {
        returnTo,
        provider: providerName,
        signedIn: session && {
          name: session.holder?.name ?? 'Operator',
          csrfToken: csrfTokenOf(session.token),
        },
      })
    })
    .post(async (request, response) => {
      insistOnOwnOrigin(deps, request)
      const { key, return_to: asked } = parseBody(SignIn, request)
      const returnTo = pathWithin(asked)
      try {
        const caller = await callerByKey(deps, request, key)
        if (caller.type === 'service_account')
          throw new HttpError(403, 'not_authorized', 'A service account does not sign in. Use a key of your own.')
        const owner: SessionOwner =
          caller.type === 'operator'
            ? { operatorKey: deps.keys.admin }
            : { person: caller.uid, keyUid: caller.key?.uid ?? null }
        const token = await begin(request, response, 'key', async () => ({ owner, actor: caller }))
        if (isForm(request)) response.redirect(303, returnTo)
        else response.json(sessionAnswer(config, await sessionBy(deps, token)))
      } catch (error) {
        await refuse(request, response, error, { method: 'key', returnTo, asPage: isForm(request) })
      }
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/callback')
    .get(async (request, response) => {
      const [token = '', path = ''] = (readCookie(config, request, SIGN_IN_COOKIE) ?? '').split('.')
      const returnTo = pathWithin(Buffer.from(path, 'base64url').toString('utf8'))
      clearCookie(config, response, SIGN_IN_COOKIE)
      try {
        if (settings === null || provider === null) throw new StrayCallbackError('There is no provider.')
        const pending = await takeSignIn(db, token)
        if (pending === null) throw new StrayCallbackError('The browser has no sign-in under way.')
        const callback = new URL(`${redirectUri}?${queryOf(request)}`)
        const identity = await (await provider()).finish(callback, pending)
        await begin(request, response, 'oidc', async (tx) => {
          const person = await admitPerson(tx, identity, settings.admission, placeOf(request))
          const holder = await findPersonHolder(tx, person)
          const actor: Actor = {
            ...placeOf(request),
            type: 'user',
            uid: person,
            name: holder?.name ?? null,
            team: holder?.memberships[0]?.team ?? null,
          }
          return { owner: { person, keyUid: null }, actor }
        })
        response.redirect(303, returnTo)
      } catch (error) {
        const asPage = request.accepts(['json', 'html']) === 'html'
        await refuse(request, response, error, { method: 'oidc', returnTo, asPage })
      }
    })
    .all(onlyMethods('GET'))

  return router

  async function goToProvider(request: Request, response: Response, returnTo: string): Promise<void> {
    if (provider === null) throw notFound('There is no provider of identities here: AMBIENT_OIDC_ISSUER is not set.')
    try {
      const pending = { state: randomToken(), nonce: randomToken(), verifier: randomToken() }
      const url = await (await provider()).begin(pending, redirectUri)
      const token = randomToken()
      await rememberSignIn(db, token, pending)
      // The way back stays with the browser: it may be a share link, which is nothing to be written down.
      const value = `${token}.${Buffer.from(returnTo).toString('base64url')}`
      setCookie(config, response, { name: SIGN_IN_COOKIE, value, seconds: SIGN_IN_SECONDS })
      response.redirect(302, url.href)
    } catch (error) {
      await refuse(request, response, error, { method: 'oidc', returnTo, asPage: true })
    }
  }

  /** Begins a session, in the place of the one that the browser had. @returns its token. */
  async function begin(
    request: Request,
    response: Response,
    method: Method,
    admit: (tx: Tx) => Promise<{ owner: SessionOwner; actor: Actor }>,
  ): Promise<string> {
    const token = randomToken()
    const before = await sessionOf(deps, request)
    const hours = config.AMBIENT_SESSION_HOURS
    await db.transaction().execute(async (tx) => {
      const { owner, actor } = await admit(tx)
      const uid = await createSession(tx, { token, owner, hours, ...placeOf(request) })
      if (before) await endSession(tx, before.uid, before.holder?.uid ?? null)
      const thing = { type: 'session', uid, team: actor.team ?? null }
      await note(tx, { caller: { ...actor, session: uid }, action: 'sign_in', thing, detail: { method } })
    })
    setCookie(config, response, { name: SESSION_COOKIE, value: token, seconds: hours * 3600 })
    return token
  }

  /** Tells whoever does not get in why, and the audit log. What is no refusal is thrown on. */
  async function refuse(
    request: Request,
    response: Response,
    error: unknown,
    { method, returnTo, asPage }: { method: Method; returnTo: string; asPage: boolean },
  ): Promise<void> {
    const trouble = troubleOf(error) ?? keyTrouble(error)
    if (trouble === null) throw error
    const { problem, reason, person } = trouble
    // A key's own check has counted it.
    if (method === 'oidc' && problem.status === 400) attempts.fail(request)
    const cause = problem.cause instanceof Error ? problem.cause.message : undefined
    log.info({ method, reason, cause, address: placeOf(request).address }, 'a sign-in was refused')
    const counted = refusals.count(request)
    if (counted !== null) {
      const who =
        person === null ? { type: 'unknown' as const, uid: 'unknown' } : { type: 'user' as const, uid: person }
      const caller: Actor = { ...who, ...placeOf(request) }
      const detail = { method, reason, ...(counted.unnoted > 0 && counted) }
      await db.transaction().execute((tx) => note(tx, { caller, action: 'sign_in.refused', detail }))
    }
    if (!asPage) throw problem
    sendSignInPage(response, problem.status, { returnTo, provider: providerName, problem: problem.message })
  }
}

type Method = 'key' | 'oidc'

/** Of a key that does not let in; its limit is not noted each time. */
function keyTrouble(error: unknown): SignInTrouble | null {
  const isRefusal = error instanceof HttpError && (error.status === 401 || error.status === 403)
  return isRefusal ? { problem: error, reason: error.code, person: null } : null
}

/** The libraries are loaded, and the provider asked, when the first person comes. */
function providerOf(settings: OidcSettings): () => Promise<OidcClient> {
  let client: Promise<OidcClient> | null = null
  return () => {
    client ??= import('./oidc.ts').then(({ createOidcClient }) => createOidcClient(settings))
    return client
  }
}

const randomToken = () => randomBytes(TOKEN_BYTES).toString('base64url')

const isForm = (request: Request) => Boolean(request.is('application/x-www-form-urlencoded'))

/** A path of this server and never of another one, whatever was asked for. */
function pathWithin(asked: string | null | undefined): string {
  const base = 'http://here.invalid'
  if (!asked?.startsWith('/') || !URL.canParse(asked, base)) return SIGN_IN_PATH
  const { origin, pathname, search, hash } = new URL(asked, base)
  return origin === base && !pathname.startsWith('//') ? `${pathname}${search}${hash}` : SIGN_IN_PATH
}
