// What the gateway asks and tells of each call, before it goes out and before its answer is whole.
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { CallRefusal, ModelCallEnd, ModelCallStart } from '../../domain/models/call.ts'
import { hashOfSecret } from '../../store/secret-hash.ts'
import type { CredentialHolder } from './credential.ts'
import { createGateway, type Gateway } from './gateway.ts'
import type { ProviderTarget } from './providers.ts'

const token = 'run-token-1'

let upstream: http.Server
let answer: (response: http.ServerResponse, body: string) => void
let bodies: { url: string; body: string; headers: http.IncomingHttpHeaders }[]
let target: ProviderTarget
let holder: CredentialHolder
let refusal: CallRefusal | Error | null
let admitted: ModelCallStart[]
let settled: (ModelCallEnd & { model: string | null })[]
let refused: string[]
let settling: Promise<void>
let claimed: string
let gateway: Gateway
let base: string
let origin: string
const log = { warn: vi.fn() }

beforeEach(async () => {
  bodies = []
  admitted = []
  settled = []
  refused = []
  refusal = null
  settling = Promise.resolve()
  claimed = ''
  holder = { runId: '0b0c7a5e-0000-4000-8000-000000000001', execution: 1, team: 'default' }
  answer = (response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
  upstream = http.createServer(async (request, response) => {
    const body = await text(request).catch(() => 'broken off')
    bodies.push({ url: request.url ?? '', body, headers: request.headers })
    answer(response, body)
  })
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
  target = { baseUrl: origin, apiKey: 'sk-real' }
  gateway = createGateway({
    authorize: async (value) => (value === token ? holder : null),
    claim: async (_holder, address) => {
      claimed ||= address
      return claimed
    },
    route: async () => ({ target, priced: true }),
    hooks: {
      async admit(_holder, call) {
        if (refusal instanceof Error) throw refusal
        if (refusal === null) admitted.push(call)
        return refusal
      },
      async settle(_holder, { model }, end) {
        await settling
        settled.push({ ...end, model })
      },
    },
    onRefusal: ({ reason }) => void refused.push(reason),
    mayReach: (address) => address !== '127.0.0.1',
    log,
  })
  base = `http://127.0.0.1:${await gateway.listen(0, '127.0.0.1')}`
})
afterEach(async () => {
  await gateway.close(0)
  upstream.closeAllConnections()
  await new Promise((resolve) => upstream.close(resolve))
})

const ask = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(base + path, {
    method: 'POST',
    body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
    headers: { 'x-api-key': token, ...headers },
  })

const streamOf = (...events: unknown[]) => events.map((event) => `data: ${JSON.stringify(event)}\n\n`)
const claudeEvents = streamOf(
  { type: 'message_start', message: { usage: { input_tokens: 7, output_tokens: 1 } } },
  { type: 'content_block_delta', delta: { type: 'text_delta', text: 'hello' } },
  { type: 'message_delta', usage: { output_tokens: 9 } },
  { type: 'message_stop' },
)

test('the end of a stream reaches the agent when its call is settled, and everything before it at once', async () => {
  const mayEnd = Promise.withResolvers<void>()
  const maySettle = Promise.withResolvers<void>()
  settling = maySettle.promise
  answer = async (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const event of claudeEvents.slice(0, 2)) response.write(event)
    await mayEnd.promise
    response.end(claudeEvents.slice(2).join(''))
  }
  const response = await ask('/anthropic/v1/messages', { stream: true, messages: [], model: 'claude-x' })
  const reader = (response.body ?? expect.fail()).pipeThrough(new TextDecoderStream()).getReader()
  let got = ''
  while (!got.includes('hello')) got += (await reader.read()).value ?? expect.fail(got)
  mayEnd.resolve()
  const rest = reader.read()
  expect(await Promise.race([rest, new Promise((resolve) => setTimeout(resolve, 50, 'waits'))])).toBe('waits')
  maySettle.resolve()
  got += (await rest).value
  for (let next = await reader.read(); !next.done; next = await reader.read()) got += next.value
  expect(got).toBe(claudeEvents.join(''))
  expect(admitted).toMatchObject([{ model: 'claude-x', provider: 'anthropic', path: '/v1/messages', known: true }])
  expect(settled).toMatchObject([
    { model: 'claude-x', status: 200, complete: true, estimated: false, usage: { input: 7, output: 9 } },
  ])
})

