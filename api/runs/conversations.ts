// What was said in a run, or in a conversation of several: as steps, and as it was written down.
import { type Request, type Response, Router } from 'express'
import { ConversationReader, type Piece } from '../../domain/conversation.ts'
import type { Role } from '../../domain/permission.ts'
import type { Queryable } from '../../store/database.ts'
import { usageTogether } from '../../store/money/usage.ts'
import { findConversation } from '../../store/runs/conversations.ts'
import { readAllEvents } from '../../store/runs/events.ts'
import { callerOf, roleIn } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, notFound } from '../errors.ts'
import { absolute, isSigned, signLink } from '../links.ts'
import { onlyMethods, pathId, queryOf } from '../parse.ts'
import { pipeUnlessGone } from '../send.ts'
import { runById, runFor, visibleTo } from './run-access.ts'

export function conversationRoutes(deps: ApiDeps): Router {
  const router = Router()

  router
    .route('/runs/:runId/conversation')
    .get(async (request, response) => {
      const { id } = await runFor(deps, request, response, 'runs.view')
      await sendConversation(deps, response, id, [id])
    })
    .all(onlyMethods('GET'))
  router
    .route('/runs/:runId/transcript')
    .get(async (request, response) => {
      const { id } = await runFor(deps, request, response, 'runs.view')
      redirectToTranscript(deps, request, response, [id])
    })
    .all(onlyMethods('GET'))

  router
    .route('/conversations/:conversationId')
    .get(async (request, response) => {
      const id = pathId(request, 'conversationId', 'conversation')
      await sendConversation(deps, response, id, await runsOf(deps, response, id))
    })
    .all(onlyMethods('GET'))
  router
    .route('/conversations/:conversationId/transcript')
    .get(async (request, response) => {
      const id = pathId(request, 'conversationId', 'conversation')
      redirectToTranscript(deps, request, response, await runsOf(deps, response, id))
    })
    .all(onlyMethods('GET'))

  return router
}

/** Served before any key is asked for. */
export function transcriptLinkRoutes({ db, keys }: Pick<ApiDeps, 'db' | 'keys'>): Router {
  const router = Router()
  router
    .route('/transcripts/:runIds')
    .get(async (request, response) => {
      const { runIds } = request.params
      if (!isSigned(keys.links, pathOf(runIds.split(',')), queryOf(request)))
        throw new HttpError(403, 'not_authorized', 'This link is not valid, or not any more. Ask for a new one.')
      response.set({ 'cache-control': 'private, no-store', 'x-content-type-options': 'nosniff' })
      await send(response, 'application/x-ndjson', transcriptOf(db, runIds.split(',')))
    })
    .all(onlyMethods('GET'))
  return router
}

const pathOf = (runIds: readonly string[]) => `/transcripts/${runIds.join(',')}`

function redirectToTranscript(
  { keys, config }: Pick<ApiDeps, 'keys' | 'config'>,
  request: Request,
  response: Response,
  runIds: readonly string[],
): void {
  const link = signLink(keys.links, pathOf(runIds), config.AMBIENT_LINK_MINUTES * 60)
  response.redirect(302, absolute(config, request, link.path))
}

/** The runs of a conversation that the caller may see. @throws {HttpError} 404 where there is none. */
async function runsOf({ db }: Pick<ApiDeps, 'db'>, response: Response, id: string): Promise<string[]> {
  const caller = callerOf(response)
  const seenIn = async (team: string, role: Role | null) =>
    (await findConversation(db, id, visibleTo({ ...caller, team, role }))).map(({ id: runId }) => runId)
  const runs = await seenIn(caller.team, caller.role)
  if (runs.length > 0) return runs
  // It may be of another team: of one of theirs, or the run that it began with be shared with them.
  const { team } = await runById(db, response, id, 'runs.view').catch((error: unknown) => {
    throw error instanceof HttpError && error.status === 404 ? notFound(`There is no conversation ${id}.`) : error
  })
  const role = roleIn(caller, team)
  const ofTheirs = role === null ? [] : await seenIn(team, role)
  return ofTheirs.length > 0 ? ofTheirs : [id]
}

function sendConversation(
  { db }: Pick<ApiDeps, 'db'>,
  response: Response,
  id: string,
  runIds: readonly string[],
): Promise<void> {
  return send(response, 'application/json', conversationOf(db, id, runIds))
}

async function send(response: Response, type: string, pieces: AsyncGenerator<string>): Promise<void> {
  response.type(type)
  await pipeUnlessGone(pieces, response)
}

/** One event a line. */
async function* transcriptOf(db: Queryable, runIds: readonly string[]): AsyncGenerator<string> {
  for (const runId of runIds)
    for await (const event of readAllEvents(db, runId)) yield `${JSON.stringify({ run_id: runId, ...event })}\n`
}

/** A ConversationResponse, written as it is read. */
async function* conversationOf(db: Queryable, id: string, runIds: readonly string[]): AsyncGenerator<string> {
  const write = writer()
  const usage = await usageTogether(db, runIds)
  yield `{"conversation_id":${JSON.stringify(id)},"request_usage":${JSON.stringify(usage)},"steps":[`
  for (const runId of runIds) {
    const reader = new ConversationReader(runId)
    for await (const event of readAllEvents(db, runId)) for (const piece of reader.read(event)) yield write(piece)
    for (const piece of reader.end(null)) yield write(piece)
  }
  yield ']}'
}

/** Pieces as JSON: of the commas, it knows where they go. */
function writer(): (piece: Piece) => string {
  let steps = 0
  let messages = 0
  return (piece) => {
    switch (piece.kind) {
      case 'step':
        messages = 0
        return `${steps++ > 0 ? ',' : ''}${JSON.stringify(piece.step).slice(0, -1)},"messages":[`
      case 'message':
        return `${messages++ > 0 ? ',' : ''}${JSON.stringify(piece.message)}`
      case 'end':
        return `],"steps":[]${piece.completedAt === null ? '' : `,"completed_at":${JSON.stringify(piece.completedAt)}`}}`
    }
  }
}
