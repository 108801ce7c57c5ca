import { createHmac, randomUUID } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { sql } from 'kysely'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ambient } from '../cli/testing/command.ts'
import type { WebhookDelivery, WebhookWithSecret } from '../domain/webhook.ts'
import { lockRun } from '../store/locking.ts'
import { reportArtifact } from '../store/runs/artifacts.ts'
import { recordState } from '../store/runs/states.ts'
import { insertPing, takeDueDeliveries, WEBHOOK_CHANNEL } from '../store/webhook-deliveries.ts'
import { startTestApi, type TestApi } from '../test/support/api.ts'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { givenRun } from '../test/support/runs.ts'
import { outsideAgent } from './outside.ts'
import { send } from './send.ts'
import { createWebhookSender, type SenderDeps } from './sender.ts'

interface Received {
  headers: IncomingHttpHeaders
  text: string
  body: { id: string; event: string; run: Record<string, unknown> | null; data: Record<string, unknown>; team: string }
}

interface Receiver {
  url: string
  received: Received[]
  /** What the next ones are answered with; then 200. */
  answers: { status: number; headers?: Record<string, string>; body?: string; hang?: true }[]
  server: Server
}

let postgres: TestPostgres
let api: TestApi
let receiver: Receiver

beforeAll(async () => {
  postgres = await startTestPostgres()
  api = await startTestApi({ databaseUrl: await postgres.databaseUrl(), env: { AMBIENT_WEBHOOK_ALLOW: '127.0.0.1' } })
})
afterAll(async () => {
  await api?.close()
  await postgres?.stop()
})

beforeEach(async () => {
  receiver = await startReceiver()
  return async () => {
    await api.db.deleteFrom('webhooks').execute()
    receiver.server.closeAllConnections()
    receiver.server.close()
  }
})

async function startReceiver(): Promise<Receiver> {
  const received: Received[] = []
  const answers: Receiver['answers'] = []
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += String(chunk)
    received.push({ headers: request.headers, text, body: JSON.parse(text) })
    const answer = answers.shift() ?? { status: 200, body: 'ok' }
    if (answer.hang) return
    response.writeHead(answer.status, answer.headers).end(answer.body ?? '')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, received, answers, server }
}

const call = (method: string, path: string, body?: unknown) => api.call(method, `/agent/webhooks${path}`, body)

async function webhook(fields: object = {}): Promise<WebhookWithSecret> {
  const made = await call('POST', '', {
    name: 'Chat',
    url: receiver.url,
    events: ['run.blocked', 'run.failed'],
    ...fields,
  })
  expect(made.status, JSON.stringify(made.body)).toBe(201)
  return made.body
}

let changes = 0
const become = (runId: string, state: 'BLOCKED' | 'FAILED' | 'INPROGRESS') =>
  recordState(api.db, { runId, execution: 1, key: `change-${++changes}`, state })

async function deliveries(uid: string): Promise<WebhookDelivery[]> {
  return (await call('GET', `/${uid}/deliveries`)).body.deliveries
}

const events = () => receiver.received.map(({ body }) => body.event)

test('a change of state is told to whoever wants to know, signed, with the run', async () => {
  const { uid, secret } = await webhook()
  const { runId } = await givenRun(api.db, { title: 'Say hello', prompt: 'long', metadata: { squad: 'one' } })
  await become(runId, 'INPROGRESS')
  await become(runId, 'BLOCKED')
  await expect.poll(events).toEqual(['run.blocked'])
  const [{ headers, text, body }] = receiver.received as [Received]
  expect(body).toMatchObject({
    ...{ id: headers['x-ambient-delivery'], event: headers['x-ambient-event'], team: 'default', webhook_uid: uid },
    run: { run_id: runId, title: 'Say hello', metadata: { squad: 'one' } },
    data: { state: 'BLOCKED', execution: 1 },
  })
  expect(body.run).not.toHaveProperty('prompt')
  const [, time, mac] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(headers['x-ambient-signature'])) ?? []
  expect(mac).toBe(createHmac('sha256', secret).update(`${time}.${text}`).digest('hex'))
  expect(Math.abs(Number(time) - Date.now() / 1000)).toBeLessThan(30)
  await expect
    .poll(() => deliveries(uid))
    .toMatchObject([{ state: 'delivered', status: 200, response: 'ok', attempts: 1 }])
})

