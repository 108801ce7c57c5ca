import http from 'node:http'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createProxy } from './proxy.ts'
import { createRelay } from './relay.ts'

const servers: { close(): unknown; closeAllConnections?(): void }[] = []
let addresses: Record<string, string[]>
let lookups: string[]
let blocked: string[]
let allow: string[]
let isSandbox: boolean
let ranges: string[]
let proxy: number

async function listen(server: Server | http.Server): Promise<number> {
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

beforeEach(async () => {
  addresses = {}
  ;[lookups, blocked, allow, isSandbox] = [[], [], ['registry.example.org', 'other.example'], true]
  // The tests' outside is this machine itself.
  ranges = ['127.0.0.1']
  const sandbox = () => ({ allow, blocked: (host: string, port: number) => blocked.push(`${host}:${port}`) })
  proxy = await listen(
    createProxy({
      sandboxAt: async (address) => (isSandbox && address === '127.0.0.1' ? sandbox() : null),
      get ranges() {
        return ranges
      },
      lookup: async (host) => {
        lookups.push(host)
        return addresses[host] ?? []
      },
    }),
  )
})

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.close()
    server.closeAllConnections?.()
  }
})

/** A server of the outside, under a name. */
async function outside(name: string, handler: http.RequestListener): Promise<number> {
  addresses[name] = ['127.0.0.1']
  const port = await listen(http.createServer(handler))
  allow.push(`${name}:${port}`)
  return port
}

/** What the proxy says to bytes of a client. */
async function say(bytes: string): Promise<{ socket: Socket; answer: string }> {
  const socket = connect(proxy, '127.0.0.1')
  socket.write(bytes)
  const answer = await new Promise<string>((resolve) => socket.once('data', (data) => resolve(String(data))))
  return { socket, answer }
}

test('a request by HTTP reaches a host that is allowed, with the host that it was checked for', async () => {
  const port = await outside('registry.example.org', async (request, response) => {
    const { host, 'proxy-authorization': secret, 'x-mine': mine } = request.headers
    response.end(JSON.stringify({ url: request.url, host, secret, mine, body: await text(request) }))
  })
  const response = http.request({
    ...{ host: '127.0.0.1', port: proxy, method: 'POST', path: `http://registry.example.org:${port}/a?b=c` },
    headers: {
      host: 'evil.example',
      'proxy-authorization': 'secret',
      'x-mine': 'kept',
      'transfer-encoding': 'chunked',
    },
  })
  response.end('body')
  const [answer] = (await new Promise((resolve) => response.once('response', (r) => resolve([r])))) as [
    http.IncomingMessage,
  ]
  expect(JSON.parse(await text(answer))).toEqual({
    ...{ url: '/a?b=c', host: `registry.example.org:${port}`, mine: 'kept', body: 'body' },
  })
  expect(blocked).toEqual([])
})

test('a tunnel to a host that is allowed carries bytes both ways', async () => {
  const port = await listen(createServer((socket) => socket.on('data', (data) => socket.write(`got ${data}`))))
  addresses['registry.example.org'] = ['127.0.0.1']
  allow = [`registry.example.org:${port}`]
  const { socket, answer } = await say(`CONNECT registry.example.org:${port} HTTP/1.1\r\n\r\n`)
  expect(answer).toMatch(/^HTTP\/1.1 200 /)
  socket.write('one')
  expect(String(await new Promise((resolve) => socket.once('data', resolve)))).toBe('got one')
  socket.destroy()
})

test.each([
  ['CONNECT evil.example:443 HTTP/1.1', 'evil.example:443'],
  ['CONNECT registry.example.org:22 HTTP/1.1', 'registry.example.org:22'],
  ['CONNECT 169.254.169.254:80 HTTP/1.1', '169.254.169.254:80'],
  ['CONNECT [::1]:80 HTTP/1.1', '::1:80'],
  ['GET http://evil.example/secret HTTP/1.1', 'evil.example:80'],
])('%s is refused and noted, and its name is not even looked up', async (line, noted) => {
  const { socket, answer } = await say(`${line}\r\nhost: registry.example.org\r\n\r\n`)
  expect(answer).toMatch(/^HTTP\/1.1 403 Forbidden\r\n[\s\S]*Blocked by ambient/)
  expect(blocked).toEqual([noted])
  expect(lookups).toEqual([])
  socket.destroy()
})

