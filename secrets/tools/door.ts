// The way of an agent to its tools: what it wants of them is handed on to the server, and over a restart of the server once more.
import type http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { TOOLS_API, TOOLS_PASS_HEADER } from '../../domain/tools.ts'
import type { Place } from '../gateway/binding.ts'
import { type CredentialHolder, cachedAuthorize, readCredential } from '../gateway/credential.ts'
import { handshakeResult, ToolMessage, wantsNone } from './handshake.ts'

export interface ToolsDoor {
  /** Answers a call; resolves when the answer is out. */
  handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void>
}

interface Holder extends Pick<CredentialHolder, 'runId' | 'execution'> {
  /** What the server is shown with a call that comes from the run's sandbox. */
  pass: string
}

/** Agents wait for a minute at least; a server is started again in some seconds. */
const PATIENCE_MS = 40_000
const PAUSE_MS = 500
/** Of all sandboxes of this host together, calls of the largest size that are in memory at once; small ones are beside them. */
const LARGEST_AT_ONCE = 4
const SMALL_BYTES = 64 * 1024
/** Nothing that is answered here is nearly as large. */
const HANDSHAKE_BYTES = 16 * 1024
const passedOn = ['content-type', 'accept', 'authorization', 'mcp-protocol-version'] as const

/**
 * A call may be sent twice: the server knows each by what it says. What is the
 * same for every run is answered here, for an agent waits for it as it starts.
 * `maxBytes`: of one call, with a file in it.
 */
export function createToolsDoor(options: {
  authorize: (token: string) => Promise<Holder | null>
  /** Whether a call comes from the sandbox that its credential is for. */
  place: (holder: Holder, request: http.IncomingMessage) => Promise<Place>
  serverUrl: string
  maxBytes: number
  log: Pick<Logger, 'warn'>
}): ToolsDoor {
  let held = 0
  const authorize = cachedAuthorize(options.authorize)

  /** Null: the server has the answer. */
  async function answerHere(request: http.IncomingMessage, body: Buffer): Promise<object | 'none' | null> {
    const message = request.method === 'POST' && body.length <= HANDSHAKE_BYTES ? messageOf(body) : null
    if (message === null) return null
    const isNotice = wantsNone(message)
    const result = isNotice ? null : handshakeResult(message)
    if (!isNotice && result === null) return null
    // One that cannot be checked here, or is no good, is the server's to refuse.
    const holder = await authorize(readCredential(request.headers, '') ?? '').catch(() => null)
    if (holder === null) return null
    return isNotice ? 'none' : { jsonrpc: '2.0', id: message.id, result }
  }

  /**
   * From where a call comes, and what the server is shown with it. A host tells where its sandbox is while the agent
   * comes up. A credential that is no good is the server's to refuse.
   */
  async function settled(
    request: http.IncomingMessage,
    signal: AbortSignal,
  ): Promise<{ place: Place; pass: string | null }> {
    const token = readCredential(request.headers, '') ?? ''
    for (const deadline = Date.now() + PATIENCE_MS; ; ) {
      const isLate = Date.now() > deadline
      try {
        const holder = await authorize(token)
        const place = holder === null ? 'inside' : await options.place(holder, request)
        if (place === 'outside')
          options.log.warn(
            { run: holder?.runId, peer: request.socket.remoteAddress },
            'credential used from outside its sandbox',
          )
        if (place !== 'not yet' || isLate) return { place, pass: holder?.pass ?? null }
      } catch (error) {
        if (isLate) throw error
      }
      await sleep(PAUSE_MS, undefined, { signal })
    }
  }

  async function ask(method: string, headers: Record<string, string>, body: Buffer, signal: AbortSignal) {
    for (const deadline = Date.now() + PATIENCE_MS; ; ) {
      try {
        const init = { method, headers, signal, ...(body.length > 0 ? { body: new Uint8Array(body) } : {}) }
        const answer = await fetch(`${options.serverUrl}${TOOLS_API}`, init)
        const content = Buffer.from(await answer.arrayBuffer())
        if (answer.status < 500 || Date.now() > deadline) return { answer, content }
      } catch (error) {
        signal.throwIfAborted()
        if (Date.now() > deadline) throw error
      }
      await sleep(PAUSE_MS, undefined, { signal })
    }
  }

  return {
    async handle(request, response) {
      const gone = new AbortController()
      response.once('close', () => gone.abort())
      let taken = 0
      const hold = (bytes: number): boolean => {
        if (
          taken + bytes > Math.min(SMALL_BYTES, options.maxBytes / 2) &&
          held + bytes > options.maxBytes * LARGEST_AT_ONCE
        )
          return false
        taken += bytes
        held += bytes
        return true
      }
      try {
        const body = await readBounded(request, options.maxBytes, hold)
        if (body === 'too large')
          return refuse(response, 413, `A call of a tool may have ${options.maxBytes} bytes at most.`)
        if (body === 'no room')
          return refuse(response, 503, 'Too many large calls are under way on this host. Call again in a moment.')
        const own = await answerHere(request, body)
        if (own === 'none') return void response.writeHead(202).end()
        if (own !== null) return sendJson(response, 200, own)
        const { place, pass } = await settled(request, gone.signal)
        if (place !== 'inside')
          return refuse(response, 403, "This credential is good only inside of its run's sandbox.")
        const headers = Object.fromEntries(
          passedOn.flatMap((name) =>
            typeof request.headers[name] === 'string' ? [[name, request.headers[name]]] : [],
          ),
        )
        if (pass !== null) headers[TOOLS_PASS_HEADER] = pass
        const { answer, content } = await ask(request.method ?? 'GET', headers, body, gone.signal)
        const type = answer.headers.get('content-type')
        const allow = answer.headers.get('allow')
        response.writeHead(answer.status, { ...(type && { 'content-type': type }), ...(allow && { allow }) })
        response.end(content)
      } catch (error) {
        if (gone.signal.aborted) return
        options.log.warn({ err: error }, 'the server does not answer a call of a tool')
        refuse(response, 503, 'The server does not answer. Go on without this tool, and try it again later.')
      } finally {
        held -= taken
      }
    },
  }
}

/** `hold`: whether there is room for so many bytes more. */
async function readBounded(
  request: http.IncomingMessage,
  maxBytes: number,
  hold: (bytes: number) => boolean,
): Promise<Buffer | 'too large' | 'no room'> {
  const parts: Buffer[] = []
  let bytes = 0
  let isHeld = true
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    // The rest is read all the same: who is in mid-upload would not see the answer.
    isHeld &&= bytes <= maxBytes && hold(part.length)
    if (isHeld) parts.push(part)
    else parts.length = 0
  }
  if (bytes > maxBytes) return 'too large'
  return isHeld ? Buffer.concat(parts) : 'no room'
}

/** Null for what is no single message. */
function messageOf(body: Buffer): ToolMessage | null {
  try {
    return ToolMessage.safeParse(JSON.parse(body.toString())).data ?? null
  } catch {
    return null // The server says what is wrong with it.
  }
}

const refuse = (response: http.ServerResponse, status: number, message: string): void =>
  sendJson(response, status, { jsonrpc: '2.0', id: null, error: { code: -32000, message } })

function sendJson(response: http.ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}
