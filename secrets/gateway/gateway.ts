// The model gateway: passes an agent's model calls on, with the run's credential exchanged for the real key, and counts them.
import { randomUUID } from 'node:crypto'
import { lookup } from 'node:dns'
import http from 'node:http'
import type { LookupFunction } from 'node:net'
import type { Logger } from 'pino'
import { GIT_PATH } from '../../domain/git/url.ts'
import type { ProviderName } from '../../domain/harness.ts'
import type { CallRefusal, ModelCallEnd, ModelCallStart, TokenUsage } from '../../domain/models/call.ts'
import { TOOLS_PATH } from '../../domain/tools.ts'
import type { GitBroker } from '../git/broker.ts'
import type { McpDoor } from '../mcp/door.ts'
import type { ToolsDoor } from '../tools/door.ts'
import { isOwnAddress, peerOf, placeOf } from './binding.ts'
import { type Authorize, type CredentialHolder, cachedAuthorize, readCredential } from './credential.ts'
import { ClosedAddress, type Counting, createForwarder, type Outcome } from './forward.ts'
import {
  errorStatus,
  type GatewayErrorKind,
  NOT_ALLOWED,
  type ProviderCall,
  type ProviderTarget,
  parseProviderCall,
  providers,
} from './providers.ts'
import { meterAnswer } from './usage/answer.ts'
import { type CallKind, kindOf } from './usage/kinds.ts'
import { reckonUsage } from './usage/reader.ts'
import { type ReadRequest, readRequest, UnreadableRequest } from './usage/request.ts'

/** A call that was passed on, told when it has ended. */
export interface GatewayCall extends Pick<CredentialHolder, 'runId' | 'execution'> {
  provider: ProviderName
  method: string
  path: string
  /** Null: the request names none, or nobody has looked. */
  model: string | null
  /** Of the provider's answer; null when it gave none. */
  status: number | null
  /** False: the agent went away, or the provider broke off, before the answer was whole. */
  complete: boolean
  milliseconds: number
  usage: TokenUsage | null
}

/** What is asked before each call that may cost something, and told of it. */
export interface GatewayHooks {
  /** Null: the call is passed on, and written down by then. Where it throws, the agent is asked to come again. */
  admit(holder: CredentialHolder, call: ModelCallStart): Promise<CallRefusal | null>
  /** The answer has begun; `usage` tells at any time what is known of it. */
  begun?(call: ModelCallStart, usage: () => TokenUsage): void
  /**
   * Once for each admitted call, awaited before the last bytes of the answer go to
   * the agent: what an agent has got is written down. Where it throws, the answer breaks off.
   */
  settle(holder: CredentialHolder, call: ModelCallStart, end: ModelCallEnd): Promise<void>
}

/** Where the calls of a run go, and whether there is a price for them. */
export type Route = (
  holder: CredentialHolder,
  provider: ProviderName,
  model: string | null,
) => Promise<{ target: ProviderTarget; priced: boolean }>

/** A route throws it for a call that goes nowhere; told to the agent. */
export class NoRoute extends Error {
  override readonly name = 'NoRoute'
}

export interface GatewayOptions {
  authorize: Authorize
  /** Binds a credential that is good where it is used first. @returns the address that it is bound to. */
  claim?: (holder: CredentialHolder, address: string) => Promise<string>
  route: Route
  hooks?: GatewayHooks
  /** Whether an endpoint of a team may be at this address. Absent: at every one. */
  mayReach?: (address: string) => boolean
  onCall?: (call: GatewayCall) => void
  /** A call was not passed on. */
  onRefusal?: (refusal: CallRefusal) => void
  /** What agents ask of their tools goes this way. */
  tools?: ToolsDoor
  /** What agents ask of the MCP servers of their run goes this way. */
  mcpServers?: McpDoor
  /** What git asks for repositories goes this way. */
  git?: GitBroker
  log: Pick<Logger, 'warn'>
  now?: () => number
  lookup?: LookupFunction
}

export interface Gateway {
  /** Serves on one more address. Port 0 takes a free one. @returns the port. */
  listen(port: number, address: string): Promise<number>
  /** Takes no new calls, lets running ones go on for `graceMs`, then breaks them off. */
  close(graceMs: number): Promise<void>
}

const WHOAMI = '/whoami'

