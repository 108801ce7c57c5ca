import { createHash, randomBytes } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { CredentialHolder } from './credential.ts'
import { createGateway, type Gateway, type GatewayCall } from './gateway.ts'

const realKey = 'sk-real-key-of-the-provider'
const token = 'run-token-1'
const holder: CredentialHolder = { runId: '0b0c7a5e-0000-4000-8000-000000000001', execution: 1, team: 'default' }

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void

let upstream: http.Server
let answer: Handler
let seen: { method: string; url: string; headers: http.IncomingHttpHeaders; socket: unknown }[]
let gateway: Gateway
let base: string
let calls: GatewayCall[]
let called: PromiseWithResolvers<GatewayCall>
let authorize: (token: string) => Promise<CredentialHolder | null>
let time = 0
const log = { warn: vi.fn() }

beforeEach(async () => {
  seen = []
  calls = []
  called = Promise.withResolvers()
  log.warn.mockClear()
  answer = (_request, response) => response.end('{}')
  upstream = http.createServer((request, response) => {
    const { method = '', url = '', headers, socket } = request
    seen.push({ method, url, headers, socket })
    answer(request, response)
  })
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
  authorize = async (value) => (value === token ? holder : null)
  const origin = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
  gateway = createGateway({
    authorize: (value) => authorize(value),
    route: async (_holder, provider) => ({ target: targets(origin)[provider], priced: true }),
    onCall: (call) => {
      calls.push(call)
      called.resolve(call)
    },
    log,
    now: () => time,
  })
  base = `http://127.0.0.1:${await gateway.listen(0, '127.0.0.1')}`
})

afterEach(async () => {
  await gateway.close(0)
  upstream.closeAllConnections()
  await new Promise((resolve) => upstream.close(resolve))
})

const ask = (path: string, init: RequestInit = {}) =>
  fetch(base + path, {
    method: 'POST',
    body: '{"model":"m"}',
    ...init,
    headers: { 'x-api-key': token, ...init.headers },
  })

const targets = (origin: string) => ({
  anthropic: { baseUrl: origin, apiKey: realKey },
  openai: { baseUrl: `${origin}/v1`, apiKey: realKey },
  gemini: { baseUrl: 'http://127.0.0.1:9', apiKey: realKey },
})

const bodyOf = (response: Response) => response.body ?? expect.fail('no body')

test("a call reaches the provider with the real key in place of the run's credential", async () => {
  const response = await ask('/anthropic/v1/messages?beta=true', {
    headers: { 'anthropic-version': '2023-06-01', authorization: 'Bearer something-else' },
  })
  expect(response.status).toBe(200)
  expect(seen).toHaveLength(1)
  expect(seen[0]).toMatchObject({ method: 'POST', url: '/v1/messages?beta=true' })
  expect(seen[0]?.headers).toMatchObject({
    'x-api-key': realKey,
    'anthropic-version': '2023-06-01',
    'content-length': '13',
    host: new URL(`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`).host,
  })
  expect(seen[0]?.headers.authorization).toBeUndefined()
  await called.promise
  expect(calls).toMatchObject([
    {
      runId: holder.runId,
      execution: 1,
      provider: 'anthropic',
      method: 'POST',
      path: '/v1/messages',
      status: 200,
      complete: true,
    },
  ])
})

test.each([
  ['x-api-key', '/openai/models', { 'x-api-key': token }],
  ['Authorization', '/openai/models', { authorization: `Bearer ${token}` }],
  ['x-goog-api-key', '/openai/models', { 'x-goog-api-key': token }],
  ['?key=', `/openai/models?alt=sse&key=${token}&x=a%20b`, {}],
])('the credential is read from %s and goes no further', async (_place, path, headers) => {
  const response = await fetch(base + path, { headers: headers as Record<string, string> })
  expect(response.status).toBe(200)
  expect(seen[0]?.headers.authorization).toBe(`Bearer ${realKey}`)
  expect(JSON.stringify(seen[0]?.headers) + seen[0]?.url).not.toContain(token)
  expect(seen[0]?.url).toBe(path.includes('?') ? '/v1/models?alt=sse&x=a%20b' : '/v1/models')
  expect(seen[0]?.headers['transfer-encoding']).toBeUndefined()
})

