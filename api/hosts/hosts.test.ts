import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AgentConfig } from '../../domain/run.ts'
import { claimCredential, findCredential } from '../../store/runs/credentials.ts'
import { beginExecution } from '../../store/runs/executions.ts'
import { insertMail, promptBody } from '../../store/runs/mail.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { executionDefaults, givenRun } from '../../test/support/runs.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

/** A run that the host of the tests holds. */
const heldRun = async (fields: Parameters<typeof givenRun>[1] = {}) => {
  const { runId } = await givenRun(api.db, fields)
  await api.hold(runId)
  return { runId }
}
const begin = async (runId: string, key: string) => {
  const mail = await api.db.transaction().execute((tx) => insertMail(tx, runId, 'prompt', promptBody('go', 'queue')))
  await beginExecution(api.db, { runId, key, mail: [mail] }, executionDefaults)
}
const event = { line: 1, time: '2026-01-02T03:04:05.000Z', kind: 'message', data: { text: 'hi' } }

const repository = (path: string, patch: Buffer | null, bundle: Buffer | null, note: string | null = null) => ({
  path,
  url: 'file:///a',
  base_commit: 'a'.repeat(40),
  head_commit: null,
  branch: 'main',
  commits: [],
  files_changed: 1,
  insertions: 2,
  deletions: 3,
  patch: patch?.toString('base64') ?? null,
  bundle: bundle?.toString('base64') ?? null,
  note,
  push: { branch: 'agent/work', commit: 'b'.repeat(40), outcome: 'pushed', message: null },
})

test('a host gets what it needs to carry out an execution', async () => {
  const { runId } = await heldRun({
    agent: 'command',
    command: ['sh', '-c', 'true'],
    environment: { repos: [], setup_commands: ['make'], env: { A: 'secret value' } },
  })
  expect(await api.host('GET', `/runs/${runId}/executions/1`)).toMatchObject({
    status: 200,
    body: {
      run_id: runId,
      execution: 1,
      agent: 'command',
      model: null,
      reasoning_level: null,
      command: ['sh', '-c', 'true'],
      policy: null,
      base_prompt: null,
      environment: { repos: [], setup_commands: ['make'], env: { A: 'secret value' } },
    },
  })
})

test('a host is told what the run may take, and how large its transcript has become', async () => {
  const order = async (config: AgentConfig) => {
    const { runId } = await heldRun({ config })
    return (await api.host('GET', `/runs/${runId}/executions/1`)).body
  }
  const MiB = 1024 ** 2
  expect(await order({})).toMatchObject({ transcript_bytes: 512 * MiB, disk_bytes: null })
  expect(await order({ max_transcript_mb: 3, max_disk_gb: 1.5 })).toMatchObject({
    transcript_bytes: 3 * MiB,
    disk_bytes: 1536 * MiB,
  })
  expect(await order({ max_transcript_mb: 9_999 })).toMatchObject({ transcript_bytes: 512 * MiB })
  expect(await order({})).toMatchObject({ team: 'default', commit_identity: null })
  const identity = { name: 'Ada Lovelace', email: 'ada@example.com' }
  expect(await order({ commit_identity: identity })).toMatchObject({ commit_identity: identity })

  const { runId } = await heldRun()
  const event = { line: 1, part: 0, time: new Date().toISOString(), kind: 'output', data: { text: 'x'.repeat(5_000) } }
  const batch = { journal: 'agent-1', events: [event], read_to: 1 }
  const answer = await api.host('POST', `/runs/${runId}/executions/1/events`, batch)
  expect(answer.body).toEqual({ line: 1, transcript_bytes: expect.any(Number) })
  expect(answer.body.transcript_bytes).toBeGreaterThan(5_000)
})