test('the command line makes a webhook, tries it out, tells what was sent, changes and deletes it', async () => {
  const cli = async (...args: string[]) => {
    const done = await ambient(['webhooks', ...args], { url: api.url, env: { AMBIENT_API_KEY: api.key } })
    expect({ args, ...done }).toMatchObject({ code: 0 })
    return done.stdout
  }
  const name = `chat ${receiver.url}`
  const environment = (await api.call('POST', '/agent/environments', { name: 'chatty' })).body.uid
  const filter = ['--metadata', 'squad=one', '--environment', 'chatty']
  const secret = await cli('create', name, receiver.url, '--event', 'run.failed', ...filter)
  expect(secret.trim().length).toBeGreaterThan(20)
  const id = (await cli('ping', name)).trim()
  await expect.poll(events).toEqual(['ping'])
  await expect
    .poll(async () => await cli('deliveries', name))
    .toMatch(new RegExp(`^${id} +ping +delivered +1 +200 `, 'm'))
  await cli('resend', name, id)
  await expect.poll(events).toEqual(['ping', 'ping'])
  await cli('update', name, '--event', 'run.blocked', '--disable')
  const find = async () => (await call('GET', '')).body.webhooks.find((one: { name: string }) => one.name === name)
  expect(await find()).toMatchObject({
    events: ['run.blocked'],
    enabled: false,
    filter: { metadata: { squad: 'one' }, environment_ids: [environment] },
  })
  expect(await cli('secret', name)).not.toBe(secret)
  await cli('delete', name)
  expect(await find()).toBeUndefined()
})

test('artifacts and pull requests are told; personal runs and other teams are not', async () => {
  await webhook({ events: ['run.artifact', 'run.pull_request', 'run.queued'] })
  const personal = await givenRun(api.db, { scope: 'User', created_by_type: 'user', created_by: 'x'.repeat(22) })
  const { runId } = await givenRun(api.db)
  for (const id of [personal.runId, runId]) {
    await api.db.transaction().execute(async (tx) => {
      const run = await lockRun(tx, id)
      const url = `https://forge.test/${id}`
      await reportArtifact(tx, run, { type: 'PULL_REQUEST', key: 'a', data: { url, branch: 'b' } })
      // The same once more.
      await reportArtifact(tx, run, { type: 'PULL_REQUEST', key: 'a', data: { url, branch: 'b' } })
      await reportArtifact(tx, run, { type: 'EXTERNAL_REFERENCE', key: 'b', data: { url, reference_type: 'ticket' } })
    })
  }
  await expect.poll(() => events().toSorted()).toEqual(['run.artifact', 'run.pull_request', 'run.queued'])
  expect(receiver.received.every(({ body }) => body.run?.run_id === runId)).toBe(true)
})

test.each([
  ['source', { sources: ['SCHEDULED_AGENT'] }, { source: 'SCHEDULED_AGENT' }],
  ['metadata', { metadata: { squad: 'one', level: '2' } }, { metadata: { squad: 'one', level: '2', more: '3' } }],
  ['environment', null, null],
])('a filter by %s leaves the other runs out', async (_, given, fields) => {
  const environment = await api.call('POST', '/agent/environments', { name: randomUUID() })
  const { uid } = environment.body
  const filter = given ?? { environment_ids: [uid] }
  const fits = fields ?? { environment_id: uid }
  await webhook({ filter })
  const other = await givenRun(api.db, { metadata: { squad: 'one' } })
  await become(other.runId, 'BLOCKED')
  const { runId } = await givenRun(api.db, fits)
  await become(runId, 'BLOCKED')
  await expect.poll(() => receiver.received.map(({ body }) => body.run?.run_id)).toEqual([runId])
})

