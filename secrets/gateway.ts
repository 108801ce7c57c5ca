// The model gateway: passes an agent's model calls on, with the run's credential exchanged for the real key.
import http from 'node:http'
import https from 'node:https'
import { pipeline } from 'node:stream/promises'
import type { Logger } from 'pino'
import type { ProviderName } from '../domain/harness.ts'
import { TOOLS_PATH } from '../domain/tools.ts'
import {
  type Authorize,
  type CredentialHolder,
  cachedAuthorize,
  credentialHeaders,
  credentialParameter,
  readCredential,
} from './credential.ts'
import {
  errorStatus,
  type GatewayErrorKind,
  type ProviderCall,
  type ProviderTarget,
  parseProviderCall,
  providers,
  withoutParameter,
} from './providers.ts'
import type { ToolsDoor } from './tools-door.ts'

/** A call that was passed on, told when it has ended. */
export interface GatewayCall extends CredentialHolder {
  provider: ProviderName
  method: string
  path: string
  /** Of the provider's answer; null when it gave none. */
  status: number | null
  /** False: the agent went away, or the provider broke off, before the answer was whole. */
  complete: boolean
  milliseconds: number
}

export interface GatewayOptions {
  authorize: Authorize
  providers: Readonly<Record<ProviderName, ProviderTarget>>
  onCall?: (call: GatewayCall) => void
  /** What agents ask of their tools goes this way. */
  tools?: ToolsDoor
  log: Pick<Logger, 'warn'>
  now?: () => number
}

export interface Gateway {
  /** Serves on one more address. Port 0 takes a free one. @returns the port. */
  listen(port: number, address: string): Promise<number>
  /** Takes no new calls, lets running ones go on for `graceMs`, then breaks them off. */
  close(graceMs: number): Promise<void>
}

// Headers that speak of one connection, not of the message (RFC 9110, 7.6.1). `host` and `expect` are settled per hop too.
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
  'expect',
])

/** Nothing is buffered, repeated, or limited in length; an answer is passed on as it is, errors included. */
export function createGateway(options: GatewayOptions): Gateway {
  const authorize = cachedAuthorize(options.authorize, options.now)
  const agents = { 'http:': new http.Agent({ keepAlive: true }), 'https:': new https.Agent({ keepAlive: true }) }
  const servers: http.Server[] = []
  let closing = false

  async function handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    if (options.tools && request.url?.split('?', 1)[0] === TOOLS_PATH)
      return await options.tools.handle(request, response)
    const call = parseProviderCall(request.url ?? '')
    if (!call) return refuseUnknown(response)
    const holder = await authorized(call, request, response)
    if (!holder || response.destroyed) return
    const started = performance.now()
    const outcome = await pass(call, request, response)
    options.onCall?.({
      ...holder,
      ...outcome,
      provider: call.provider,
      method: request.method ?? 'GET',
      path: call.path,
      milliseconds: Math.round(performance.now() - started),
    })
  }

  async function authorized(call: ProviderCall, request: http.IncomingMessage, response: http.ServerResponse) {
    const token = readCredential(request.headers, call.query)
    if (token === null) {
      refuse(response, call.provider, 'unauthorized', 'This call carries no credential of an Ambient run.')
      return null
    }
    try {
      const holder = await authorize(token)
      if (!holder) {
        const message =
          "This credential is unknown or no longer valid: it is good only while its run's sandbox is held."
        refuse(response, call.provider, 'unauthorized', message)
      }
      return holder
    } catch (error) {
      options.log.warn({ err: error, provider: call.provider }, 'credential could not be checked')
      refuse(response, call.provider, 'unavailable', "The gateway cannot check the run's credential at the moment.")
      return null
    }
  }

  async function pass(call: ProviderCall, request: http.IncomingMessage, response: http.ServerResponse) {
    const target = options.providers[call.provider]
    const query = withoutParameter(call.query, credentialParameter)
    const url = new URL(target.baseUrl + call.path + (query === '' ? '' : `?${query}`))
    const secure = url.protocol === 'https:'
    const upstream = (secure ? https : http).request(url, {
      agent: agents[secure ? 'https:' : 'http:'],
      method: request.method ?? 'GET',
      headers: requestHeaders(request, call.provider, target, url.host),
    })
    // When the agent goes away, the provider should stop, and stop charging. After a whole answer there is nothing left to destroy.
    let agentLeft = false
    response.once('close', () => {
      agentLeft = !response.errored && !response.writableFinished
      upstream.destroy()
    })
    request.pipe(upstream)
    // What the provider does not take any more is read all the same: an agent in mid-upload would not see the answer.
    upstream.once('close', () => request.resume())

    let answer: http.IncomingMessage
    try {
      answer = await answerOf(upstream)
    } catch (error) {
      if (!response.destroyed) {
        options.log.warn({ err: error, provider: call.provider, host: url.host }, 'model provider cannot be reached')
        const message = `The model provider at ${url.host} cannot be reached: ${reason(error)}.`
        refuse(response, call.provider, 'unreachable', message)
      }
      return { status: null, complete: false }
    }

    const status = answer.statusCode ?? 502
    response.writeHead(status, answer.statusMessage, endToEnd(answer.rawHeaders))
    response.flushHeaders()
    try {
      // Destroys the response when the provider breaks off, so that the agent never takes half an answer for a whole one.
      await pipeline(answer, response)
      return { status, complete: true }
    } catch (error) {
      if (!agentLeft) options.log.warn({ err: error, provider: call.provider, status }, 'answer broke off')
      return { status, complete: false }
    }
  }

  return {
    async listen(port, address) {
      const server = http.createServer((request, response) => {
        handle(request, response).catch((error: unknown) => {
          options.log.warn({ err: error }, 'call failed inside the gateway')
          response.destroy()
        })
        // A kept-alive connection is idle only after its answer, so close() has not met it.
        response.once('close', () => closing && setImmediate(() => server.closeIdleConnections()))
      })
      // A long upload is no attack here; only a run's own sandbox can start one. Streams have no limit either.
      server.requestTimeout = 0
      server.keepAliveTimeout = 65_000
      server.on('upgrade', (_request, socket) => {
        // 426 tells clients that tried a WebSocket first to use plain HTTP.
        socket.on('error', () => socket.destroy())
        socket.end('HTTP/1.1 426 Upgrade Required\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
      })
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(port, address, () => {
          server.off('error', reject)
          resolve()
        })
      })
      servers.push(server)
      const bound = server.address()
      return typeof bound === 'object' && bound !== null ? bound.port : port
    },

    async close(graceMs) {
      closing = true
      const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())))
      const force = setTimeout(() => {
        for (const server of servers) server.closeAllConnections()
      }, graceMs)
      await Promise.all(closed)
      clearTimeout(force)
      for (const agent of Object.values(agents)) agent.destroy()
    },
  }
}

