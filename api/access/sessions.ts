// The sessions of browsers: who one is signed in as, and ending them.
import { type Request, Router } from 'express'
import type { Config } from '../../config.ts'
import { Uid } from '../../domain/account.ts'
import { OPERATOR } from '../../domain/permission.ts'
import { type SessionAnswer, SignOut } from '../../domain/session.ts'
import { endSession, endSessionsOf, listSessions } from '../../store/accounts/sessions.ts'
import { type Actor, note } from '../../store/audit.ts'
import { HttpError, notFound } from '../errors.ts'
import { onlyMethods, parseBody } from '../parse.ts'
import { placeOf } from './caller.ts'
import { clearCookie } from './cookies.ts'
import type { IdentifyDeps } from './identify.ts'
import { csrfHeaderOf, csrfTokenOf, insistOnIntent, type OpenSession, SESSION_COOKIE, sessionOf } from './session.ts'

/** Below `/auth`. */
export function sessionRoutes(deps: IdentifyDeps): Router {
  const { config, db, keys } = deps
  const router = Router()

  router
    .route('/session')
    .get(async (request, response) => {
      response.json(sessionAnswer(config, await sessionOf(deps, request)))
    })
    .all(onlyMethods('GET'))

  router
    .route('/logout')
    .post(async (request, response) => {
      const { everywhere, csrf_token: inForm } = parseBody(SignOut, request)
      const session = await sessionOf(deps, request)
      if (session) {
        insistOnIntent(deps, request, session.token, csrfHeaderOf(request) ?? inForm)
        const caller = actorOf(session, request)
        await db.transaction().execute(async (tx) => {
          const ended = everywhere
            ? await endSessionsOf(tx, personOf(session))
            : Number(await endSession(tx, session.uid, personOf(session)))
          const thing = { type: 'session', uid: session.uid }
          await note(tx, { caller, action: 'sign_out', thing, detail: { everywhere, ended } })
        })
      }
      clearCookie(config, response, SESSION_COOKIE)
      if (request.is('application/x-www-form-urlencoded')) response.redirect(303, '/auth/login')
      else response.status(204).end()
    })
    .all(onlyMethods('POST'))

  router
    .route('/sessions')
    .get(async (request, response) => {
      const session = await insistOnSession(request)
      const idleMinutes = config.AMBIENT_SESSION_IDLE_MINUTES
      const found = await listSessions(db, { person: personOf(session), idleMinutes, operatorKey: keys.admin })
      response.json({ sessions: found.map((one) => ({ ...one, current: one.uid === session.uid })) })
    })
    .all(onlyMethods('GET'))

  router
    .route('/sessions/:sessionUid')
    .delete(async (request, response) => {
      const session = await insistOnSession(request)
      insistOnIntent(deps, request, session.token, csrfHeaderOf(request))
      const uid = Uid.safeParse(request.params.sessionUid)
      const isEnded = await db.transaction().execute(async (tx) => {
        if (!uid.success || !(await endSession(tx, uid.data, personOf(session)))) return false
        const thing = { type: 'session', uid: uid.data }
        await note(tx, {
          caller: actorOf(session, request),
          action: 'sign_out',
          thing,
          detail: { everywhere: false, ended: 1 },
        })
        return true
      })
      if (!isEnded) throw notFound(`You have no session ${String(request.params.sessionUid)}.`)
      response.status(204).end()
    })
    .all(onlyMethods('DELETE'))

  return router

  async function insistOnSession(request: Request): Promise<OpenSession> {
    const session = await sessionOf(deps, request)
    if (session === null) throw new HttpError(401, 'authentication_required', 'Nobody is signed in with this browser.')
    return session
  }
}

/** Null: the operator. */
const personOf = ({ holder }: OpenSession): string | null => holder?.uid ?? null

const actorOf = ({ uid, holder }: OpenSession, request: Request): Actor => ({
  ...(holder ?? { ...OPERATOR, name: 'Operator' }),
  key: null,
  session: uid,
  team: holder?.memberships[0]?.team ?? null,
  ...placeOf(request),
})

/** Who a browser is signed in as, if anybody, and how it could sign in. */
export function sessionAnswer(config: Config, session: OpenSession | null): SessionAnswer {
  const issuer = config.AMBIENT_OIDC_ISSUER
  return {
    signed_in: session !== null,
    session: session && {
      uid: session.uid,
      type: session.holder === null ? 'operator' : 'user',
      person_uid: session.holder?.uid ?? OPERATOR.uid,
      display_name: session.holder?.name ?? 'Operator',
      email: session.holder?.email ?? null,
      scope: session.holder?.scope ?? 'admin',
      expires_at: session.expiresAt.toISOString(),
      csrf_token: csrfTokenOf(session.token),
    },
    methods: {
      key: true,
      oidc: issuer === undefined ? null : { provider: new URL(issuer).host, url: '/auth/login?with=oidc' },
    },
  }
}