test('a filter takes environments of the team alone, and keeps one that is deleted later', async () => {
  const team = (await api.call('POST', '/agent/teams', { name: 'Elsewhere' })).body.uid
  const environment = async (headers = {}) =>
    (await api.call('POST', '/agent/environments', { name: randomUUID() }, headers)).body.uid
  const [own, foreign] = [await environment(), await environment({ 'x-warp-team-uid': team })]
  const config = (ids: string[]) => ({
    name: 'narrow',
    url: receiver.url,
    events: ['run.failed'],
    filter: { environment_ids: ids },
  })
  const refused = { status: 400, body: { detail: expect.stringContaining('filter.environment_ids: the team has no') } }
  for (const id of [foreign, 'A'.repeat(22), 'web'])
    expect(await call('POST', '', config([own, id]))).toMatchObject(refused)
  const { uid } = (await call('POST', '', config([own]))).body
  expect(await call('PUT', `/${uid}`, config([own, foreign]))).toMatchObject(refused)
  await api.call('DELETE', `/agent/environments/${own}`)
  expect(await call('PUT', `/${uid}`, { ...config([own]), enabled: false })).toMatchObject({ status: 200 })
  expect(await call('POST', '', config([own]))).toMatchObject(refused)
})

test('what does not arrive is sent again, the same under the same id, until it does', async () => {
  const { uid } = await webhook()
  const elsewhere = 'http://127.0.0.1:1/'
  receiver.answers.push({ status: 500, body: 'x'.repeat(100_000) }, { status: 302, headers: { location: elsewhere } })
  const { runId } = await givenRun(api.db, { title: 'One' })
  await become(runId, 'BLOCKED')
  await expect.poll(() => receiver.received.length).toBe(3)
  await expect.poll(() => deliveries(uid)).toMatchObject([{ state: 'delivered', attempts: 3 }])
  expect(new Set(receiver.received.map(({ text }) => text)).size).toBe(1)
  expect((await call('GET', `/${uid}`)).body).toMatchObject({ failing_since: null })
})

test('a delivery that was in the hands of a server that died is made by the next one', async () => {
  const { uid } = await webhook({ enabled: true })
  const { runId } = await givenRun(api.db)
  receiver.answers.push({ status: 200, hang: true })
  await become(runId, 'BLOCKED')
  await expect.poll(() => receiver.received.length).toBe(1)
  // Its time with whoever has it is over.
  await api.db.updateTable('webhook_deliveries').set({ due_at: new Date() }).execute()
  await sql`select pg_notify(${WEBHOOK_CHANNEL}, '')`.execute(api.db)
  await expect.poll(() => receiver.received.length).toBe(2)
  const ids = receiver.received.map(({ body }) => body.id)
  expect(ids[0]).toBe(ids[1])
  await expect.poll(async () => (await deliveries(uid))[0]?.state).toBe('delivered')
})