function answerOf(upstream: http.ClientRequest): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    upstream.once('response', resolve)
    // Stays attached: a socket error after the answer is also told by the answer's stream.
    upstream.on('error', reject)
    upstream.once('close', () => reject(new Error('the connection was closed without an answer')))
  })
}

function requestHeaders(request: http.IncomingMessage, provider: ProviderName, target: ProviderTarget, host: string) {
  const headers = ['host', host, ...endToEnd(request.rawHeaders, credentialHeaders)]
  if (target.apiKey !== null) headers.push(...providers[provider].keyHeader(target.apiKey))
  // A body of unknown length stays one; without a body Node.js adds nothing of its own.
  if (request.headers['transfer-encoding'] !== undefined) headers.push('transfer-encoding', 'chunked')
  return headers
}

/** Raw headers, in order and with repetitions, without those of one hop and those of `dropped`. */
function endToEnd(rawHeaders: readonly string[], dropped: ReadonlySet<string> = new Set()): string[] {
  const pairs: [string, string][] = []
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) pairs.push([rawHeaders[i] ?? '', rawHeaders[i + 1] ?? ''])
  const named = pairs.filter(([name]) => name.toLowerCase() === 'connection').flatMap(([, value]) => value.split(','))
  const ofThisHop = new Set(named.map((name) => name.trim().toLowerCase()))
  // Whatever a client says, the length belongs to the message: a body without it would be taken for the next call on
  // this connection, which may be another run's.
  ofThisHop.delete('content-length')
  return pairs
    .filter(([name]) => {
      const key = name.toLowerCase()
      return !hopByHop.has(key) && !ofThisHop.has(key) && !dropped.has(key)
    })
    .flat()
}

function refuse(response: http.ServerResponse, provider: ProviderName, kind: GatewayErrorKind, message: string): void {
  answerJson(response, errorStatus[kind], providers[provider].errorBody(kind, message))
}

function refuseUnknown(response: http.ServerResponse): void {
  const message = 'The model gateway serves /anthropic/…, /openai/…, /gemini/… and /mcp only.'
  answerJson(response, 404, { error: { message, type: 'invalid_request_error', param: null, code: 'not_found' } })
}

function answerJson(response: http.ServerResponse, status: number, body: unknown): void {
  // The request's body may not have been read; the connection cannot be used for another call.
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' })
  response.end(JSON.stringify(body))
}

function reason(error: unknown): string {
  const cause = error instanceof AggregateError ? error.errors[0] : error
  return cause instanceof Error ? cause.message : String(cause)
}
