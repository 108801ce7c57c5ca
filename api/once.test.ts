import { createHash } from 'node:crypto'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { sql } from 'kysely'
import OzAPI from 'oz-agent-sdk'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { lockRequest } from '../store/idempotency.ts'
import { HOST, startTestApi, type TestApi } from '../test/support/api.ts'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'

let postgres: TestPostgres
let api: TestApi
const proxies: Server[] = []
beforeAll(async () => {
  postgres = await startTestPostgres()
  api = await startTestApi({ databaseUrl: await postgres.databaseUrl() })
})
afterEach(() => {
  for (const proxy of proxies.splice(0)) proxy.close()
})
afterAll(async () => {
  await api.close()
  await postgres.stop()
})

const start = (body: object, headers: Record<string, string> = {}) => api.call('POST', '/agent/runs', body, headers)
const count = async (prompt: string): Promise<number> => {
  const rows = await api.db.selectFrom('runs').select('id').where('prompt', '=', prompt).execute()
  return rows.length
}

const unanswered = async (): Promise<number> => {
  const rows = await api.db.selectFrom('idempotency').select('key').where('answered_at', 'is', null).execute()
  return rows.filter((row) => row.key.startsWith('unnamed')).length
}

describe('a request with an Idempotency-Key', () => {
  test('that comes 50 times at once starts one run', async () => {
    const replies = await Promise.all(
      Array.from({ length: 50 }, () => start({ prompt: 'fifty' }, { 'idempotency-key': 'fifty' })),
    )
    expect(new Set(replies.map((reply) => reply.status))).toEqual(new Set([200]))
    expect(new Set(replies.map((reply) => reply.body.run_id)).size).toBe(1)
    expect(await count('fifty')).toBe(1)
  })

  test('is the same request whatever the order of its fields, and another one with another body', async () => {
    const headers = { 'idempotency-key': 'order' }
    const first = await start({ prompt: 'order', metadata: { a: '1', b: '2' } }, headers)
    const second = await start({ metadata: { b: '2', a: '1' }, prompt: 'order' }, headers)
    expect(second.body).toEqual(first.body)
    expect(await start({ prompt: 'other' }, headers)).toMatchObject({ status: 422, body: { retryable: false } })
    expect(await count('other')).toBe(0)
  })

  test('that was refused may be sent again, put right', async () => {
    const headers = { 'idempotency-key': 'refused' }
    expect((await start({ prompt: '' }, headers)).status).toBe(400)
    expect((await start({ prompt: 'put right' }, headers)).status).toBe(200)
  })

  test('sends a follow-up once', async () => {
    const { body } = await start({ prompt: 'followed' })
    const send = () =>
      api.call('POST', `/agent/runs/${body.run_id}/followups`, { message: 'go on' }, { 'idempotency-key': 'f' })
    const [first, second] = await Promise.all([send(), send()])
    expect(first?.body.message_id).toBe(second?.body.message_id)
  })
})

