import { createHmac } from 'node:crypto'
import { sql } from 'kysely'
import OzAPI from 'oz-agent-sdk'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { OPERATOR } from '../domain/permission.ts'
import { lockRequest } from '../store/idempotency.ts'
import { HOST, LINK_KEY, startTestApi, type TestApi } from '../test/support/api.ts'
import { type CuttingProxy, startCuttingProxy } from '../test/support/cutting-proxy.ts'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { scopeOf } from './once.ts'

let postgres: TestPostgres
let api: TestApi
beforeAll(async () => {
  postgres = await startTestPostgres()
  api = await startTestApi({ databaseUrl: await postgres.databaseUrl() })
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

const proxies: CuttingProxy[] = []
afterEach(() => {
  for (const proxy of proxies.splice(0)) proxy.close()
})

async function proxy(lose: Parameters<typeof startCuttingProxy>[1]): Promise<string> {
  const started = await startCuttingProxy(api.url, lose)
  proxies.push(started)
  return `${started.url}/api/v1`
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
    const scope = scopeOf({ ...OPERATOR, team: 'default' }, 'POST /agent/runs')
    const hash = createHmac('sha256', LINK_KEY).update('{"prompt":"same"}').digest('hex')
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
      sql<{ waits: boolean }>`select exists (
          select from pg_locks join pg_database on pg_database.oid = pg_locks.database
          where datname = current_database() and locktype = 'advisory' and not granted) as waits`
        .execute(api.db)
        .then(({ rows }) => rows[0]?.waits)
    await expect.poll(waits).toBe(true)
    letGo.resolve()
    await before
    expect((await again).status).toBe(200)
  })
})