test('events are stored once and the journal says how far', async () => {
  const { runId } = await heldRun()
  const append = (read_to: number) =>
    api.host('POST', `/runs/${runId}/executions/1/events`, { journal: 'agent 1/x', events: [event], read_to })
  expect((await append(4)).body).toMatchObject({ line: 4 })
  expect((await append(2)).body).toMatchObject({ line: 4 })
  const position = await api.host('GET', `/runs/${runId}/journals/${encodeURIComponent('agent 1/x')}`)
  expect(position.body).toEqual({ line: 4 })
  expect((await api.call('GET', `/agent/runs/${runId}/events`)).body.events).toHaveLength(2)
})

test('an execution that is over is refused everywhere', async () => {
  const { runId } = await givenRun(api.db)
  await begin(runId, 'a')
  await begin(runId, 'b')
  await api.hold(runId)
  await api.hold(runId, { execution: 2 })
  const first = `/runs/${runId}/executions/1`
  const replies = [
    await api.host('GET', first),
    await api.host('POST', `${first}/credential`),
    await api.host('POST', `${first}/events`, { journal: 'agent-1', events: [event], read_to: 1 }),
    await api.host('PUT', `${first}/result`, { repositories: [] }),
  ]
  for (const reply of replies)
    expect(reply).toMatchObject({ status: 409, body: { title: 'Conflict', retryable: false } })
  expect(await api.host('GET', `/runs/${runId}/executions/2`)).toMatchObject({ status: 200 })
})

test('what does not fit is refused by name', async () => {
  const { runId } = await heldRun()
  const append = (body: object) => api.host('POST', `/runs/${runId}/executions/1/events`, body)
  expect(await append({ journal: 'a', events: [{ ...event, line: 0 }], read_to: 1 })).toMatchObject({
    status: 400,
    body: { detail: expect.stringContaining('events.0.line') },
  })
  expect(await append({ journal: 'state', events: [event], read_to: 1 })).toMatchObject({ status: 400 })
  expect(await api.host('GET', `/runs/${randomUUID()}/executions/1`)).toMatchObject({ status: 404 })
  expect(await api.host('GET', `/runs/${runId}/executions/0`)).toMatchObject({ status: 404 })
})

test('a credential is handed out, and known by its hash alone', async () => {
  const { runId } = await heldRun()
  const { body } = await api.host('POST', `/runs/${runId}/executions/1/credential`, {})
  expect(await findCredential(api.db, body.token)).toMatchObject({ runId, execution: 1, binding: null })
})

test('a credential whose host tells where it belongs is good nowhere until then', async () => {
  const { runId } = await heldRun()
  const path = `/runs/${runId}/executions/1`
  const { body } = await api.host('POST', `${path}/credential`, { binds: true })
  expect((await findCredential(api.db, body.token))?.binding).toEqual({ kind: 'nowhere' })
  const binding = { kind: 'address', address: '172.18.0.7' }
  expect((await api.host('PUT', `${path}/binding`, binding)).status).toBe(200)
  expect((await findCredential(api.db, body.token))?.binding).toEqual(binding)
  expect((await api.host('PUT', `${path}/binding`, { kind: 'everywhere' })).status).toBe(400)

  await api.host('PUT', `${path}/binding`, { kind: 'first' })
  const claims = await Promise.all(
    ['10.0.0.1', '10.0.0.2'].map((it) => claimCredential(api.db, { runId, execution: 1 }, it)),
  )
  expect(new Set(claims).size).toBe(1)
})

test('a credential of which the host knows where it belongs is good there at once', async () => {
  const { runId } = await heldRun()
  const binding = { kind: 'namespace', id: 'pid:[4026532201]' }
  const { body } = await api.host('POST', `/runs/${runId}/executions/1/credential`, { binds: true, binding })
  expect(body.bound).toBe(true)
  expect((await findCredential(api.db, body.token))?.binding).toEqual(binding)
})

test('a pool is full when its live hosts hold as many runs as they may', async () => {
  const start = async () =>
    (await api.call('POST', '/agent/runs', { prompt: 'x', config: { worker_host: 'small' } })).body.at_capacity
  expect(await start()).toBe(true)
  const report = { pool: 'small', kind: 'direct', version: '1', capacity: 2, in_use: 0 }
  expect(await api.host('PUT', '/hosts/machine-1', report)).toMatchObject({ status: 200 })
  expect(await start()).toBe(false)
  expect(await start()).toBe(true)
  await api.db.updateTable('hosts').set({ capacity: 100 }).execute()
  expect(await start()).toBe(false)
  await api.db.updateTable('hosts').set({ reported_at: '2026-01-01T00:00:00Z' }).execute()
  expect(await start()).toBe(true)
})

