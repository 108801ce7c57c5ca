// The HTTP server of a scripted model: every wire format on one port, one function that says what to answer.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { json } from 'node:stream/consumers'
import type { WireFormat } from './format.ts'
import { formats } from './formats.ts'
import { MalformedRequest, type ModelRequest } from './request.ts'
import { isFailure, type ModelFailure, type ModelStep, wholeAnswer } from './step.ts'

export interface Exchange {
  request: ModelRequest
  /** As it came, with what an agent says of itself and its surroundings. */
  body: unknown
  /** The key the caller showed, in whichever header its format has for it; null when none. */
  credential: string | null
  /** Aborts when the caller goes away before its answer is complete. */
  signal: AbortSignal
  /** How the exchange ended: answered to the end, or cut off. Never rejects. */
  ended: Promise<'complete' | 'cut'>
}

/** What to answer. A MalformedRequest it throws is answered with status 400. */
export type Answerer = (exchange: Exchange) => ModelStep | Promise<ModelStep>

export interface RunningServer {
  /** Without a trailing slash. The formats are found by how the path ends, so any prefix such as /v1 may follow. */
  url: string
  close(): Promise<void>
}

/** Listens on 127.0.0.1; port 0 takes a free one. */
export async function serveModel(answer: Answerer, port: number): Promise<RunningServer> {
  const server = createServer((incoming, outgoing) => {
    serve(incoming, outgoing, answer).catch((error: unknown) => {
      // The script broke in mid answer, or the caller went away: either way nobody can be told any more.
      outgoing.destroy(error instanceof Error ? error : undefined)
    })
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the model server has no port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

async function serve(incoming: IncomingMessage, outgoing: ServerResponse, answer: Answerer): Promise<void> {
  const { ended, signal } = watch(outgoing)
  const path = new URL(incoming.url ?? '/', 'http://localhost').pathname
  if (incoming.method !== 'POST') return fail(outgoing, undefined, { status: 404, message: 'No such path.' })

  let body: unknown
  try {
    body = await json(incoming)
  } catch {
    // Said to the caller, who knows what it sent.
    return fail(outgoing, undefined, { status: 400, message: 'The body is not JSON.' })
  }

  for (const { aside } of formats) {
    const answered = aside?.(path, body)
    if (answered !== undefined) return send(outgoing, 200, answered)
  }

  const format = formats.find((known) => known.accepts(path))
  if (!format) return fail(outgoing, undefined, { status: 404, message: `No model is served at ${path}.` })

  let request: ModelRequest
  let step: ModelStep
  try {
    request = format.decode(path, body)
    step = await answer({ request, body, credential: credentialOf(incoming), signal, ended })
  } catch (error) {
    if (!(error instanceof MalformedRequest)) throw error
    return fail(outgoing, format, { status: 400, message: error.message })
  }

  if (isFailure(step)) return fail(outgoing, format, step)
  if (!request.stream) return send(outgoing, 200, format.whole(request, await wholeAnswer(step)))

  outgoing.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  // The caller sees that it is being answered before the script says its first word.
  outgoing.flushHeaders()
  for await (const event of format.stream(request, step)) {
    if (!outgoing.write(event)) await once(outgoing, 'drain', { signal })
    if (signal.aborted) return
  }
  outgoing.end()
}

function watch(outgoing: ServerResponse): Pick<Exchange, 'signal' | 'ended'> {
  const controller = new AbortController()
  const ended = new Promise<'complete' | 'cut'>((resolve) => {
    outgoing.once('close', () => {
      if (!outgoing.writableFinished) controller.abort(new Error('the caller went away'))
      resolve(outgoing.writableFinished ? 'complete' : 'cut')
    })
  })
  return { signal: controller.signal, ended }
}

function credentialOf({ headers, url }: IncomingMessage): string | null {
  const inHeader = headers.authorization?.replace(/^Bearer /i, '') ?? headers['x-api-key'] ?? headers['x-goog-api-key']
  return inHeader?.toString() ?? new URL(url ?? '/', 'http://localhost').searchParams.get('key')
}

function fail(outgoing: ServerResponse, format: WireFormat | undefined, failure: ModelFailure): void {
  send(outgoing, failure.status, format?.failure(failure) ?? { error: failure })
}

function send(outgoing: ServerResponse, status: number, body: unknown): void {
  outgoing.writeHead(status, { 'content-type': 'application/json' })
  outgoing.end(JSON.stringify(body))
}