/** Between client and server; `lose` says what becomes of the n-th connection. */
async function proxy(lose: (connection: number) => 'request' | 'answer' | 'nothing'): Promise<string> {
  const target = new URL(api.url)
  let connections = 0
  const server = createServer((client: Socket) => {
    const fate = lose(++connections)
    const upstream = createConnection(Number(target.port), target.hostname)
    const both = () => {
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) socket.on('error', both).on('close', both)
    if (fate === 'request') client.on('data', both)
    else client.pipe(upstream)
    if (fate === 'answer') upstream.on('data', both)
    else upstream.pipe(client)
  })
  proxies.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/api/v1`
}

describe('a request that the official client sends again without a key', () => {
  const client = (baseURL: string) => new OzAPI({ apiKey: api.key, baseURL })

  test('starts one run when the answer was lost', async () => {
    const oz = client(await proxy((connection) => (connection <= 2 ? 'answer' : 'nothing')))
    const { run_id: runId } = await oz.agent.run({ prompt: 'answer lost' })
    expect(await count('answer lost')).toBe(1)
    expect((await api.call('GET', `/agent/runs/${runId}`)).status).toBe(200)
  })

  test('starts one run when the request was lost', async () => {
    const oz = client(await proxy((connection) => (connection === 1 ? 'request' : 'nothing')))
    await oz.agent.run({ prompt: 'request lost' })
    expect(await count('request lost')).toBe(1)
  })

  test('is not taken for an equal one that was answered', async () => {
    const body = { prompt: 'twice on purpose' }
    const first = await start(body)
    const second = await start(body)
    // A client waits about half a second before it sends again.
    await expect.poll(unanswered).toBe(0)
    // Its first try never arrived; the two before it were answered.
    const third = await start(body, { 'x-stainless-retry-count': '1' })
    const ids = [first, second, third].map((reply) => reply.body.run_id)
    expect(new Set(ids).size).toBe(3)
  })
})

describe('many requests at once', () => {
  /** What is being accepted waits until this is let go. */
  async function holdRuns(): Promise<() => Promise<void>> {
    const letGo = Promise.withResolvers<void>()
    const held = Promise.withResolvers<void>()
    const transaction = api.db.transaction().execute(async (tx) => {
      await sql`lock table runs in exclusive mode`.execute(tx)
      held.resolve()
      await letGo.promise
    })
    await held.promise
    return async () => {
      letGo.resolve()
      await transaction
    }
  }

  test('leave the way to the database free for hosts, and are all accepted', async () => {
    const letGo = await holdRuns()
    const replies = Promise.all(Array.from({ length: 60 }, () => start({ prompt: 'sixty' })))
    const report = { pool: 'default', kind: 'direct', version: '1', capacity: 1, in_use: 0 }
    for (let i = 0; i < 5; i++) expect((await api.host('PUT', `/hosts/${HOST.id}`, report)).status).toBe(200)
    expect(await count('sixty')).toBe(0)
    await letGo()
    expect(new Set((await replies).map((reply) => reply.status))).toEqual(new Set([200]))
    expect(await count('sixty')).toBe(60)
  })

  test('that say the same do not wait for each other; one that is sent again waits for those before it', async () => {
    const scope = 'POST /agent/runs'
    const hash = createHash('sha256').update('{"prompt":"same"}').digest('hex')
    const letGo = Promise.withResolvers<void>()
    const locked = Promise.withResolvers<void>()
    const before = api.db.transaction().execute(async (tx) => {
      await lockRequest(tx, scope, hash, 'among equals')
      locked.resolve()
      await letGo.promise
    })
    await locked.promise
    expect((await start({ prompt: 'same' })).status).toBe(200)
    const again = start({ prompt: 'same' }, { 'x-stainless-retry-count': '1' })
    // The lock that it waits for is seen by Postgres.
    const waits = () =>
      sql<{ waits: boolean }>`select exists (select from pg_locks where locktype = 'advisory' and not granted) as waits`
        .execute(api.db)
        .then(({ rows }) => rows[0]?.waits)
    await expect.poll(waits).toBe(true)
    letGo.resolve()
    await before
    expect((await again).status).toBe(200)
  })
})

test('the official client starts, lists, reads and cancels runs', async () => {
  const oz = new OzAPI({ apiKey: api.key, baseURL: `${api.url}/api/v1` })
  const started = await oz.agent.run({ prompt: 'By the book', title: 'Book', config: { name: 'sdk' } })
  expect(started).toMatchObject({ state: 'QUEUED', task_id: started.run_id })
  const { runs, page_info: page } = await oz.agent.runs.list({ name: 'sdk', state: ['QUEUED', 'PENDING'], limit: 5 })
  expect(page.has_next_page).toBe(false)
  expect(runs.map((run) => [run.run_id, run.title, run.prompt])).toEqual([[started.run_id, 'Book', 'By the book']])
  expect(await oz.agent.runs.retrieve(started.run_id)).toMatchObject({ state: 'QUEUED', agent_config: { name: 'sdk' } })
  expect(await oz.agent.runs.cancel(started.run_id)).toBe(started.run_id)
  await expect(oz.agent.runs.retrieve('nothing')).rejects.toMatchObject({ status: 404, error: { status: 404 } })
  const stranger = new OzAPI({ apiKey: 'wrong', baseURL: `${api.url}/api/v1` })
  await expect(stranger.agent.runs.list()).rejects.toMatchObject({ status: 401 })
})