test('when the agent goes away in mid-stream, the call costs what was said until then', async () => {
  answer = (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const event of claudeEvents.slice(0, 2)) response.write(event)
  }
  const abort = new AbortController()
  const response = await fetch(`${base}/anthropic/v1/messages`, {
    method: 'POST',
    body: '{"model":"claude-x"}',
    headers: { 'x-api-key': token },
    signal: abort.signal,
  })
  const reader = (response.body ?? expect.fail()).pipeThrough(new TextDecoderStream()).getReader()
  for (let got = ''; !got.includes('hello'); ) got += (await reader.read()).value ?? expect.fail(got)
  abort.abort()
  await expect.poll(() => settled).toMatchObject([{ complete: false, estimated: true, usage: { input: 7, output: 2 } }])
})

test('an error of the provider costs nothing, and is settled', async () => {
  answer = (response) => response.writeHead(529, { 'content-type': 'application/json' }).end('{"type":"error"}')
  expect((await ask('/anthropic/v1/messages', { model: 'claude-x' })).status).toBe(529)
  expect(settled).toEqual([{ model: 'claude-x', status: 529, complete: true, usage: null, estimated: false }])
})

test('a provider that cannot be reached costs nothing, and is settled', async () => {
  target = { baseUrl: 'http://127.0.0.1:9', apiKey: null }
  expect((await ask('/openai/responses', { model: 'gpt-x' })).status).toBe(502)
  expect(settled).toMatchObject([{ status: null, complete: false, usage: null }])
})

test.each([
  ['budget', 'credits', 402, 'billing_error'],
  ['not_allowed', 'unpriced', 400, 'invalid_request_error'],
] as const)(
  'a call that is refused (%s) does not go out, and the agent is told why',
  async (kind, reason, status, type) => {
    refusal = { kind, reason, message: 'No more of that.' }
    const response = await ask('/anthropic/v1/messages', { model: 'claude-x' })
    expect(response.status).toBe(status)
    expect(await response.json()).toEqual({
      type: 'error',
      error: { type, message: expect.stringMatching(/^No more of that\./) },
    })
    expect(bodies).toEqual([])
    expect(settled).toEqual([])
    expect(refused).toEqual([reason])
  },
)

test('a call that cannot be written down does not go out, and is to be tried again', async () => {
  refusal = new Error('the database is away')
  expect((await ask('/openai/responses', { model: 'gpt-x' })).status).toBe(503)
  expect(bodies).toEqual([])
})

test('an answer whose call cannot be settled breaks off', async () => {
  settling = Promise.reject(new Error('the database is away'))
  settling.catch(() => {})
  await expect(ask('/anthropic/v1/messages', { model: 'claude-x' }).then((r) => r.text())).rejects.toThrow()
})

test('a stream of chat completions is asked to tell its usage, where the agent does not say', async () => {
  const asks = { stream_options: { include_usage: true } }
  await ask('/openai/chat/completions', { model: 'gpt-x', messages: [{ content: '{"stream":1}' }], stream: true })
  await ask('/openai/chat/completions', { model: 'gpt-x', stream: true, stream_options: { include_usage: false } })
  await ask('/openai/chat/completions', { model: 'gpt-x', messages: [] })
  expect(bodies.map(({ body }) => JSON.parse(body))).toEqual([
    { model: 'gpt-x', messages: [{ content: '{"stream":1}' }], stream: true, ...asks },
    { model: 'gpt-x', stream: true, stream_options: { include_usage: false } },
    { model: 'gpt-x', messages: [] },
  ])
  for (const { body, headers } of bodies) expect(headers['content-length']).toBe(String(body.length))
})

test('the model is read wherever it stands, from a packed body as well, and from the path where it is there', async () => {
  await ask('/anthropic/v1/messages', { messages: ['x'.repeat(300_000)], model: 'at-the-end' })
  await ask('/openai/responses', gzipSync('{"input":"x","model":"packed"}'), { 'content-encoding': 'gzip' })
  await ask('/gemini/v1beta/models/gem%2Dx:generateContent', { model: 'not-this', contents: [] })
  expect(admitted.map(({ model }) => model)).toEqual(['at-the-end', 'packed', 'gem-x'])
  expect(gzipSync('{"input":"x","model":"packed"}').equals(Buffer.from(bodies[1]?.body ?? '', 'latin1'))).toBe(false)
  expect(bodies[1]?.headers['content-encoding']).toBe('gzip')
})

