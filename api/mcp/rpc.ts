// The Model Context Protocol over HTTP, as a server that keeps no sessions: what an agent asks is answered at once.
import { type Request, type RequestHandler, type Response, Router } from 'express'
import { z } from 'zod'
import { TOOLS_PASS_HEADER } from '../../domain/tools.ts'
import type { CredentialHolder } from '../../secrets/gateway/credential.ts'
import { handshakeResult, ToolMessage, wantsNone } from '../../secrets/tools/handshake.ts'
import { findToolCredential } from '../../store/runs/credentials.ts'
import { bearerToken, isSameKey } from '../access/auth.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError } from '../errors.ts'
import { createRunRedactors } from '../hosts/given-secrets.ts'
import { onlyMethods, parse } from '../parse.ts'
import { callTool, type ToolDeps } from './tools.ts'

const METHOD_NOT_FOUND = -32601
const INVALID_PARAMS = -32602

/**
 * Lets an agent's call pass whose credential is good and which the gateway has handed on: the gateway knows from where
 * a credential may be used. Notes whose it is. Before a body is read.
 */
export const requireAgent =
  ({ db }: Pick<ApiDeps, 'db'>): RequestHandler =>
  async (request, response, next) => {
    const holder = await findToolCredential(db, bearerToken(request) ?? '')
    if (holder === null)
      throw new HttpError(
        401,
        'authentication_required',
        "This credential is unknown or no longer valid: it is good only while its run's sandbox is held.",
      )
    if (!isSameKey(request.get(TOOLS_PASS_HEADER) ?? '', holder.pass))
      throw new HttpError(
        403,
        'not_authorized',
        "An agent's tools are reached through the gateway (/mcp), from inside of its run's sandbox.",
      )
    response.locals.holder = holder
    next()
  }

export function mcpRoutes(api: ApiDeps): Router {
  const deps: ToolDeps = { ...api, redactorOf: createRunRedactors(api) }
  const router = Router()
  router
    .route('/')
    .post(async (request: Request, response: Response) => {
      const holder = response.locals.holder as CredentialHolder
      const body: unknown = request.body
      const messages = parse(z.array(ToolMessage).min(1).max(50), Array.isArray(body) ? body : [body])
      const answers: object[] = []
      for (const message of messages) {
        if (wantsNone(message)) continue
        answers.push({ jsonrpc: '2.0', id: message.id, ...(await answer(deps, holder, message)) })
      }
      if (answers.length === 0) response.status(202).end()
      else response.json(Array.isArray(body) ? answers : answers[0])
    })
    // There is no stream to listen to, and no session to end.
    .all(onlyMethods('POST'))
  return router
}

async function answer(deps: ToolDeps, holder: CredentialHolder, message: ToolMessage): Promise<object> {
  const { method, params = {} } = message
  const result = handshakeResult(message)
  if (result !== null) return { result }
  if (method !== 'tools/call') return { error: { code: METHOD_NOT_FOUND, message: `There is no method ${method}.` } }
  const called = await callTool(deps, holder, String(params.name), params.arguments ?? {})
  return called === null
    ? { error: { code: INVALID_PARAMS, message: `There is no tool ${String(params.name)}.` } }
    : { result: called }
}
