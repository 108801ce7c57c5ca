// One call on its way to the provider, and its answer on the way back, as they come.
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { Logger } from 'pino'
import type { ProviderName } from '../../domain/harness.ts'
import { onlyTo } from '../only-to.ts'
import { PASS_HEADER } from './binding.ts'
import { credentialHeaders, credentialParameter } from './credential.ts'
import { endToEnd } from './headers.ts'
import { type ProviderCall, type ProviderTarget, providers, withoutParameter } from './providers.ts'
import type { AnswerMeter } from './usage/answer.ts'

/** Of a call that is counted: what is sent in the place of the request's own body, and what reads the answer. */
export interface Counting {
  body: AsyncIterable<Buffer>
  /** Null: in chunks. */
  length: number | null
  /** Called with the headers of the answer. Null: nothing in it is read. */
  meter(status: number, headers: http.IncomingHttpHeaders): AnswerMeter | null
  /** Awaited before the last bytes of the answer go to the agent. Called again, it does nothing. */
  settle(end: { status: number | null; complete: boolean }): Promise<void>
}

export interface Outcome {
  status: number | null
  complete: boolean
  /** Why nothing was answered. */
  error?: unknown
}

export interface Forwarder {
  pass(
    call: ProviderCall,
    target: ProviderTarget,
    request: http.IncomingMessage,
    response: http.ServerResponse,
    counting: Counting | null,
  ): Promise<Outcome>
  close(): void
}

/** `mayReach`: whether an endpoint that a team has named may be at this address. */
export function createForwarder(options: {
  mayReach: (address: string) => boolean
  lookup: LookupFunction
  log: Pick<Logger, 'warn'>
}): Forwarder {
  const { mayReach, log } = options
  const inside = { 'http:': new http.Agent({ keepAlive: true }), 'https:': new https.Agent({ keepAlive: true }) }
  const lookup = onlyTo(mayReach, options.lookup, (host) => new ClosedAddress(host))
  const outside = {
    'http:': new http.Agent({ keepAlive: true, lookup }),
    'https:': new https.Agent({ keepAlive: true, lookup }),
  }

  return {
    async pass(call, target, request, response, counting) {
      const query = withoutParameter(call.query, credentialParameter)
      const url = new URL(target.baseUrl + call.path + (query === '' ? '' : `?${query}`))
      const secure = url.protocol === 'https:'
      const address = url.hostname.replace(/^\[(.*)\]$/, '$1')
      // Names are looked at when they are looked up.
      if (target.isOutside && isIP(address) !== 0 && !mayReach(address))
        return { status: null, complete: false, error: new ClosedAddress(address) }
      const upstream = (secure ? https : http).request(url, {
        agent: (target.isOutside ? outside : inside)[secure ? 'https:' : 'http:'],
        method: request.method ?? 'GET',
        headers: requestHeaders(request, call.provider, target, url.host, counting),
      })
      // When the agent goes away, the provider should stop, and stop charging. After a whole answer there is nothing left to destroy.
      let agentLeft = false
      response.once('close', () => {
        agentLeft = !response.errored && !response.writableFinished
        upstream.destroy()
      })
      const answered = answerOf(upstream)
      if (counting === null) request.pipe(upstream)
      else void send(counting.body, upstream)
      // What the provider does not take any more is read all the same: an agent in mid-upload would not see the answer.
      upstream.once('close', () => request.resume())

      let answer: http.IncomingMessage
      try {
        answer = await answered
      } catch (error) {
        return { status: null, complete: false, error }
      }

      const status = answer.statusCode ?? 502
      response.writeHead(status, answer.statusMessage, endToEnd(answer.rawHeaders))
      response.flushHeaders()
      const settle = async (complete: boolean) => await counting?.settle({ status, complete })
      const meter = counting?.meter(status, answer.headers) ?? null
      try {
        // Destroys the response when the provider breaks off, so that the agent never takes half an answer for a whole one.
        await pipeline(answer, (source: AsyncIterable<Buffer>) => metered(source, meter, () => settle(true)), response)
        return { status, complete: true }
      } catch (error) {
        if (!agentLeft) log.warn({ err: error, provider: call.provider, status }, 'answer broke off')
        await settle(false)
        return { status, complete: false }
      }
    },
    close() {
      for (const agents of [inside, outside]) for (const agent of Object.values(agents)) agent.destroy()
    },
  }
}

/** The answer as it comes; only what may be its last part waits until the call is settled. */
async function* metered(
  source: AsyncIterable<Buffer>,
  meter: AnswerMeter | null,
  settle: () => Promise<unknown>,
): AsyncGenerator<Buffer> {
  let held: Buffer | null = null
  for await (const chunk of source) {
    if (held !== null) yield held
    held = null
    const said = meter?.feed(chunk) ?? 'pass'
    if (said === 'last') await settle()
    if (said === 'hold') held = chunk
    else yield chunk
  }
  await meter?.end()
  await settle()
  if (held !== null) yield held
}

async function send(body: AsyncIterable<Buffer>, upstream: http.ClientRequest): Promise<void> {
  try {
    const closed = new Promise<void>((resolve) => upstream.once('close', resolve))
    for await (const chunk of body) {
      if (upstream.destroyed) return
      if (!upstream.write(chunk)) await Promise.race([once(upstream, 'drain'), closed])
    }
    upstream.end()
  } catch (error) {
    upstream.destroy(error instanceof Error ? error : new Error(String(error)))
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

/** What a call costs is told by its method: no provider is to take it for one of another. */
const methodHeaders = ['x-http-method-override', 'x-http-method', 'x-method-override']
const notForwarded: ReadonlySet<string> = new Set([...credentialHeaders, PASS_HEADER, ...methodHeaders])
/** Of a call that is counted, the answer is to be read, and the body may get longer. */
const replaced: ReadonlySet<string> = new Set([...notForwarded, 'accept-encoding', 'content-length'])

function requestHeaders(
  request: http.IncomingMessage,
  provider: ProviderName,
  target: ProviderTarget,
  host: string,
  counting: Counting | null,
): string[] {
  const headers = ['host', host, ...endToEnd(request.rawHeaders, counting === null ? notForwarded : replaced)]
  const added = [
    ...(target.apiKey === null ? [] : providers[provider].keyHeaders(target.apiKey)),
    ...Object.entries(target.headers ?? {}),
  ]
  for (const [name, value] of added) addHeader(headers, name, value)
  if (counting === null) {
    // A body of unknown length stays one; without a body Node.js adds nothing of its own.
    if (request.headers['transfer-encoding'] !== undefined) headers.push('transfer-encoding', 'chunked')
    return headers
  }
  headers.push('accept-encoding', 'identity')
  if (counting.length === null) headers.push('transfer-encoding', 'chunked')
  else headers.push('content-length', String(counting.length))
  return headers
}

/** In the place of one of that name; a list of features gets one more. */
function addHeader(headers: string[], name: string, value: string): void {
  const at = headers.findIndex((each, index) => index % 2 === 0 && each.toLowerCase() === name.toLowerCase())
  if (at === -1) headers.push(name, value)
  else headers[at + 1] = name === 'anthropic-beta' ? `${headers[at + 1]},${value}` : value
}

/** A team's endpoint is at an address that it may not be at. */
export class ClosedAddress extends Error {
  override readonly name = 'ClosedAddress'
  constructor(host: string) {
    super(`${host} is not an address of the internet. The operator can open it by AMBIENT_PROVIDER_ALLOW`)
  }
}
