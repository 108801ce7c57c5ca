import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { recordState } from '../../store/runs/states.ts'
import { HOST, startTestApi, type TestApi } from '../../test/support/api.ts'
import { givenRun } from '../../test/support/runs.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())
beforeEach(async () => {
  await api.db.deleteFrom('hosts').execute()
  await api.db.updateTable('runs').set({ state: 'SUCCEEDED' }).execute()
})

const report = (inUse = 0, id = HOST.id, pool = 'default') =>
  api.host(
    'PUT',
    `/hosts/${id}`,
    { pool, kind: 'docker', version: '1.2.3', capacity: 4, in_use: inUse },
    { id, secret: `secret-of-${id}-0123` },
  )
const as = { id: HOST.id, secret: `secret-of-${HOST.id}-0123` }
const listed = async () => (await api.call('GET', '/agent/workers')).body.workers
const state = async () => (await listed())[0].state
const drain = (id = HOST.id) => api.call('POST', `/agent/workers/${id}/drain`)

/** A run that a host may claim. */
async function begunRun(): Promise<string> {
  const { runId } = await givenRun(api.db)
  const plan = JSON.stringify({ execution: 1, pool: 'default', heldBy: null }) as never
  await api.db.insertInto('executions').values({ run_id: runId, execution: 1, key: 'k', plan }).execute()
  await api.db.updateTable('runs').set({ execution: 1 }).where('id', '=', runId).execute()
  return runId
}
const claim = (runId: string) => api.host('POST', `/hosts/${HOST.id}/claims`, { run_id: runId, execution: 1 }, as)

test('a connected host is listed with what it is and holds, until it has been gone for 45 s', async () => {
  await report(2)
  const [worker] = await listed()
  expect(worker).toEqual({
    worker_id: 'machine-1',
    pool: 'default',
    kind: 'docker',
    version: '1.2.3',
    state: 'live',
    capacity: 4,
    in_use: 2,
    connected_at: expect.any(String),
    last_seen_at: expect.any(String),
    draining_at: null,
    egress: null,
    key_uid: null,
  })
  await api.db
    .updateTable('hosts')
    .set({ reported_at: new Date(Date.now() - 46_000) })
    .execute()
  expect(await state()).toBe('gone')
})

test('official clients are told of pools as worker hosts', async () => {
  await report(0, 'a', 'gpu')
  await report(0, 'b', 'gpu')
  await report(0, 'c')
  const { body } = await api.call('GET', '/agent/connected-self-hosted-workers')
  expect(body.workers).toEqual([
    { worker_host: 'default', connection_count: 1, connected_at: expect.any(String), last_seen_at: expect.any(String) },
    { worker_host: 'gpu', connection_count: 2, connected_at: expect.any(String), last_seen_at: expect.any(String) },
  ])
})

test('a host that drains is given no new run, and is told so at its next report', async () => {
  const runId = await begunRun()
  await report()
  expect((await drain()).body).toMatchObject({ worker_id: 'machine-1', draining_at: expect.any(String) })
  expect((await claim(runId)).body).toEqual({ outcome: 'draining' })
  expect((await api.host('GET', `/runs/${runId}/executions/1`, undefined, as)).status).toBe(403)
  expect((await report()).body).toMatchObject({ draining: true })
  expect((await api.call('POST', '/agent/workers/machine-1/undrain')).body).toMatchObject({ state: 'live' })
  expect((await claim(runId)).body).toMatchObject({ outcome: 'claimed', order: { execution: 1 } })
  expect((await report(1)).body).toMatchObject({ draining: false })
})

test('a host that drains finishes what it holds, and is drained when that is over', async () => {
  const runId = await begunRun()
  await report()
  await claim(runId)
  await report(1)
  await drain()
  expect(await state()).toBe('draining')
  expect((await claim(runId)).body).toMatchObject({ outcome: 'claimed', order: { execution: 1 } })
  // A report that was on its way when the run was claimed knows nothing of it.
  await report(0)
  expect(await state()).toBe('draining')
  await recordState(api.db, { runId, execution: 1, key: '1/1', state: 'SUCCEEDED' })
  expect(await state()).toBe('drained')
})

test('the capacity of a host that drains is no room for runs', async () => {
  const start = async () =>
    (await api.call('POST', '/agent/runs', { prompt: 'x', config: { worker_host: 'drained' } })).body.at_capacity
  await report(0, 'machine-d', 'drained')
  expect(await start()).toBe(false)
  await drain('machine-d')
  expect(await start()).toBe(true)
})

test('a host that is gone can be forgotten, and its name taken by another machine', async () => {
  await report()
  expect(await api.call('DELETE', '/agent/workers/machine-1')).toMatchObject({ status: 409 })
  await api.db
    .updateTable('hosts')
    .set({ reported_at: new Date(Date.now() - 46_000) })
    .execute()
  expect(await api.call('DELETE', '/agent/workers/machine-1')).toMatchObject({ status: 204 })
  const successor = { id: 'machine-1', secret: 'of-another-machine-now' }
  const body = { pool: 'default', kind: 'direct', version: '1', capacity: 1, in_use: 0 }
  expect(await api.host('PUT', '/hosts/machine-1', body, successor)).toMatchObject({ status: 200 })
  expect(await api.call('DELETE', '/agent/workers/nobody')).toMatchObject({ status: 404 })
  expect(await drain('nobody')).toMatchObject({ status: 404 })
})
