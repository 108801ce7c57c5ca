import { randomUUID } from 'node:crypto'
import { type IRouter, Router } from 'express'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { recordState } from '../../store/runs/states.ts'
import { HOST, type HostIdentity, startTestApi, type TestApi } from '../../test/support/api.ts'
import { givenRun } from '../../test/support/runs.ts'
import type { ApiDeps } from '../deps.ts'
import { checkpointRoutes } from './checkpoints.ts'
import { hostRoutes } from './hosts.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

const other: HostIdentity = { id: 'machine-2', secret: 'secret-of-machine-2' }
const report = (as: HostIdentity = {}, fields: object = {}) =>
  api.host(
    'PUT',
    `/hosts/${as.id ?? HOST.id}`,
    { pool: 'default', kind: 'direct', version: '1', capacity: 3, in_use: 0, ...fields },
    as,
  )
const claim = (runId: string, as: HostIdentity = {}, execution = 1) =>
  api.host('POST', `/hosts/${as.id ?? HOST.id}/claims`, { run_id: runId, execution }, as)

/** A run whose first execution has begun, and that no host has. */
async function begunRun(pool = 'default'): Promise<string> {
  const { runId } = await givenRun(api.db, { pool })
  await api.hold(runId)
  await api.db.updateTable('executions').set({ claimed_by: null }).where('run_id', '=', runId).execute()
  return runId
}

const event = { line: 1, time: '2026-01-02T03:04:05.000Z', kind: 'message', data: {} }

/** Everything that a host can ask or tell about a run. */
const requestsAbout = (runId: string, messageId = randomUUID()) =>
  [
    ['GET', `/runs/${runId}/executions/1`],
    ['GET', `/runs/${runId.toUpperCase()}/executions/1`],
    ['GET', `/RUNS/${runId}/executions/1`],
    ['GET', `/runs/${runId.replace('-', '%2d')}/executions/1`],
    ['GET', `/runs/${runId}/messages/${messageId}`],
    ['GET', `/runs/${runId}/journals/agent-1`],
    ['POST', `/runs/${runId}/executions/1/credential`],
    ['POST', `/runs/${runId}/executions/1/events`, { journal: 'agent-1', events: [event], read_to: 1 }],
    ['PUT', `/runs/${runId}/executions/1/result`, { repositories: [] }],
    ['PUT', `/runs/${runId}/executions/1/checkpoint`],
    ['GET', `/runs/${runId}/executions/1/checkpoint`],
  ] as const

describe('a host', () => {
  test('is told and heard of the runs that it holds, and of no others', async () => {
    const runId = await begunRun()
    await report(other)
    expect(await claim(runId)).toMatchObject({ status: 200, body: { outcome: 'claimed' } })
    for (const [method, path, body] of requestsAbout(runId)) {
      expect(await api.host(method, path, body, other), `${method} ${path}`).toMatchObject({
        status: 403,
        body: { title: 'Not authorized', retryable: false },
      })
    }
    expect(await api.host('GET', `/runs/${runId}/executions/1`)).toMatchObject({ status: 200 })
    expect(await api.db.selectFrom('events').select('journal').where('journal', '=', 'agent-1').execute()).toEqual([])
    expect(await api.db.selectFrom('run_credentials').selectAll().execute()).toEqual([])
  })

  test('is refused a run that it has not claimed, whoever else has', async () => {
    const runId = await begunRun()
    for (const [method, path, body] of requestsAbout(runId)) {
      expect((await api.host(method, path, body)).status, `${method} ${path}`).toBe(403)
    }
  })

  test('that claimed in vain makes way for the one that the workflow was answered by', async () => {
    const runId = await begunRun()
    await report(other)
    await claim(runId)
    expect(await claim(runId, other)).toMatchObject({ status: 200, body: { outcome: 'claimed' } })
    expect((await api.host('GET', `/runs/${runId}/executions/1`)).status).toBe(403)
    await recordState(api.db, { runId, execution: 1, key: '1/1', state: 'CLAIMED', hostId: 'machine-2' })
    expect(await claim(runId)).toMatchObject({ status: 403, body: { detail: 'Another host has this execution.' } })
    expect((await api.host('GET', `/runs/${runId}/executions/1`, undefined, other)).status).toBe(200)
  })

  test('is done with a run whose workspace is not kept', async () => {
    const runId = await begunRun()
    await claim(runId)
    await recordState(api.db, { runId, execution: 1, key: '1/1', state: 'FAILED' })
    expect((await api.host('GET', `/runs/${runId}/executions/1`)).status).toBe(200)
    await api.db.updateTable('runs').set({ workspace_kept: false }).where('id', '=', runId).execute()
    expect((await api.host('GET', `/runs/${runId}/executions/1`)).status).toBe(403)
  })

  test('cannot speak for another one, with the same key or not', async () => {
    await report()
    expect(await api.host('POST', '/hosts/machine-1/sweep', { run_ids: [] }, other)).toMatchObject({
      status: 403,
      body: { detail: 'This is machine-2; it cannot speak for machine-1.' },
    })
    const impostor = { id: 'machine-1', secret: 'another-secret-entirely' }
    const runId = await begunRun()
    await claim(runId)
    for (const reply of [
      await report(impostor),
      await claim(runId, impostor),
      await api.host('GET', `/runs/${runId}/executions/1`, undefined, impostor),
    ]) {
      expect(reply).toMatchObject({ status: 403, body: { detail: expect.stringContaining('another machine') } })
    }
  })

  test('asks for nothing before it has reported', async () => {
    const unknown = { id: 'machine-new', secret: 'secret-of-machine-new' }
    expect(await claim(await begunRun(), unknown)).toMatchObject({ status: 403 })
    expect(await report(unknown)).toMatchObject({ status: 200, body: { draining: false, gateway_port: 8421 } })
  })

  test('gets runs of its own pool alone', async () => {
    const gpu = { id: 'machine-gpu', secret: 'secret-of-machine-gpu' }
    await report(gpu, { pool: 'gpu' })
    expect(await claim(await begunRun(), gpu)).toMatchObject({
      status: 403,
      body: { detail: 'The run is for the pool "default".' },
    })
    const runId = await begunRun('gpu')
    expect(await claim(runId, gpu)).toMatchObject({ status: 200 })
  })

  test('says who it is', async () => {
    expect(await report({ id: 'machine 1', secret: 'x'.repeat(20) })).toMatchObject({ status: 400 })
    expect(await report({ secret: 'short' })).toMatchObject({
      status: 400,
      body: { detail: expect.stringContaining('x-ambient-host-secret') },
    })
  })
})