test('a host is told what to throw away, and what should not run there', async () => {
  const given = async (change: object) => {
    const { runId } = await givenRun(api.db)
    const over = { state: 'SUCCEEDED', host_id: 'machine-1', finished_at: new Date(Date.now() - 3_600_000) } as const
    await api.db
      .updateTable('runs')
      .set({ ...over, ...change })
      .where('id', '=', runId)
      .execute()
    await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '=', runId).execute()
    return runId
  }
  const kept = { workspace_kept: true, workspace_until: new Date(Date.now() + 3_600_000) }
  const old = await given({})
  const givenUp = await given({ ...kept, sandbox_running: false })
  const waiting = await given({ workspace_kept: true, sandbox_running: true })
  const justOver = await given({ ...kept, sandbox_running: false, finished_at: new Date() })
  const atWork = await given({ ...kept, state: 'INPROGRESS', sandbox_running: false, finished_at: null })
  const stranger = randomUUID()
  const runs = [old, givenUp, waiting, justOver, atWork, stranger]
  const { body } = await api.host('POST', '/hosts/machine-1/sweep', { run_ids: runs })
  expect(body.remove).toEqual([old])
  expect(body.stop.toSorted()).toEqual([old, givenUp, stranger].toSorted())
})

test('the result of a single repository is its patch, byte for byte', async () => {
  const { runId } = await heldRun()
  const patch = Buffer.from('diff --git a/x b/x\n\xff\xfe\n', 'latin1')
  const bundle = randomBytes(3_000_000)
  await api.host('PUT', `/runs/${runId}/executions/1/result`, { repositories: [repository('app', patch, bundle)] })
  const get = (query: string) =>
    fetch(`${api.url}/api/v1/agent/runs/${runId}/diff${query}`, { headers: { authorization: `Bearer ${api.key}` } })
  expect(Buffer.from(await (await get('')).arrayBuffer())).toEqual(patch)
  expect(Buffer.from(await (await get('?format=bundle&repo=app')).arrayBuffer())).toEqual(bundle)
  const { patch: _patch, bundle: _bundle, ...listed } = repository('app', patch, bundle)
  expect(await (await get('?format=json')).json()).toEqual({
    repositories: [{ ...listed, execution: 1, patch_bytes: patch.length, bundle_bytes: bundle.length }],
  })
})

test('the newest execution with a result counts, and several repositories are told apart', async () => {
  const { runId } = await givenRun(api.db)
  const put = (execution: number, repositories: object[]) =>
    api.host('PUT', `/runs/${runId}/executions/${execution}/result`, { repositories })
  await api.hold(runId)
  await put(1, [repository('old', Buffer.from('old'), null)])
  await begin(runId, 'a')
  await api.hold(runId, { execution: 2 })
  const repositories = [
    repository('a', Buffer.from('patch of a\n'), null),
    repository('b', null, null, 'The patch is larger than 16 MiB.'),
  ]
  await put(2, repositories)
  await put(2, repositories)
  const diff = (query = '') => api.call('GET', `/agent/runs/${runId}/diff${query}`)
  expect((await diff()).body).toBe('# Repository: a\npatch of a\n# Repository: b (The patch is larger than 16 MiB.)\n')
  expect((await diff('?repo=a')).body).toBe('patch of a\n')
  expect(await diff('?repo=b')).toMatchObject({ status: 404, body: { detail: 'The patch is larger than 16 MiB.' } })
  expect(await diff('?repo=c')).toMatchObject({ status: 404 })
  expect(await diff('?format=bundle')).toMatchObject({ status: 400, body: { detail: expect.stringContaining('a, b') } })
  expect(await diff('?format=zip')).toMatchObject({ status: 400 })
})