test('a chunk of the answer arrives before the answer has ended', async () => {
  const goOn = Promise.withResolvers<void>()
  answer = async (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: one\n\n')
    await goOn.promise
    response.end('data: two\n\n')
  }
  const response = await ask('/anthropic/v1/messages')
  expect(response.headers.get('content-type')).toBe('text/event-stream')
  const reader = bodyOf(response).pipeThrough(new TextDecoderStream()).getReader()
  expect((await reader.read()).value).toBe('data: one\n\n')
  goOn.resolve()
  expect((await reader.read()).value).toBe('data: two\n\n')
  expect((await reader.read()).done).toBe(true)
})

test('a chunk of the request arrives before the request has ended', async () => {
  const first = Promise.withResolvers<string>()
  answer = async (request, response) => {
    request.once('data', (chunk: Buffer) => first.resolve(chunk.toString()))
    await text(request)
    response.end('{}')
  }
  const request = http.request(`${base}/openai/chat/completions`, { method: 'POST', headers: { 'x-api-key': token } })
  const response = new Promise<http.IncomingMessage>((resolve) => request.once('response', resolve))
  request.write('part one')
  expect(await first.promise).toBe('part one')
  request.end('part two')
  expect((await response).statusCode).toBe(200)
  ;(await response).resume()
})

test('when the agent goes away in the middle of an answer, the call to the provider is broken off', async () => {
  const broken = Promise.withResolvers<void>()
  answer = (_request, response) => {
    response.write('data: one\n\n')
    response.once('close', () => broken.resolve())
  }
  const abort = new AbortController()
  const response = await ask('/anthropic/v1/messages', { signal: abort.signal })
  await bodyOf(response).getReader().read()
  abort.abort()
  await broken.promise
  expect(await called.promise).toMatchObject({ status: 200, complete: false })
  expect(log.warn).not.toHaveBeenCalled()
})

test('when the agent goes away before the answer begins, the call to the provider is broken off', async () => {
  const arrived = Promise.withResolvers<void>()
  const broken = Promise.withResolvers<void>()
  answer = (_request, response) => {
    arrived.resolve()
    response.once('close', () => broken.resolve())
  }
  const abort = new AbortController()
  const response = ask('/anthropic/v1/messages', { signal: abort.signal })
  await arrived.promise
  abort.abort()
  await expect(response).rejects.toThrow()
  await broken.promise
  expect(await called.promise).toMatchObject({ status: null, complete: false })
})

test('an answer that breaks off upstream breaks off for the agent too', async () => {
  answer = (_request, response) => {
    response.write('data: one\n\n', () => response.destroy())
  }
  const response = await ask('/anthropic/v1/messages')
  await expect(response.text()).rejects.toThrow()
  expect(await called.promise).toMatchObject({ complete: false })
})

test.each([400, 401, 429, 500, 529])('an error of the provider is passed on as it is: %i', async (status) => {
  const body = JSON.stringify({ type: 'error', error: { type: 'x', message: 'said by the provider' } })
  answer = (_request, response) =>
    response.writeHead(status, 'Its Own Words', { 'retry-after': '7', 'x-request-id': 'req_1' }).end(body)
  const response = await ask('/anthropic/v1/messages')
  expect(response.status).toBe(status)
  expect(response.statusText).toBe('Its Own Words')
  expect(response.headers.get('retry-after')).toBe('7')
  expect(response.headers.get('x-request-id')).toBe('req_1')
  expect(await response.text()).toBe(body)
  expect(seen).toHaveLength(1)
})

