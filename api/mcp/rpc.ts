// The Model Context Protocol over HTTP, as a server that keeps no sessions: what an agent asks is answered at once.
import { type Request, type RequestHandler, type Response, Router } from 'express'
import { z } from 'zod'
import { version } from '../../config.ts'
import { TOOLS_SERVER } from '../../domain/tools.ts'
import type { CredentialHolder } from '../../secrets/credential.ts'
import { findToolCredential } from '../../store/runs/credentials.ts'
import { bearerToken } from '../access/auth.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError } from '../errors.ts'
import { onlyMethods, parse } from '../parse.ts'
import { callTool, toolList } from './tools.ts'

/** Newest first. A client that speaks another one is offered the first. */
const PROTOCOLS = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05']

const INSTRUCTIONS =
  'Tools of Ambient, the system that runs you in the background. Nobody watches you work: hand over results with report_artifact, and ask with ask_person what only a person can decide.'

const id = z.union([z.string(), z.number()])
const Message = z.looseObject({
  jsonrpc: z.literal('2.0'),
  id: id.nullish(),
  method: z.string().optional(),
  params: z.record(z.string(), z.unknown()).optional(),
})
type Message = z.infer<typeof Message>

const METHOD_NOT_FOUND = -32601
const INVALID_PARAMS = -32602

/** Lets an agent pass whose credential is good, and notes whose it is. Before a body is read. */
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
    response.locals.holder = holder
    next()
  }

export function mcpRoutes(deps: ApiDeps): Router {
  const router = Router()
  router
    .route('/')
    .post(async (request: Request, response: Response) => {
      const holder = response.locals.holder as CredentialHolder
      const body: unknown = request.body
      const messages = parse(z.array(Message).min(1).max(50), Array.isArray(body) ? body : [body])
      const answers: object[] = []
      for (const message of messages) {
        // Answers and notifications want none.
        if (message.method === undefined || message.id == null) continue
        answers.push({ jsonrpc: '2.0', id: message.id, ...(await answer(deps, holder, message.method, message)) })
      }
      if (answers.length === 0) response.status(202).end()
      else response.json(Array.isArray(body) ? answers : answers[0])
    })
    // There is no stream to listen to, and no session to end.
    .all(onlyMethods('POST'))
  return router
}

async function answer(
  deps: ApiDeps,
  holder: CredentialHolder,
  method: string,
  { params = {} }: Message,
): Promise<object> {
  switch (method) {
    case 'initialize': {
      const asked = PROTOCOLS.find((protocol) => protocol === params.protocolVersion)
      return {
        result: {
          protocolVersion: asked ?? PROTOCOLS[0],
          capabilities: { tools: {} },
          serverInfo: { name: TOOLS_SERVER, version },
          instructions: INSTRUCTIONS,
        },
      }
    }
    case 'ping':
      return { result: {} }
    case 'tools/list':
      return { result: { tools: toolList } }
    case 'tools/call': {
      const result = await callTool(deps, holder, String(params.name), params.arguments ?? {})
      if (result === null)
        return { error: { code: INVALID_PARAMS, message: `There is no tool ${String(params.name)}.` } }
      return { result }
    }
    default:
      return { error: { code: METHOD_NOT_FOUND, message: `There is no method ${method}.` } }
  }
}