describe('a worker key', () => {
  const create = async (body: object) => (await api.call('POST', '/agent/workers/keys', body)).body

  test('is told once, kept as a hash, and known by its beginning', async () => {
    const made = await create({ name: 'rack 4' })
    expect(made).toMatchObject({ uid: expect.any(String), name: 'rack 4', pool: null, last_used_at: null })
    expect(made.key).toMatch(/^ww-[\w-]{43}$/)
    expect(made.key.startsWith(made.key_prefix)).toBe(true)
    const listed = (await api.call('GET', '/agent/workers/keys')).body.keys
    const { key, ...item } = made
    expect(listed).toContainEqual(item)
    const rows = await api.db.selectFrom('worker_keys').selectAll().execute()
    expect(JSON.stringify([listed, rows])).not.toContain(key)
  })

  test('lets hosts in, says when it did, and ends at once when it is revoked', async () => {
    const { key, uid } = await create({ name: 'one' })
    const as = { id: 'machine-3', secret: 'secret-of-machine-3', key }
    expect(await report(as)).toMatchObject({ status: 200 })
    const runId = await begunRun()
    expect(await claim(runId, as)).toMatchObject({ status: 200 })
    const [worker] = (await api.call('GET', '/agent/workers')).body.workers.filter(
      (each: { worker_id: string }) => each.worker_id === 'machine-3',
    )
    expect(worker).toMatchObject({ key_uid: uid })
    const [listed] = (await api.call('GET', '/agent/workers/keys')).body.keys.filter(
      (each: { uid: string }) => each.uid === uid,
    )
    expect(Date.now() - Date.parse(listed.last_used_at)).toBeLessThan(10_000)

    expect((await api.call('DELETE', `/agent/workers/keys/${uid}`)).status).toBe(204)
    expect((await api.host('GET', `/runs/${runId}/executions/1`, undefined, as)).status).toBe(401)
    expect((await report(as)).status).toBe(401)
    expect((await api.call('DELETE', `/agent/workers/keys/${uid}`)).status).toBe(404)
  })

  test('for one pool is refused in another', async () => {
    const { key } = await create({ name: 'gpus', pool: 'gpu' })
    const as = { id: 'machine-4', secret: 'secret-of-machine-4', key }
    expect(await report(as)).toMatchObject({
      status: 403,
      body: { detail: expect.stringContaining('This key is for hosts of the pool "gpu".') },
    })
    expect(await report(as, { pool: 'gpu' })).toMatchObject({ status: 200 })
    // The same machine with another key moves to another pool: its first key no longer reaches anything.
    await report({ ...as, key: HOST.key })
    expect((await claim(await begunRun(), as)).status).toBe(403)
  })

  test('is changed without a host losing its name', async () => {
    const as = { id: 'machine-5', secret: 'secret-of-machine-5' }
    await report(as)
    const { key } = await create({ name: 'the next one' })
    expect(await report({ ...as, key })).toMatchObject({ status: 200 })
  })

  test('opens nothing of the public API, and the admin key nothing of the hosts', async () => {
    const { key } = await create({ name: 'no admin' })
    const get = (path: string, token: string) =>
      fetch(`${api.url}${path}`, { headers: { authorization: `Bearer ${token}` } })
    for (const path of ['/api/v1/agent/runs', '/api/v1/agent/workers', '/api/v1/agent/workers/keys', '/metrics']) {
      expect((await get(path, key)).status, path).toBe(401)
      expect((await get(path, HOST.key)).status, path).toBe(401)
    }
    expect((await report({ key: api.key })).status).toBe(401)
  })
})

test('every path for hosts names by a parameter whose business it is', () => {
  const deps = { db: api.db, config: { AMBIENT_CHECKPOINT_MB: 1 } } as ApiDeps
  const all = Router()
  const routers: IRouter[] = [hostRoutes(deps), checkpointRoutes(deps)]
  const paths = [all, ...routers].flatMap((router) => router.stack.map((layer) => layer.route?.path ?? ''))
  expect(paths.length).toBeGreaterThan(8)
  for (const path of paths) expect(path).toMatch(/^\/(runs\/:runId|hosts\/:hostId)(\/|$)/)
})