test('an answer that is compressed though none was asked for stays so', async () => {
  const { gzipSync } = await import('node:zlib')
  const packed = gzipSync('hello')
  answer = (_request, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(packed)
  const response = await ask('/anthropic/v1/messages', { headers: { 'accept-encoding': 'gzip' } })
  expect(seen[0]?.headers['accept-encoding']).toBe('identity')
  expect(response.headers.get('content-encoding')).toBe('gzip')
  expect(await response.text()).toBe('hello')
})

test('a provider that cannot be reached gives 502 in its own shape, and no second try', async () => {
  const response = await ask('/gemini/v1beta/models/m:generateContent')
  expect(response.status).toBe(502)
  expect(await response.json()).toEqual({
    error: {
      code: 502,
      status: 'UNAVAILABLE',
      message: expect.stringMatching(/^The model provider at 127\.0\.0\.1:9 cannot be reached: .*ECONNREFUSED/),
    },
  })
  expect(log.warn).toHaveBeenCalledOnce()
})

test.each([
  ['anthropic', { type: 'error', error: { type: 'authentication_error', message: expect.any(String) } }],
  [
    'openai',
    { error: { type: 'invalid_request_error', code: 'invalid_api_key', param: null, message: expect.any(String) } },
  ],
  ['gemini', { error: { code: 401, status: 'UNAUTHENTICATED', message: expect.any(String) } }],
])('a foreign credential is refused in the shape of %s, and nothing is passed on', async (provider, body) => {
  for (const headers of [{ 'x-api-key': 'foreign' }, { 'x-api-key': '' }]) {
    const response = await ask(`/${provider}/x`, { headers })
    expect(response.status).toBe(401)
    expect(await response.json()).toEqual(body)
  }
  expect(seen).toHaveLength(0)
})

test('the real key appears in no answer and in no log line', async () => {
  const answers = await Promise.all([
    ask('/anthropic/v1/messages').then(async (r) => JSON.stringify([...r.headers]) + (await r.text())),
    ask('/anthropic/v1/messages', { headers: { 'x-api-key': 'foreign' } }).then((r) => r.text()),
    ask(`/gemini/x?key=${token}`).then((r) => r.text()),
    ask('/nobody/x').then((r) => r.text()),
  ])
  const log_ = JSON.stringify(log.warn.mock.calls.map((call) => call.map((part) => ({ ...part, text: String(part) }))))
  expect(answers.join('\n') + log_ + JSON.stringify(calls)).not.toContain(realKey)
  expect(log_ + JSON.stringify(calls)).not.toContain(token)
})

test('connections are used again, on both sides', async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const sockets = new Set<unknown>()
  for (let i = 0; i < 3; i++) {
    const request = http.request(`${base}/anthropic/v1/messages`, {
      method: 'POST',
      agent,
      headers: { 'x-api-key': token },
    })
    request.end('{}')
    const [response] = (await Promise.race([
      new Promise((resolve) => request.once('response', (r) => resolve([r]))),
    ])) as [http.IncomingMessage]
    sockets.add(response.socket)
    await text(response)
  }
  agent.destroy()
  expect(sockets.size).toBe(1)
  expect(new Set(seen.map((request) => request.socket)).size).toBe(1)
})

