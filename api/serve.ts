// An HTTP server's beginning and end.
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Idle connections outlive the clients' own pools, so that a request seldom meets one that is just being closed. */
const KEEP_ALIVE_MS = 75_000
/** Connections that are still busy after this long are cut. */
const DRAIN_MS = 5_000
/** A connection falls idle only when the answer on it is out. */
const IDLE_CHECK_MS = 50

export interface Serving {
  readonly address: AddressInfo
  /** Takes no more connections, and lets the requests in hand be answered. */
  drain(): Promise<void>
}

export async function serve(app: RequestListener, port: number, host: string): Promise<Serving> {
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, app)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new TypeError('listening on something other than a port')
  return {
    address,
    drain: () =>
      new Promise((resolve) => {
        const idle = setInterval(() => server.closeIdleConnections(), IDLE_CHECK_MS)
        const late = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
        server.close(() => {
          clearInterval(idle)
          clearTimeout(late)
          resolve()
        })
      }),
  }
}
