// The forward proxy of sandboxes whose environment names the hosts that they may reach. Runs in a container of its own
// on the machine's network, from a copy of this folder: it imports nothing but Node.js.
import { lookup as systemLookup } from 'node:dns/promises'
import http from 'node:http'
import type { Socket } from 'node:net'
import { connect, isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { isClosed } from './addresses.ts'
import { isAllowed } from './allowed-hosts.ts'

/** Who asks: the sandbox that has the address a connection comes from. */
export interface Sandbox {
  /** As in `egress.allow`. */
  allow: readonly string[]
  blocked(host: string, port: number): void
}

export interface ProxyOptions {
  /** Null for an address that is no sandbox's. */
  sandboxAt(address: string): Promise<Sandbox | null>
  /** Private addresses and ranges that may be reached all the same. */
  ranges: readonly string[]
  lookup?: (host: string) => Promise<string[]>
}

/** Neither a refused host nor one that swallows packets keeps a program waiting for longer. In milliseconds. */
const CONNECT_MS = 30_000
/** No name is longer. What only looks like one is listed as far as this. */
const NAME_CHARS = 253
/** Connections of one sandbox at a time: its own programs run short before its neighbours' do. */
const CONNECTIONS = 512

class Refusal extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export function createProxy(options: ProxyOptions): http.Server {
  const lookup =
    options.lookup ?? (async (host) => (await systemLookup(host, { all: true })).map(({ address }) => address))

  /** A connection to the host, if the sandbox may have one. The name is resolved once, here: what is checked is what is connected to. */
  async function open(source: string | undefined, host: string, port: number): Promise<Socket> {
    const sandbox = source === undefined ? null : await options.sandboxAt(source.replace(/^::ffff:/, ''))
    if (sandbox === null) throw new Refusal(403, 'This address is no sandbox that may use the proxy.')
    const refuse = (reason: string) => {
      sandbox.blocked(host.toLowerCase().slice(0, NAME_CHARS), port)
      throw new Refusal(403, `Blocked by ambient: ${reason}`)
    }
    if (!isAllowed(host, port, sandbox.allow))
      refuse(`${host}:${port} is not among the hosts that this environment may reach (environment.egress.allow).`)
    const addresses = isIP(host) > 0 ? [host] : await lookup(host).catch(() => [])
    if (addresses.length === 0) throw new Refusal(502, `${host} has no address.`)
    const reachable = addresses.filter((address) => !isClosed(address, options.ranges))
    if (reachable.length === 0)
      refuse(`${host} has a private address (${addresses[0]}); AMBIENT_EGRESS_ALLOW of the host may open it.`)
    return await connectToAny(reachable, host, port)
  }

  const server = http.createServer((request, response) => {
    forward(request, response).catch((error: unknown) => {
      if (response.headersSent) return response.destroy()
      const { status, message } = asRefusal(error)
      response.writeHead(status, { 'content-type': 'text/plain', connection: 'close' }).end(`${message}\n`)
    })
  })

  async function forward(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const url = URL.parse(request.url ?? '')
    if (url === null || url.protocol !== 'http:' || url.hostname === '')
      throw new Refusal(400, 'This is a proxy: it wants CONNECT, or an address that begins with http://.')
    const port = Number(url.port || 80)
    const socket = await open(request.socket.remoteAddress, bare(url.hostname), port)
    await new Promise<void>((resolve, reject) => {
      const outgoing = http.request({
        createConnection: () => socket,
        method: request.method ?? 'GET',
        path: url.pathname + url.search,
        headers: endToEnd(request.rawHeaders, url.host),
        setHost: false,
      })
      outgoing.once('error', reject)
      outgoing.once('response', (incoming) => {
        response.writeHead(incoming.statusCode ?? 502, incoming.statusMessage, endToEnd(incoming.rawHeaders, null))
        incoming.pipe(response)
        incoming.once('error', reject)
        incoming.once('end', resolve)
      })
      // Whoever does not wait for the answer any more needs no connection.
      response.once('close', () => {
        socket.destroy()
        resolve()
      })
      request.pipe(outgoing)
    })
  }

  server.on('connect', (request: http.IncomingMessage, client: Duplex, head: Buffer) => {
    client.on('error', () => client.destroy())
    const target = /^(.+):(\d{1,5})$/.exec(request.url ?? '')
    const host = bare(target?.[1] ?? '')
    const opened =
      target && Number(target[2]) <= 65_535
        ? open(request.socket.remoteAddress, host, Number(target[2]))
        : Promise.reject(new Refusal(400, 'CONNECT wants host:port.'))
    opened.then(
      (socket) => {
        client.write('HTTP/1.1 200 Connection established\r\n\r\n')
        if (head.length > 0) socket.write(head)
        join(client, socket)
      },
      (error: unknown) => {
        const { status, message } = asRefusal(error)
        const head = `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\ncontent-type: text/plain\r\nconnection: close\r\n`
        client.end(`${head}content-length: ${Buffer.byteLength(message) + 1}\r\n\r\n${message}\n`)
      },
    )
  })

  limitConnections(server)
  // Downloads take as long as they take; a sandbox ends with its connections.
  server.requestTimeout = 0
  return server
}

/** An address in brackets, as URLs have it, without them. */
const bare = (host: string) => host.replace(/^\[(.*)\]$/, '$1')

export function limitConnections(server: http.Server): void {
  const open = new Map<string, number>()
  server.on('connection', (socket: Socket) => {
    const source = socket.remoteAddress ?? ''
    const count = (open.get(source) ?? 0) + 1
    if (count > CONNECTIONS) return void socket.destroy()
    open.set(source, count)
    socket.once('close', () => {
      const left = (open.get(source) ?? 1) - 1
      if (left === 0) open.delete(source)
      else open.set(source, left)
    })
  })
}

async function connectToAny(addresses: readonly string[], host: string, port: number): Promise<Socket> {
  let reason = ''
  for (const address of addresses) {
    try {
      return await connectTo(address, port)
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error)
    }
  }
  throw new Refusal(502, `${host}:${port} cannot be reached: ${reason}`)
}

function connectTo(address: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, noDelay: true })
    socket.setTimeout(CONNECT_MS, () => socket.destroy(new Error('it does not answer')))
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.setTimeout(0)
      socket.off('error', reject)
      resolve(socket)
    })
  })
}

function join(one: Duplex, other: Duplex): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.pipe(to)
    from.on('error', () => to.destroy())
    from.on('close', () => to.destroy())
  }
}

const asRefusal = (error: unknown): Refusal =>
  error instanceof Refusal ? error : new Refusal(502, error instanceof Error ? error.message : String(error))

/** Of this hop alone; a body keeps its framing, for it is passed on as it is read. */
const HOP = [
  'connection',
  'proxy-connection',
  'keep-alive',
  'proxy-authorization',
  'proxy-authenticate',
  'te',
  'trailer',
]

/** Headers without those of the hop, as a flat list. A `host` takes the place of what the client says it is. */
export function endToEnd(raw: readonly string[], host: string | null): string[] {
  const headers = host === null ? [] : ['host', host]
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at] ?? ''
    const isDropped = HOP.includes(name.toLowerCase()) || (host !== null && name.toLowerCase() === 'host')
    if (!isDropped) headers.push(name, raw[at + 1] ?? '')
  }
  return headers
}
