// The way of sandboxes to the MCP servers of their run: the real URL and headers stay on this side.
import type http from 'node:http'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { request as ask, type Dispatcher } from 'undici'
import { MCP_ENDPOINT_HEADER, MCP_SERVERS_PATH } from '../../domain/mcp/server.ts'
import type { Place } from '../gateway/binding.ts'
import { type CredentialHolder, readCredential } from '../gateway/credential.ts'
import type { ResolvedServer } from './resolve.ts'

export interface McpDoor {
  /** Whether the path is one of this door's. */
  has(path: string): boolean
  /** Answers a call; resolves when the answer is out. */
  handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void>
}

/** What the protocol itself says, and nothing else. */
const asked = ['content-type', 'content-length', 'accept', 'mcp-session-id', 'mcp-protocol-version', 'last-event-id']
const answered = ['content-type', 'cache-control', 'mcp-session-id', 'retry-after', 'allow']
/** How long it may be unknown where a sandbox is, and how often it is looked up; in milliseconds. */
const PLACE_MS = 10_000
const PAUSE_MS = 200
/** A sentence of whoever refuses us, in characters. */
const REASON_CHARS = 300

type Holder = Pick<CredentialHolder, 'runId' | 'execution'>
type Reached = Extract<ResolvedServer, { type: 'http' | 'sse' }>

export function createMcpDoor(options: {
  authorize(token: string): Promise<Holder | null>
  /** Whether a call comes from the sandbox that its credential is for. */
  place(holder: Holder, request: http.IncomingMessage): Promise<Place>
  /** Null: the run has no such server. */
  resolve(runId: string, name: string): Promise<ResolvedServer | null>
  /** The way to addresses that may be reached. */
  dispatcher: Dispatcher
  log: Pick<Logger, 'warn'>
}): McpDoor {
  async function answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const [path = '', query = ''] = (request.url ?? '').split('?')
    const [name = '', ...rest] = path.slice(MCP_SERVERS_PATH.length + 1).split('/')
    const token = readCredential(request.headers, query)
    const holder = token === null ? null : await options.authorize(token)
    if (holder === null) return refuse(response, 401, "This credential is good only while its run's sandbox is held.")
    const place = await settledPlace(holder, request)
    if (place === 'outside') {
      options.log.warn(
        { run: holder.runId, peer: request.socket.remoteAddress },
        'credential used from outside its sandbox',
      )
      return refuse(response, 403, "This credential is good only inside of its run's sandbox.")
    }
    if (place === 'not yet') return refuse(response, 503, "The run's host has not yet said where its sandbox is.")
    const server = await options.resolve(holder.runId, decode(name))
    if (server === null) return refuse(response, 404, `The run has no MCP server ${decode(name)}.`)
    if (server.type === 'trouble') return refuse(response, 424, server.message)
    if (server.type === 'stdio') {
      if (rest.join('/') !== 'command' || request.method !== 'GET')
        return refuse(response, 404, `The MCP server ${decode(name)} is a command.`)
      const { type: _, ...command } = server
      return sendJson(response, 200, command)
    }
    if (rest.length > 0) return refuse(response, 404, `The MCP server ${decode(name)} is no command.`)
    await pass(server, request, response)
  }

  /** A host tells where its sandbox is while the agent comes up, and agents ask for their servers but once. */
  async function settledPlace(holder: Holder, request: http.IncomingMessage): Promise<Place> {
    for (const deadline = Date.now() + PLACE_MS; ; await sleep(PAUSE_MS)) {
      const place = await options.place(holder, request)
      if (place !== 'not yet' || Date.now() > deadline) return place
    }
  }

  async function pass(server: Reached, request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const url = targetOf(server, request)
    if (url === null) return refuse(response, 400, 'The event stream named an endpoint of another server.')
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    const method = request.method ?? 'GET'
    const headers = Object.fromEntries(
      asked.flatMap((name) => (typeof request.headers[name] === 'string' ? [[name, request.headers[name]]] : [])),
    )
    const hasBody = method === 'POST' || method === 'PUT'
    let got: Dispatcher.ResponseData
    try {
      got = await ask(url, {
        method: method as Dispatcher.HttpMethod,
        headers: { 'user-agent': 'ambient', ...headers, ...server.headers },
        body: hasBody ? request : null,
        dispatcher: options.dispatcher,
        signal: gone.signal,
        // A tool may take its time; whoever waits for it ends it.
        headersTimeout: 0,
        bodyTimeout: 0,
      })
    } catch (error) {
      if (gone.signal.aborted) return
      return refuse(response, 502, `${url.host} cannot be reached: ${reasonOf(error)}`)
    } finally {
      // What is not taken any more is read all the same: an agent in mid-upload would not see the answer.
      request.resume()
    }
    const { statusCode: status } = got
    // A refusal is about our credential, and not about the agent's: it is not to ask a person to sign in.
    if ((status >= 300 && status < 400) || [401, 403, 407].includes(status)) {
      const said = status < 400 ? String(got.headers.location ?? '') : await textOf(got)
      if (status < 400) got.body.destroy()
      return refuse(
        response,
        502,
        `${url.host} answers ${status}${said === '' ? '' : `: ${hide(said, server.hidden)}`}`,
      )
    }
    response.writeHead(
      status,
      Object.fromEntries(
        answered.flatMap((name) => (got.headers[name] === undefined ? [] : [[name, got.headers[name]]])),
      ),
    )
    response.flushHeaders()
    await pipeline(got.body, response)
  }

  return {
    has: (path) => path.startsWith(`${MCP_SERVERS_PATH}/`),
    async handle(request, response) {
      try {
        await answer(request, response)
      } catch (error) {
        // Either side may leave in the middle of a stream.
        if (response.destroyed || response.headersSent) return void response.destroy()
        options.log.warn({ err: error }, 'a call of an MCP server was not passed on')
        refuse(response, 503, 'The gateway cannot look up this server at the moment.')
      }
    },
  }
}

