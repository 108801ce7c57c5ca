// Requests to the servers of repositories: never anywhere else, and to no address that is closed.
import { lookup as lookUp } from 'node:dns'
import http from 'node:http'
import https from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { onlyTo } from '../only-to.ts'

/** The server of a repository cannot be asked, or its answer is of no use. Its message is for people. */
export class UpstreamError extends Error {
  override readonly name = 'UpstreamError'
  /** Of the answer, where there was one. */
  readonly status: number | null

  constructor(message: string, { status = null, ...options }: ErrorOptions & { status?: number | null } = {}) {
    super(message, options)
    this.status = status
  }
}

export interface UpstreamRequest {
  method: string
  /** In pairs, as they are sent. */
  headers: readonly string[]
  body?: Readable | Buffer | null
  signal?: AbortSignal
}

export interface Upstream {
  /** Redirects are answers like others. @throws {UpstreamError} */
  send(url: URL, request: UpstreamRequest): Promise<http.IncomingMessage>
  close(): void
}

/** Of answers that are read as a whole. */
const ANSWER_BYTES = 16 * 1024 * 1024
/** Until the first byte of an answer; a push is answered when the server has taken it, which may take minutes. */
const SILENCE_MS = 10 * 60_000

/** `mayReach`: whether a server may be at this address. */
export function createUpstream(mayReach: (address: string) => boolean, lookup: LookupFunction = lookUp): Upstream {
  const checked = onlyTo(mayReach, lookup, (host) => new Error(closed(host)))
  const agents = {
    'http:': new http.Agent({ keepAlive: true, lookup: checked }),
    'https:': new https.Agent({ keepAlive: true, lookup: checked }),
  }
  return {
    async send(url, { method, headers, body = null, signal }) {
      const { protocol, host } = url
      if (protocol !== 'https:' && protocol !== 'http:') throw new UpstreamError(`${url.origin} is no web address.`)
      const address = url.hostname.replace(/^\[(.*)\]$/, '$1')
      // Names are looked at when they are looked up.
      if (isIP(address) !== 0 && !mayReach(address)) throw new UpstreamError(closed(address))
      const request = (protocol === 'https:' ? https : http).request(url, {
        agent: agents[protocol],
        method,
        headers: ['host', host, ...headers],
        ...(signal && { signal }),
      })
      request.setTimeout(SILENCE_MS, () => request.destroy(new Error('it does not answer')))
      const answered = new Promise<http.IncomingMessage>((resolve, reject) => {
        request.once('response', resolve)
        // Stays attached: a socket error after the answer is told by the answer's stream as well.
        request.on('error', reject)
        request.once('close', () => reject(new Error('the connection was closed without an answer')))
      })
      if (body === null) request.end()
      else if (Buffer.isBuffer(body)) request.end(body)
      // What goes wrong with it shows in the answer, or in that there is none.
      else pipeline(body, request).catch(() => {})
      try {
        return await answered
      } catch (error) {
        signal?.throwIfAborted()
        throw new UpstreamError(`${host} cannot be reached: ${reasonOf(error)}`, { cause: error })
      }
    },
    close() {
      for (const agent of Object.values(agents)) agent.destroy()
    },
  }
}

/** The body of an answer as text. @throws {UpstreamError} where it is too long or breaks off. */
export async function answerText(answer: http.IncomingMessage): Promise<string> {
  let bytes = 0
  answer.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > ANSWER_BYTES) answer.destroy(new Error('it is too long'))
  })
  try {
    return await text(answer)
  } catch (error) {
    throw new UpstreamError(`The answer cannot be read: ${reasonOf(error)}`, { cause: error })
  }
}

const closed = (host: string) =>
  `${host} is not an address of the internet. The operator can open it by AMBIENT_GIT_ALLOW.`

const reasonOf = (error: unknown): string => {
  const cause = error instanceof AggregateError ? error.errors[0] : error
  return cause instanceof Error ? cause.message : String(cause)
}