test.each([
  ['a model that is named twice', '{"model":"cheap","x":1,"model":"dear"}'],
  ['a second name far behind the first', `{"model":"cheap","x":"${'y'.repeat(2_000_000)}","model":"dear"}`],
  ['a call in the background', '{"model":"gpt-x","background":true}'],
])('%s is refused, or broken off', async (_what, body) => {
  const status = await ask('/openai/responses', body).then(
    (response) => response.status,
    () => 'broken',
  )
  expect([400, 'broken']).toContain(status)
  for (const seen of bodies) expect(seen.body).toBe('broken off')
})

test('what costs nothing is passed on without being written down', async () => {
  await ask('/anthropic/v1/messages/count_tokens', { model: 'claude-x' })
  await ask('/openai/moderations', { model: 'e' })
  await fetch(`${base}/openai/models`, { headers: { 'x-api-key': token, 'x-http-method-override': 'POST' } })
  expect(bodies.at(-1)?.headers['x-http-method-override']).toBeUndefined()
  expect(bodies).toHaveLength(3)
  expect(admitted).toEqual([])
})

test('a team’s endpoint gets its own key and headers, and no private address', async () => {
  target = { baseUrl: origin.replace('127.0.0.1', 'localhost'), apiKey: 'k', endpoint: 'e', isOutside: true }
  const named = await ask('/openai/responses', { model: 'm' })
  target = { ...target, baseUrl: origin }
  const literal = await ask('/openai/responses', { model: 'm' })
  expect([named.status, literal.status]).toEqual([400, 400])
  expect(await literal.text()).toContain('AMBIENT_PROVIDER_ALLOW')
  expect(bodies).toEqual([])
  target = { ...target, isOutside: false, headers: { 'X-Org': 'us', Authorization: 'Basic abc' } }
  await ask('/openai/responses', { model: 'm' }, { 'x-org': 'them' })
  expect(bodies[0]?.headers).toMatchObject({ 'x-org': 'us', authorization: 'Basic abc' })
})

test('a token of a Claude subscription goes as one, and not as a key', async () => {
  target = { ...target, apiKey: 'sk-ant-oat01-abc' }
  await ask('/anthropic/v1/messages', { model: 'claude-x' }, { 'anthropic-beta': 'one,two' })
  expect(bodies[0]?.headers).toMatchObject({
    authorization: 'Bearer sk-ant-oat01-abc',
    'anthropic-beta': 'one,two,oauth-2025-04-20',
  })
  expect(bodies[0]?.headers['x-api-key']).toBeUndefined()
})

test.each([
  ['another address', { kind: 'address', address: '172.31.0.9' }, {}, 403],
  ['its own address', { kind: 'address', address: '127.0.0.1' }, {}, 200],
  ['no pass', { kind: 'pass', hash: hashOfSecret('p') }, {}, 403],
  ['its pass', { kind: 'pass', hash: hashOfSecret('p') }, { 'x-ambient-pass': 'p' }, 200],
  ['this machine', { kind: 'machine' }, {}, 200],
  ['another PID namespace', { kind: 'namespace', id: 'pid:[1]' }, {}, 403],
  ['a place that nobody has told yet', { kind: 'nowhere' }, {}, 503],
] as const)('a credential that is used from %s is answered accordingly', async (_place, binding, headers, status) => {
  holder = { ...holder, binding }
  expect((await ask('/openai/responses', { model: 'm' }, headers)).status).toBe(status)
  expect(bodies).toHaveLength(status === 200 ? 1 : 0)
  for (const seen of bodies) expect(seen.headers['x-ambient-pass']).toBeUndefined()
})

test('a credential whose place nobody can tell belongs to the address that uses it first', async () => {
  holder = { ...holder, binding: { kind: 'first' } }
  expect((await ask('/openai/responses', { model: 'm' })).status).toBe(200)
  claimed = '192.0.2.7'
  expect((await ask('/openai/responses', { model: 'm' })).status).toBe(403)
})