/** No answer is buffered, repeated, or limited in length; it is passed on as it is, errors included. */
export function createGateway(options: GatewayOptions): Gateway {
  const authorize = cachedAuthorize(options.authorize, options.now)
  const forwarder = createForwarder({
    mayReach: options.mayReach ?? (() => true),
    lookup: options.lookup ?? lookup,
    log: options.log,
  })
  const servers: http.Server[] = []
  const running = new Set<Promise<void>>()
  let closing = false

  async function handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    if (options.tools && request.url?.split('?', 1)[0] === TOOLS_PATH)
      return await options.tools.handle(request, response)
    if (options.mcpServers?.has(request.url ?? '')) return await options.mcpServers.handle(request, response)
    if (options.git && request.url?.startsWith(`${GIT_PATH}/`)) return await options.git.handle(request, response)
    // Hosts ask by it whether this gateway can tell their sandboxes apart.
    if (request.url === WHOAMI) return answerJson(response, 200, { own: isOwnAddress(peerOf(request)) })
    const call = parseProviderCall(request.url ?? '')
    if (!call) return refuseUnknown(response)
    const holder = await authorized(call, request, response)
    if (!holder || response.destroyed) return
    const started = performance.now()
    const kind = kindOf(request.method ?? 'GET', call.plainPath)
    const passed = await (kind.free ? passFree : passCounted)({ call, kind, holder, request, response })
    if (passed === null) return
    const { status, complete, model, usage } = passed
    options.onCall?.({
      runId: holder.runId,
      execution: holder.execution,
      status,
      complete,
      model,
      usage,
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
        return null
      }
      const claim = async (address: string) => (await options.claim?.(holder, address)) ?? address
      const place = await placeOf(holder.binding ?? null, request, claim)
      if (place === 'inside') return holder
      if (place === 'not yet')
        refuse(response, call.provider, 'unavailable', "The run's host has not yet said where its sandbox is.")
      else {
        options.log.warn(
          { run: holder.runId, peer: request.socket.remoteAddress },
          'credential used from outside its sandbox',
        )
        refuse(response, call.provider, 'outside', "This credential is good only inside of its run's sandbox.")
      }
      return null
    } catch (error) {
      options.log.warn({ err: error, provider: call.provider }, 'credential could not be checked')
      refuse(response, call.provider, 'unavailable', "The gateway cannot check the run's credential at the moment.")
      return null
    }
  }

  async function passFree({ call, holder, request, response }: Passing): Promise<Passed | null> {
    const route = await routed(holder, call, null, response)
    if (route === null) return null
    const outcome = await forwarder.pass(call, route.target, request, response, null)
    tellUnanswered(call, route.target, outcome, response)
    return { ...outcome, model: null, usage: null }
  }

  async function passCounted({ call, kind, holder, request, response }: Passing): Promise<Passed | null> {
    const read = await readOrRefuse(call, kind, request, response)
    if (read === null) return null
    const { model } = read
    const route = await routed(holder, call, model, response)
    if (route === null) return null
    const start: ModelCallStart = {
      id: randomUUID(),
      provider: call.provider,
      endpoint: route.target.endpoint ?? null,
      model,
      method: request.method ?? 'POST',
      path: call.path,
      known: kind.known,
      priced: route.priced && kind.known,
      free: route.target.isDemo === true,
      requestBytes: read.length,
    }
    if (!(await admitted(holder, start, response))) return null

    let usage: TokenUsage | null = null
    let end = (_complete: boolean): Pick<ModelCallEnd, 'usage' | 'estimated'> => ({ usage: null, estimated: false })
    let settled: Promise<void> | undefined
    const counting: Counting = {
      body: read.body,
      length: read.length,
      meter(status, headers) {
        // What was refused costs nothing.
        if (status < 200 || status > 299) return null
        const meter = meterAnswer(kind.reader(), headers['content-type'] ?? '', headers['content-encoding'] ?? '')
        const reckoned = () => reckonUsage(meter.told(), read.length, meter.characters())
        end = (complete) => {
          if (meter.isFinal()) return { usage: meter.told(), estimated: false }
          // An unknown path may well have nothing to tell.
          if (complete && !kind.known && meter.told() === null) return { usage: null, estimated: false }
          return { usage: reckoned(), estimated: true }
        }
        let hasBegun = false
        return {
          ...meter,
          feed(chunk) {
            const said = meter.feed(chunk)
            // The first words of an answer tell what its prompt costs.
            if (!hasBegun) options.hooks?.begun?.(start, reckoned)
            hasBegun = true
            return said
          },
        }
      },
      settle({ status, complete }) {
        settled ??= (async () => {
          const known = end(complete)
          usage = known.usage
          await options.hooks?.settle(holder, start, { status, complete, ...known })
        })()
        return settled
      },
    }
    const outcome = await forwarder.pass(call, route.target, request, response, counting)
    await counting.settle(outcome)
    tellUnanswered(call, route.target, outcome, response)
    return { ...outcome, model, usage }
  }

  async function readOrRefuse(
    call: ProviderCall,
    kind: CallKind,
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): Promise<ReadRequest | null> {
    try {
      return await readRequest(request, kind)
    } catch (error) {
      // Where the agent went away in the middle of it, nobody hears this.
      const unreadable = error instanceof UnreadableRequest ? error : null
      request.resume()
      if (!response.destroyed) {
        const message = unreadable?.message ?? `The request broke off: ${reason(error)}.`
        refuse(response, call.provider, unreadable?.kind ?? 'invalid', message)
      }
      return null
    }
  }

  async function routed(
    holder: CredentialHolder,
    call: ProviderCall,
    model: string | null,
    response: http.ServerResponse,
  ): Promise<Awaited<ReturnType<Route>> | null> {
    try {
      return await options.route(holder, call.provider, model)
    } catch (error) {
      if (error instanceof NoRoute) {
        refuse(response, call.provider, 'not_allowed', error.message)
        return null
      }
      options.log.warn({ err: error, provider: call.provider }, 'where a call goes could not be found out')
      refuse(response, call.provider, 'unavailable', 'The gateway cannot tell where this call goes at the moment.')
      return null
    }
  }

  async function admitted(
    holder: CredentialHolder,
    start: ModelCallStart,
    response: http.ServerResponse,
  ): Promise<boolean> {
    try {
      const refusal = (await options.hooks?.admit(holder, start)) ?? null
      if (refusal === null) return true
      options.onRefusal?.(refusal)
      refuse(response, start.provider, refusal.kind, refusal.message)
    } catch (error) {
      options.log.warn({ err: error, run: holder.runId }, 'a call could not be written down')
      refuse(response, start.provider, 'unavailable', 'The gateway cannot write this call down at the moment.')
    }
    return false
  }

  function tellUnanswered(
    call: ProviderCall,
    target: ProviderTarget,
    { error }: Outcome,
    response: http.ServerResponse,
  ): void {
    if (error === undefined || response.destroyed || response.headersSent) return
    if (error instanceof UnreadableRequest) {
      refuse(response, call.provider, error.kind, error.message)
      return
    }
    const { host } = new URL(target.baseUrl)
    options.log.warn({ err: error, provider: call.provider, host }, 'model provider cannot be reached')
    // Trying again does not help there.
    const kind = error instanceof ClosedAddress ? 'not_allowed' : 'unreachable'
    refuse(response, call.provider, kind, `The model provider at ${host} cannot be reached: ${reason(error)}.`)
  }

  return {
    async listen(port, address) {
      const server = http.createServer((request, response) => {
        const call = handle(request, response).catch((error: unknown) => {
          options.log.warn({ err: error }, 'call failed inside the gateway')
          response.destroy()
        })
        running.add(call)
        call.finally(() => running.delete(call))
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
      // What broke off is settled, too.
      await Promise.all(running)
      forwarder.close()
    },
  }
}

interface Passing {
  call: ProviderCall
  kind: CallKind
  holder: CredentialHolder
  request: http.IncomingMessage
  response: http.ServerResponse
}

type Passed = Pick<GatewayCall, 'status' | 'complete' | 'model' | 'usage'>

function refuse(response: http.ServerResponse, provider: ProviderName, kind: GatewayErrorKind, message: string): void {
  const told = kind === 'not_allowed' ? `${message} (${NOT_ALLOWED})` : message
  answerJson(response, errorStatus[kind], providers[provider].errorBody(kind, told))
}

function refuseUnknown(response: http.ServerResponse): void {
  const message = 'The model gateway serves /anthropic/…, /openai/…, /gemini/…, /mcp and /git/… only.'
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