/** Where it goes: with the older protocol, messages have a place that its stream has named. */
function targetOf({ type, url }: Reached, { headers }: http.IncomingMessage): URL | null {
  const named = headers[MCP_ENDPOINT_HEADER]
  if (type !== 'sse' || typeof named !== 'string') return url
  const endpoint = URL.parse(named, url.href)
  return endpoint?.origin === url.origin ? endpoint : null
}

function decode(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    return name // Not one that any server has.
  }
}

async function textOf({ body }: Dispatcher.ResponseData): Promise<string> {
  let text = ''
  const decoder = new TextDecoder()
  try {
    for await (const part of body as AsyncIterable<Buffer>) {
      text += decoder.decode(part, { stream: true })
      if (text.length > 10 * REASON_CHARS) break
    }
  } catch {
    // It broke off: what it has said until then is told.
  }
  return text.replace(/\s+/g, ' ').trim()
}

/** Before it is cut, so that no half of a credential remains. */
function hide(text: string, hidden: readonly string[]): string {
  let told = text
  for (const value of hidden) if (value.length >= 4) told = told.replaceAll(value, '***')
  return told.slice(0, REASON_CHARS).toWellFormed()
}

function reasonOf(error: unknown): string {
  const cause = error instanceof AggregateError ? error.errors[0] : error
  const text =
    cause instanceof Error ? cause.message || ('code' in cause ? String(cause.code) : cause.name) : String(cause)
  return text.endsWith('.') ? text : `${text}.`
}

/** In the words of the protocol, so that agents can tell it. */
function refuse(response: http.ServerResponse, status: number, message: string): void {
  sendJson(response, status, { jsonrpc: '2.0', id: null, error: { code: -32000, message } })
}

function sendJson(response: http.ServerResponse, status: number, body: unknown): void {
  // The request's body may not have been read; the connection cannot be used for another call.
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' })
  response.end(JSON.stringify(body))
}