describe('a webhook at which nothing arrives', () => {
  /** Another sender, beside the API's own, that knows no patience. */
  async function impatient(rest: Partial<SenderDeps>, story: () => Promise<void>): Promise<void> {
    const log = pino({ level: 'silent' })
    const common = { db: api.db, key: 'key-of-the-links-0001', allowed: [], hours: 0, disableDays: 1, log }
    const sender = createWebhookSender({ ...common, ...rest })
    try {
      await story()
    } finally {
      await sender.close()
    }
  }

  test('is disabled after days, says why, and is sent nothing more until it is enabled again', async () => {
    const env = { AMBIENT_WEBHOOK_HOURS: '0', AMBIENT_WEBHOOK_DISABLE_DAYS: '2' }
    const quiet = await startTestApi({ databaseUrl: await postgres.databaseUrl(), env })
    try {
      const made = await quiet.call('POST', '/agent/webhooks', {
        name: 'Chat',
        url: receiver.url,
        events: ['run.blocked'],
      })
      const { uid } = made.body
      const item = async () => (await quiet.call('GET', `/agent/webhooks/${uid}`)).body
      const block = async () => {
        const { runId } = await givenRun(quiet.db)
        await recordState(quiet.db, { runId, execution: 1, key: 'blocked', state: 'BLOCKED' })
      }
      await block()
      await expect.poll(async () => (await item()).failing_since).not.toBeNull()
      expect(await item()).toMatchObject({ enabled: true, disabled_reason: null })
      await quiet.db
        .updateTable('webhooks')
        .set({ failing_since: new Date(Date.now() - 3 * 86_400_000) })
        .execute()
      await block()
      await expect.poll(async () => (await item()).enabled).toBe(false)
      expect((await item()).disabled_reason).toMatch(/for 2 days.*127\.0\.0\.1 is not an address of the internet/)
      await block()
      const { body } = await quiet.call('GET', `/agent/webhooks/${uid}/deliveries`)
      expect(body.deliveries).toHaveLength(2)
      const { uid: _, created_at, updated_at, created_by, disabled_reason, failing_since, ...config } = await item()
      const enabled = await quiet.call('PUT', `/agent/webhooks/${uid}`, { ...config, enabled: true })
      expect(enabled.body).toMatchObject({ enabled: true, disabled_reason: null, failing_since: null })
      expect(receiver.received).toEqual([])
    } finally {
      await quiet.close()
    }
  })

  test.each([
    'localhost',
    '127.0.0.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '0.0.0.0',
    '169.254.169.254',
    '10.0.0.1',
    '2130706433',
  ])('%s is not reached', async (host) => {
    const agent = outsideAgent([])
    const { port } = new URL(receiver.url)
    const delivery = { id: 'd', event: 'ping', url: `http://${host}:${port}/`, body: '{}', secret: 's' }
    const { error, status } = await send(delivery, agent, new AbortController().signal)
    expect({ error, status }).toEqual({
      status: null,
      error: expect.stringMatching(/is not an address of the internet/),
    })
    expect(receiver.received).toEqual([])
    await agent.destroy()
  })

  test('a name that stands for a public address when it is looked at and for a private one afterwards gains nothing', async () => {
    let asked = 0
    const agent = outsideAgent([], async () => {
      asked += 1
      return asked === 1 ? ['192.0.2.1'] : ['127.0.0.1']
    })
    const { port } = new URL(receiver.url)
    const url = `http://rebind.test:${port}/`
    const closing = AbortSignal.timeout(1_000)
    const { error } = await send({ id: 'd', event: 'ping', url, body: '{}', secret: 's' }, agent, closing)
    expect({ asked, received: receiver.received.length }).toEqual({ asked: 1, received: 0 })
    expect(error).not.toBeNull()
    await agent.destroy()
  })

  test('is served after the others', async () => {
    const [dead, well] = [await webhook(), await webhook()]
    const most = { most: 1, seconds: 60, busy: [] }
    await api.db.transaction().execute(async (tx) => {
      for (const { uid } of [dead, well]) await insertPing(tx, uid)
      await tx.updateTable('webhooks').set({ failing_since: new Date() }).where('id', '=', dead.uid).execute()
      // It waits for longer.
      for (const [at, { uid }] of [dead, well].entries()) {
        await tx
          .updateTable('webhook_deliveries')
          .set({ due_at: new Date(at) })
          .where('webhook_id', '=', uid)
          .execute()
      }
      expect((await takeDueDeliveries(tx, most)).map(({ webhook_id: id }) => id)).toEqual([well.uid])
      expect((await takeDueDeliveries(tx, most)).map(({ webhook_id: id }) => id)).toEqual([dead.uid])
    })
  })

  test('several servers deliver each thing once', async () => {
    const { uid } = await webhook()
    await impatient({ allowed: ['127.0.0.1'], hours: 1 }, async () => {
      const runs = await Promise.all(Array.from({ length: 12 }, () => givenRun(api.db)))
      await Promise.all(runs.map(({ runId }) => become(runId, 'BLOCKED')))
      await expect
        .poll(async () => (await deliveries(uid)).filter(({ state }) => state === 'delivered').length)
        .toBe(12)
    })
    expect(receiver.received).toHaveLength(12)
  })
})

