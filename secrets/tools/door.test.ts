import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { TOOLS_PASS_HEADER } from '../../domain/tools.ts'
import type { Place } from '../gateway/binding.ts'
import { createGateway, type Gateway } from '../gateway/gateway.ts'
import { createToolsDoor } from './door.ts'

const log = { warn: () => {} }
const holder = { runId: '00000000-0000-4000-8000-000000000000', execution: 1, pass: 'pass-of-it' }
let port: number
let server: Server | null = null
let gateway: Gateway
let url: string
let places: Place[] = []

async function listen(answer: (body: string, headers: IncomingHttpHeaders) => [number, string]): Promise<void> {
  server = createServer(async (request, response) => {
    const [status, body] = answer(await text(request), request.headers)
    response.writeHead(status, { 'content-type': 'application/json' }).end(body)
  })
  await new Promise<void>((resolve) => server?.listen(port, '127.0.0.1', resolve))
}

async function stop(): Promise<void> {
  server?.closeAllConnections()
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(null)))
  server = null
}

beforeEach(async () => {
  const free = createServer()
  await new Promise<void>((resolve) => free.listen(0, '127.0.0.1', resolve))
  port = (free.address() as AddressInfo).port
  await new Promise((resolve) => free.close(resolve))
  const target = { baseUrl: 'http://127.0.0.1:9', apiKey: 'real' }
  gateway = createGateway({
    authorize: async () => null,
    route: async () => ({ target, priced: true }),
    tools: createToolsDoor({
      authorize: async (token) => (token === 'amt_1' ? holder : null),
      place: async () => places.shift() ?? 'inside',
      serverUrl: `http://127.0.0.1:${port}`,
      maxBytes: 1000,
      log,
    }),
    log,
  })
  url = `http://127.0.0.1:${await gateway.listen(0, '127.0.0.1')}/mcp`
})
afterEach(async () => {
  await gateway.close(0)
  await stop()
})

const call = (body: string) =>
  fetch(url, { method: 'POST', body, headers: { authorization: 'Bearer amt_1', 'content-type': 'application/json' } })

test('what an agent asks of its tools is handed on with its credential and the pass of that, and answered', async () => {
  await listen((body, { authorization, [TOOLS_PASS_HEADER]: pass }) => [
    200,
    JSON.stringify({ body, authorization, pass }),
  ])
  const response = await call('{"id":1}')
  const handedOn = { body: '{"id":1}', authorization: 'Bearer amt_1', pass: 'pass-of-it' }
  expect([response.status, await response.json()]).toEqual([200, handedOn])
})

test('a call outlasts a restart of the server', async () => {
  const answered = call('{"id":1}')
  let tries = 0
  await listen(() => (tries++ === 0 ? [503, '{}'] : [200, '"done"']))
  expect(await (await answered).json()).toBe('done')
})

test('a refusal is an answer, and a call that is too large is none for the server', async () => {
  let asked = 0
  await listen(() => {
    asked += 1
    return [401, '{}']
  })
  expect((await call('{}')).status).toBe(401)
  expect((await call('x'.repeat(1001))).status).toBe(413)
  expect(asked).toBe(1)
})

test('of large calls only some are taken at once, and small ones are not held up by them', async () => {
  const large = Array.from({ length: 5 }, () => call('x'.repeat(1000)))
  // The server is away, so those that were taken wait.
  expect((await Promise.race(large)).status).toBe(503)
  const small = call('{}')
  await listen(() => [200, '{}'])
  expect((await small).status).toBe(200)
  const statuses = (await Promise.all(large)).map(({ status }) => status)
  expect(statuses.toSorted()).toEqual([200, 200, 200, 200, 503])
  expect((await call('x'.repeat(1000))).status).toBe(200)
})

test('what is the same for every run is answered without the server, for whoever has a good credential', async () => {
  const ask = (method: string, token: string, id?: number) =>
    fetch(url, {
      method: 'POST',
      body: JSON.stringify({ jsonrpc: '2.0', id, method, params: { protocolVersion: '2025-06-18' } }),
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    })
  const opened = await ask('initialize', 'amt_1', 1)
  expect(await opened.json()).toMatchObject({ id: 1, result: { protocolVersion: '2025-06-18' } })
  expect((await ask('notifications/initialized', 'amt_1')).status).toBe(202)
  const listed = (await (await ask('tools/list', 'amt_1', 2)).json()) as { result: { tools: { name: string }[] } }
  expect(listed.result.tools.map(({ name }) => name)).toContain('report_artifact')

  await listen(() => [401, '{}'])
  expect((await ask('initialize', 'amt_2', 1)).status).toBe(401)
})

test('a call from outside of its sandbox is refused, and one that nobody can place yet waits', async () => {
  let asked = 0
  await listen(() => {
    asked += 1
    return [200, '"done"']
  })
  places = ['not yet', 'inside', 'outside']
  expect(await (await call('{}')).json()).toBe('done')
  expect((await call('{}')).status).toBe(403)
  expect(asked).toBe(1)
})
