// The way of an agent to its tools: what it asks is handed on to the server, and over a restart of the server once more.
import type http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { TOOLS_API } from '../domain/tools.ts'

export interface ToolsDoor {
  /** Answers a call; resolves when the answer is out. */
  handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void>
}

/** Agents wait for a minute at least; a server is started again in some seconds. */
const PATIENCE_MS = 40_000
const PAUSE_MS = 500
/** Of all sandboxes of this host together, calls of the largest size that are in memory at once; small ones are beside them. */
const LARGEST_AT_ONCE = 4
const SMALL_BYTES = 64 * 1024
const passedOn = ['content-type', 'accept', 'authorization', 'mcp-protocol-version'] as const

/** A call may be sent twice: the server knows each by what it says. `maxBytes`: of one call, with a file in it. */
export function createToolsDoor(options: {
  serverUrl: string
  maxBytes: number
  log: Pick<Logger, 'warn'>
}): ToolsDoor {
  let held = 0

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
      let own = 0
      const hold = (bytes: number): boolean => {
        if (
          own + bytes > Math.min(SMALL_BYTES, options.maxBytes / 2) &&
          held + bytes > options.maxBytes * LARGEST_AT_ONCE
        )
          return false
        own += bytes
        held += bytes
        return true
      }
      try {
        const body = await readBounded(request, options.maxBytes, hold)
        if (body === 'too large')
          return sendJson(response, 413, `A call of a tool may have ${options.maxBytes} bytes at most.`)
        if (body === 'no room')
          return sendJson(response, 503, 'Too many large calls are under way on this host. Call again in a moment.')
        const headers = Object.fromEntries(
          passedOn.flatMap((name) =>
            typeof request.headers[name] === 'string' ? [[name, request.headers[name]]] : [],
          ),
        )
        const { answer, content } = await ask(request.method ?? 'GET', headers, body, gone.signal)
        const type = answer.headers.get('content-type')
        const allow = answer.headers.get('allow')
        response.writeHead(answer.status, { ...(type && { 'content-type': type }), ...(allow && { allow }) })
        response.end(content)
      } catch (error) {
        if (gone.signal.aborted) return
        options.log.warn({ err: error }, 'the server does not answer a call of a tool')
        sendJson(response, 503, 'The server does not answer. Go on without this tool, and try it again later.')
      } finally {
        held -= own
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

function sendJson(response: http.ServerResponse, status: number, message: string): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32000, message } }))
}