describe('the routes', () => {
  test('the secret is shown once, and a new one takes its place', async () => {
    const { uid, secret, ...item } = await webhook()
    expect(secret).toMatch(/^whsec_[\w-]{43}$/)
    expect((await call('GET', `/${uid}`)).body).toEqual({ uid, ...item })
    expect((await call('GET', '')).body).toEqual({ webhooks: [{ uid, ...item }] })
    const renewed = (await call('POST', `/${uid}/secret`)).body
    expect(renewed.secret).toMatch(/^whsec_[\w-]{43}$/)
    expect(renewed.secret).not.toBe(secret)
    const kept = await api.db.selectFrom('idempotency').select('response').execute()
    const stored = await api.db.selectFrom('webhooks').selectAll().execute()
    expect(JSON.stringify([kept, stored])).not.toContain('whsec_')
    expect((await call('POST', `/${uid}/ping`)).status).toBe(202)
    await expect.poll(events).toEqual(['ping'])
    const [{ headers, text }] = receiver.received as [Received]
    const [, time, mac] = /^t=(\d+),v1=(.*)$/.exec(String(headers['x-ambient-signature'])) ?? []
    expect(mac).toBe(createHmac('sha256', renewed.secret).update(`${time}.${text}`).digest('hex'))
  })

  test('a delivery is sent again when a person asks for it', async () => {
    const { uid } = await webhook()
    await call('POST', `/${uid}/ping`)
    await expect.poll(async () => (await deliveries(uid))[0]?.state).toBe('delivered')
    const [first] = await deliveries(uid)
    const again = await call('POST', `/${uid}/deliveries/${first?.delivery_id}/resend`)
    expect(again).toMatchObject({ status: 202, body: { delivery_id: first?.delivery_id, state: 'pending' } })
    await expect.poll(() => receiver.received.length).toBe(2)
    expect(receiver.received[1]?.text).toBe(receiver.received[0]?.text)
  })

  test('deliveries come in pages, the newest first', async () => {
    const { uid } = await webhook()
    for (let count = 0; count < 5; count += 1) await call('POST', `/${uid}/ping`)
    const found: string[] = []
    let cursor = ''
    do {
      const { body } = await call('GET', `/${uid}/deliveries?limit=2${cursor}`)
      found.push(...body.deliveries.map(({ delivery_id: id }: WebhookDelivery) => id))
      cursor = body.page_info.has_next_page ? `&cursor=${encodeURIComponent(body.page_info.next_cursor)}` : ''
    } while (cursor !== '')
    expect(found).toEqual((await deliveries(uid)).map(({ delivery_id: id }) => id))
    expect(new Set(found).size).toBe(5)
    expect((await call('GET', `/${uid}/deliveries?cursor=x`)).status).toBe(400)
  })

  test('what does not fit is refused by name', async () => {
    const body = { name: 'Chat', url: receiver.url, events: ['run.blocked'] }
    const refused = async (fields: object) => (await call('POST', '', { ...body, ...fields })).body.detail
    expect(await refused({ url: 'ftp://example.com' })).toMatch(/^url: /)
    expect(await refused({ url: 'https://user:pass@example.com' })).toMatch(/^url: /)
    expect(await refused({ events: [] })).toMatch(/^events: /)
    expect(await refused({ events: ['run.paused'] })).toMatch(/^events.0: /)
    expect(await refused({ filter: { source: 'API' } })).toMatch(/^filter.source: .*sources/)
    expect(await refused({ filter: { sources: ['BAD'] } })).toMatch(/^filter.sources.0: must be LINEAR, /)
    expect(await refused({ secret: 'x' })).toMatch(/^secret: /)
  })

  test('there is nothing of a webhook that is gone, and its deliveries go with it', async () => {
    const { uid } = await webhook()
    await call('POST', `/${uid}/ping`)
    expect((await call('DELETE', `/${uid}`)).status).toBe(204)
    for (const [method, path] of [
      ['GET', ''],
      ['DELETE', ''],
      ['GET', '/deliveries'],
      ['POST', '/ping'],
      ['POST', '/secret'],
    ] as const) {
      expect((await call(method, `/${uid}${path}`)).status, path).toBe(404)
    }
    expect(await api.db.selectFrom('webhook_deliveries').selectAll().execute()).toEqual([])
  })
})
