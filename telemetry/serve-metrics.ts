// `/metrics` of a process that has no HTTP server of its own to serve it.
import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { Registry } from 'prom-client'

export interface MetricsLog {
  info(fields: object, text: string): void
  warn(fields: object, text: string): void
}

export interface MetricsListenerOptions {
  registry: Registry
  /** Metrics of another source, appended as they are: Temporal's own. */
  more?: (() => Promise<string>) | undefined
  /** 0: nothing is served. */
  port: number
  bind: string
  /** The bearer token that is asked for. Undefined: everybody who reaches the port may read. */
  key: string | undefined
  log: MetricsLog
  /** How soon a port that is taken is tried again, in milliseconds. */
  againMs?: number
}

/** A predecessor may be about to leave the port. */
const AGAIN_MS = 5_000

/**
 * Serves from now on; a port that is taken is told in the log and tried again,
 * because nobody's run should wait for a graph. Returns how to stop.
 */
export function listenForScrapes(options: MetricsListenerOptions): () => void {
  const { registry, more, port, bind, key, log, againMs = AGAIN_MS } = options
  if (port === 0) return () => {}
  const server = createServer((request, response) => {
    void answer(request).then(({ status, type, body }) => {
      response.writeHead(status, { 'content-type': type, ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {}) })
      response.end(body)
    })
  })

  async function answer(request: IncomingMessage): Promise<{ status: number; type: string; body: string }> {
    const text = (status: number, body: string) => ({ status, type: 'text/plain; charset=utf-8', body: `${body}\n` })
    if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics') return text(404, 'GET /metrics')
    if (key !== undefined && !carriesKey(request.headers.authorization, key))
      return text(401, 'Send AMBIENT_METRICS_KEY as "Authorization: Bearer <key>".')
    try {
      return { status: 200, type: registry.contentType, body: await scrape(registry, more) }
    } catch (error) {
      return text(500, String(error))
    }
  }

  let told = false
  let again: NodeJS.Timeout | undefined
  server.on('error', (error) => {
    if (!told) log.warn({ port, bind, reason: error.message }, 'metrics cannot be served yet; it is tried again')
    told = true
    again = setTimeout(listen, againMs).unref()
  })
  server.on('listening', () => log.info({ port, bind }, 'serving metrics'))
  const listen = () => void server.listen(port, bind)
  listen()
  return () => {
    clearTimeout(again)
    server.close()
    server.closeAllConnections()
  }
}

/** The registry's text, and another source's after it. What the other one cannot tell is left out. */
export async function scrape(registry: Registry, more?: () => Promise<string>): Promise<string> {
  const [own, other] = await Promise.all([
    registry.metrics(),
    more?.().catch((error: unknown) => `# ${String(error).replaceAll('\n', ' ')}\n`),
  ])
  return `${own}${other ?? ''}`
}

const hash = (text: string) => createHash('sha256').update(text).digest()

/** Compared by their hashes, in constant time. */
export function carriesKey(authorization: string | undefined, key: string): boolean {
  const [, token] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? []
  return token !== undefined && timingSafeEqual(hash(token), hash(key))
}