test.each(['127.0.0.2', '169.254.169.254', '10.1.2.3', 'fd00:ec2::254', '::ffff:10.0.0.1'])(
  'a name that is allowed and leads to %s is refused: nobody gets in by a name server of his own',
  async (address) => {
    addresses['registry.example.org'] = [address]
    const { socket, answer } = await say('CONNECT registry.example.org:443 HTTP/1.1\r\n\r\n')
    expect(answer).toMatch(/^HTTP\/1.1 403 /)
    expect(answer).toContain(`private address (${address})`)
    expect(blocked).toEqual(['registry.example.org:443'])
    expect(lookups).toEqual(['registry.example.org'])
    socket.destroy()
  },
)

test('of several addresses a private one is passed over', async () => {
  const port = await outside('other.example', (_request, response) => response.end('there'))
  addresses['other.example'] = ['10.0.0.1', '127.0.0.1']
  const { socket, answer } = await say(`GET http://other.example:${port}/ HTTP/1.1\r\nhost: x\r\n\r\n`)
  expect(answer).toMatch(/^HTTP\/1.1 200 [\s\S]*there/)
  socket.destroy()
})

test('what is listed of a refusal is never too much for a list', async () => {
  const long = await say(`CONNECT ${'A'.repeat(5_000)}.example:443 HTTP/1.1\r\n\r\n`)
  expect(long.answer).toMatch(/^HTTP\/1.1 403 /)
  const port = await say('CONNECT evil.example:99999 HTTP/1.1\r\n\r\n')
  expect(port.answer).toMatch(/^HTTP\/1.1 400 /)
  expect(blocked).toEqual([`${'a'.repeat(253)}:443`])
})

test('whoever is no sandbox gets nowhere', async () => {
  isSandbox = false
  const { socket, answer } = await say('CONNECT registry.example.org:443 HTTP/1.1\r\n\r\n')
  expect(answer).toMatch(/^HTTP\/1.1 403 /)
  expect([lookups, blocked]).toEqual([[], []])
  socket.destroy()
})

test('a host without an address, and one that nobody listens at, are said to be so', async () => {
  addresses['registry.example.org'] = []
  const missing = await say('CONNECT registry.example.org:443 HTTP/1.1\r\n\r\n')
  expect(missing.answer).toMatch(/^HTTP\/1.1 502 [\s\S]*has no address/)
  addresses['registry.example.org'] = ['127.0.0.1']
  allow = ['registry.example.org:1']
  const closed = await say('CONNECT registry.example.org:1 HTTP/1.1\r\n\r\n')
  expect(closed.answer).toMatch(/^HTTP\/1.1 502 [\s\S]*cannot be reached/)
  expect(blocked).toEqual([])
})

test('one sandbox cannot take all connections', async () => {
  const sockets = Array.from({ length: 530 }, () => connect(proxy, '127.0.0.1').on('error', () => {}))
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('connect', resolve))))
  const closed = await Promise.all(
    sockets.slice(512).map((socket) => new Promise((done) => socket.once('close', () => done(true)))),
  )
  expect(closed).toHaveLength(18)
  for (const socket of sockets) socket.destroy()
})

test('the relay passes a sandbox on to the gateway, chunk by chunk, and nobody else', async () => {
  const goOn = Promise.withResolvers<void>()
  const gateway = await listen(
    http.createServer(async (request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const { 'x-api-key': key, 'x-ambient-pass': pass } = request.headers
      response.write(`${request.url} ${key} ${pass} ${await text(request)}\n`)
      await goOn.promise
      response.end('end\n')
    }),
  )
  const target = new URL(`http://127.0.0.1:${gateway}/base`)
  const relay = await listen(createRelay({ target, passOf: async () => (isSandbox ? 'its-pass' : null) }))
  const url = `http://127.0.0.1:${relay}/anthropic/v1/messages?beta=true`
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'x-api-key': 'token', 'X-Ambient-Pass': 'made up' },
    body: 'question',
  })
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  expect((await reader?.read())?.value).toBe('/base/anthropic/v1/messages?beta=true token its-pass question\n')
  goOn.resolve()
  expect((await reader?.read())?.value).toBe('end\n')
  isSandbox = false
  expect((await fetch(url)).status).toBe(403)
})
