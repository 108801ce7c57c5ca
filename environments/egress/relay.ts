// The way of restricted sandboxes to the model gateway: the one service that they reach beside the proxy.
import http from 'node:http'
import https from 'node:https'
import { endToEnd, limitConnections } from './proxy.ts'

/** Passes every request of a sandbox on to the gateway, both bodies as they come. */
export function createRelay(options: {
  /** Null while the host has not said where it is. */
  target: URL | null
  isSandbox(address: string): Promise<boolean>
}): http.Server {
  const { target } = options
  const client = target?.protocol === 'https:' ? https : http
  const agent = new client.Agent({ keepAlive: true })
  const server = http.createServer(async (request, response) => {
    const fail = (status: number, message: string) => {
      if (response.headersSent) response.destroy()
      else response.writeHead(status, { 'content-type': 'text/plain' }).end(`${message}\n`)
    }
    if (!(await options.isSandbox((request.socket.remoteAddress ?? '').replace(/^::ffff:/, ''))))
      return fail(403, 'This address is no sandbox.')
    if (target === null) return fail(502, 'This host knows no model gateway.')
    const outgoing = client.request({
      agent,
      protocol: target.protocol,
      hostname: target.hostname.replace(/^\[(.*)\]$/, '$1'),
      port: target.port,
      method: request.method ?? 'GET',
      path: target.pathname.replace(/\/$/, '') + request.url,
      headers: endToEnd(request.rawHeaders, target.host),
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
