// The way of restricted sandboxes to the model gateway: the one service that they reach beside the proxy.
import http from 'node:http'
import https from 'node:https'
import { endToEnd, limitConnections } from './proxy.ts'

/** As the model gateway reads it. */
const PASS = 'x-ambient-pass'

/** Passes every request of a sandbox on to the gateway, both bodies as they come. */
export function createRelay(options: {
  /** Null while the host has not said where it is. */
  target: URL | null
  /** What says to the gateway that a sandbox of this address asks; null: there is none. */
  passOf(address: string): Promise<string | null>
}): http.Server {
  const { target } = options
  const client = target?.protocol === 'https:' ? https : http
  const agent = new client.Agent({ keepAlive: true })
  const server = http.createServer(async (request, response) => {
    const fail = (status: number, message: string) => {
      if (response.headersSent) response.destroy()
      else response.writeHead(status, { 'content-type': 'text/plain' }).end(`${message}\n`)
    }
    const pass = await options.passOf((request.socket.remoteAddress ?? '').replace(/^::ffff:/, ''))
    if (pass === null) return fail(403, 'This address is no sandbox.')
    if (target === null) return fail(502, 'This host knows no model gateway.')
    const outgoing = client.request({
      agent,
      protocol: target.protocol,
      hostname: target.hostname.replace(/^\[(.*)\]$/, '$1'),
      port: target.port,
      method: request.method ?? 'GET',
      path: target.pathname.replace(/\/$/, '') + request.url,
      headers: withPass(endToEnd(request.rawHeaders, target.host), pass),
      setHost: false,
    })
    outgoing.once('error', (error) => fail(502, `The model gateway cannot be reached: ${error.message}`))
    outgoing.once('response', (incoming) => {
      response.writeHead(incoming.statusCode ?? 502, incoming.statusMessage, endToEnd(incoming.rawHeaders, null))
      // Server-sent events wait for nothing.
      response.flushHeaders()
      incoming.once('error', () => response.destroy())
      incoming.pipe(response)
    })
    response.once('close', () => outgoing.destroy())
    request.pipe(outgoing)
  })
  limitConnections(server)
  server.requestTimeout = 0
  return server
}

/** In the place of any that the sandbox sends itself. */
function withPass(headers: readonly string[], pass: string): string[] {
  const names = headers.filter((_, at) => at % 2 === 0)
  const others = names.flatMap((name, at) => (name.toLowerCase() === PASS ? [] : [name, headers[2 * at + 1] ?? '']))
  return [...others, PASS, pass]
}