test('a body is never taken for a call of its own, even when its length is declared to be of this hop', async () => {
  const bodies: string[] = []
  answer = async (request, response) => {
    bodies.push(await text(request))
    response.end('{}')
  }
  const body = 'GET /v1/smuggled HTTP/1.1\r\nhost: a\r\n\r\n'
  const socket = connect(Number(new URL(base).port), '127.0.0.1')
  socket.write(
    `GET /openai/models HTTP/1.1\r\nhost: g\r\nauthorization: Bearer ${token}\r\n` +
      `connection: close, content-length\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  )
  expect(await text(socket)).toContain('200 OK')
  expect(seen.map(({ url }) => url)).toEqual(['/v1/models'])
  expect(bodies).toEqual([body])
})

test('20 MB pass unchanged in both directions', async () => {
  const body = randomBytes(20 * 1024 * 1024)
  const sha = (data: Uint8Array) => createHash('sha256').update(data).digest('hex')
  answer = (request, response) => {
    response.writeHead(200)
    request.pipe(response)
  }
  const response = await ask('/openai/responses', { body })
  expect(sha(new Uint8Array(await response.arrayBuffer()))).toBe(sha(body))
})

test('an answer that comes before the request was read reaches the agent', async () => {
  answer = (request, response) => {
    response.writeHead(413).end('too large')
    request.resume()
  }
  const response = await ask('/openai/responses', { body: Buffer.alloc(20 * 1024 * 1024) })
  expect(response.status).toBe(413)
  expect(await response.text()).toBe('too large')
})

test('an agent in the middle of an upload learns that the provider cannot be reached', async () => {
  const response = await ask('/gemini/v1beta/x', { body: Buffer.alloc(20 * 1024 * 1024) })
  expect(response.status).toBe(502)
})

/** Speaks HTTP by hand, for what a client library would not send. */
async function raw(head: string): Promise<string> {
  const socket = connect(Number(new URL(base).port), '127.0.0.1')
  socket.write(`${head}\r\nhost: gateway\r\nx-api-key: ${token}\r\nconnection: close\r\n\r\n`)
  return text(socket)
}

test.each([
  'GET /anthropic/../admin HTTP/1.1',
  'GET /anthropic/v1/%2e%2e/%2E./admin HTTP/1.1',
  'GET /anthropic/v1/..%2fadmin HTTP/1.1',
  'GET /anthropic/v1/..%5cadmin HTTP/1.1',
  'GET /anthropic/%ff HTTP/1.1',
  'GET http://127.0.0.1:1/anthropic/v1/messages HTTP/1.1',
  'GET / HTTP/1.1',
  'GET /constructor/x HTTP/1.1',
])('%s is refused', async (head) => {
  expect(await raw(head)).toMatch(/^HTTP\/1\.1 404 /)
  expect(seen).toHaveLength(0)
})

test('a WebSocket is refused in a way that makes clients use HTTP', async () => {
  const socket = connect(Number(new URL(base).port), '127.0.0.1')
  socket.write('GET /openai/responses HTTP/1.1\r\nhost: g\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n')
  expect(await text(socket)).toMatch(/^HTTP\/1\.1 426 Upgrade Required\r\n/)
})

test('while credentials cannot be checked, a run that was good a moment ago goes on and others are asked to wait', async () => {
  expect((await ask('/anthropic/v1/messages')).status).toBe(200)
  authorize = async () => {
    throw new Error('the database is away')
  }
  time += 30_000
  expect((await ask('/anthropic/v1/messages')).status).toBe(200)
  expect((await ask('/anthropic/v1/messages', { headers: { 'x-api-key': 'other' } })).status).toBe(503)
  time += 31_000
  expect((await ask('/anthropic/v1/messages')).status).toBe(503)
})

test('a revoked credential is refused after a few seconds', async () => {
  expect((await ask('/anthropic/v1/messages')).status).toBe(200)
  authorize = async () => null
  time += 6_000
  expect((await ask('/anthropic/v1/messages')).status).toBe(401)
})

test('closing lets a running answer end', async () => {
  const goOn = Promise.withResolvers<void>()
  answer = async (_request, response) => {
    response.write('one ')
    await goOn.promise
    response.end('two')
  }
  const whole = await ask('/anthropic/v1/messages')
  const closed = gateway.close(60_000)
  goOn.resolve()
  expect(await whole.text()).toBe('one two')
  await closed
  await expect(fetch(base)).rejects.toThrow()
})

test('closing breaks off an answer that does not end in time', async () => {
  answer = (_request, response) => void response.write('one')
  const response = await ask('/anthropic/v1/messages')
  await gateway.close(20)
  await expect(response.text()).rejects.toThrow()
})
