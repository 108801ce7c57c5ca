// From a conversation to its live session and back, as official clients ask: without a key, and always answered with 200.
// The ids are random and shown to nobody who may not see the run, so whoever has one was told; there is nothing else to learn.
import { Router } from 'express'
import type { ConversationRedirect, SessionRedirect } from '../../domain/redirect.ts'
import { conversationOf, liveSession } from '../../store/runs/redirects.ts'
import type { ApiDeps } from '../deps.ts'
import { isUuid, onlyMethods } from '../parse.ts'

export function redirectRoutes({ db }: Pick<ApiDeps, 'db'>): Router {
  const router = Router()

  router
    .route('/conversations/:conversationId/redirect')
    .get(async (request, response) => {
      const id = request.params.conversationId
      const session = isUuid(id) ? await liveSession(db, id) : null
      response.json((session === null ? {} : { session_id: session }) satisfies ConversationRedirect)
    })
    .all(onlyMethods('GET'))

  router
    .route('/sessions/:sessionUuid/redirect')
    .get(async (request, response) => {
      const id = request.params.sessionUuid
      const conversation = isUuid(id) ? await conversationOf(db, id) : null
      response.json((conversation === null ? {} : { conversation_id: conversation }) satisfies SessionRedirect)
    })
    .all(onlyMethods('GET'))

  return router
}
