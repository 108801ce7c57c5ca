import { randomUUID } from 'node:crypto'
import { TestWorkflowEnvironment } from '@temporalio/testing'
import { createParser } from 'eventsource-parser'
import { sql } from 'kysely'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createHostServer, ServerRefusal } from '../../activities/host/server.ts'
import { LOG_BYTES } from '../../store/builds/build-log.ts'
import { dropOldBuilds, markBuildDispatched, rebuildOld, undeliveredBuilds } from '../../store/builds/build-upkeep.ts'
import { recordBuild } from '../../store/builds/builds.ts'
import { HOST, startTestApi, type TestApi } from '../../test/support/api.ts'
import { startTestPostgres, type TestPostgres } from '../../test/support/postgres.ts'
import { givenHost } from '../../test/support/runs.ts'
import { temporalBinary } from '../../test/support/temporal.ts'
import { BUILD_WORKFLOW, type BuildEnd, buildWorkflowId } from '../../workflows/contract.ts'
import { makeBuildUpkeep } from './build-upkeep.ts'

let postgres: TestPostgres
let api: TestApi
beforeAll(async () => {
  postgres = await startTestPostgres()
})
afterAll(async () => {
  await api?.close()
  await postgres.stop()
})
beforeEach(async () => {
  await api?.close()
  api = await startTestApi({ databaseUrl: await postgres.databaseUrl() })
})

const OTHER = { id: 'machine-2', secret: 'secret-of-machine-2' }
const ready = (key = 'a'): BuildEnd => ({
  kind: 'ready',
  result: { key: key.repeat(64), reused: false, bytes: 10, image: null, commits: {} },
})

const report = (as: { id: string; secret: string } = HOST, pool = 'default') =>
  api.host('PUT', `/hosts/${as.id}`, { pool, kind: 'direct', version: '1', capacity: 2, in_use: 0 }, as)
const create = async (fields: object = {}) =>
  (await api.call('POST', '/agent/environments', { name: 'web', setup_commands: ['npm ci'], ...fields })).body
const ask = (uid: string, body: object = {}) => api.call('POST', `/agent/environments/${uid}/builds`, body)
const show = async (uid: string, id: string) => (await api.call('GET', `/agent/environments/${uid}/builds/${id}`)).body
const list = async (uid: string) => (await api.call('GET', `/agent/environments/${uid}/builds`)).body.builds
const finish = (buildId: string, end = ready()) => recordBuild(api.db, { buildId, end })
/** Asked for, begun, over and used so long ago. */
const age = (id: string, hours: number) =>
  sql`update builds set created_at = created_at - make_interval(hours => ${hours}),
    finished_at = finished_at - make_interval(hours => ${hours}) where id = ${id}`.execute(api.db)

describe('an environment is built', () => {
  test('when it is new, on every host that runs may come to', async () => {
    await report()
    await report(OTHER)
    await report({ id: 'elsewhere', secret: 'secret-of-elsewhere' }, 'gpu')
    const { uid, builds } = await create()
    expect(builds).toMatchObject([
      { worker_id: 'machine-1', state: 'QUEUED', reason: 'changed', environment_id: uid },
      { worker_id: 'machine-2', state: 'QUEUED', reason: 'changed', environment_id: uid },
    ])
    expect((await create({ name: 'cold', prepare: false })).builds).toEqual([])
    // No image can be had where there are no containers.
    expect((await create({ name: 'image', image: 'node:24' })).builds).toEqual([])
    // Nor can such a host hold anybody to a list of hosts.
    expect((await create({ name: 'list', egress: { allow: ['registry.example.org'] } })).builds).toEqual([])
  })

  test('once at a time on a host, whoever asks', async () => {
    await report()
    const { uid, builds } = await create()
    const [first, second] = await Promise.all([ask(uid), ask(uid, { reason: 'push', worker_id: HOST.id })])
    expect([first.status, second.status]).toEqual([202, 202])
    expect(first.body.builds).toEqual(builds)
    expect(second.body.builds).toEqual(builds)
    await finish(builds[0].build_id)
    const again = await ask(uid, { force: true })
    expect(again.body.builds).toMatchObject([{ reason: 'manual', force: true, state: 'QUEUED' }])
    expect((await list(uid)).map((each: { state: string }) => each.state)).toEqual(['QUEUED', 'READY'])
  })

  test('anew when what is built has changed, and then what goes on is cancelled', async () => {
    await report()
    const { uid, builds } = await create()
    const put = (fields: object) =>
      api.call('PUT', `/agent/environments/${uid}`, { name: 'web', setup_commands: ['npm ci'], ...fields })
    const standing = () =>
      api.db.selectFrom('builds').select(['state', 'cancel_asked_at', 'config']).orderBy('created_at').execute()
    await put({ description: 'The same' })
    expect(await standing()).toMatchObject([{ state: 'QUEUED', cancel_asked_at: null }])
    await put({ setup_commands: ['npm ci', 'npm run build'] })
    expect(await standing()).toMatchObject([{ cancel_asked_at: expect.any(Date) }])
    await finish(builds[0].build_id, { kind: 'cancelled' })
    expect(await standing()).toMatchObject([
      { state: 'CANCELLED' },
      { state: 'QUEUED', cancel_asked_at: null, config: { setup_commands: ['npm ci', 'npm run build'] } },
    ])
    await api.call('DELETE', `/agent/environments/${uid}`)
    expect(await standing()).toMatchObject([{}, { cancel_asked_at: expect.any(Date) }])
  })

  test('also where a change was taken back while what it had cancelled was still ending', async () => {
    await report()
    const { uid, builds } = await create()
    const put = (fields: object) => api.call('PUT', `/agent/environments/${uid}`, { name: 'web', ...fields })
    await put({ setup_commands: ['npm ci'], prepare: false })
    await put({ setup_commands: ['npm ci'] })
    expect(await list(uid)).toHaveLength(1)
    await finish(builds[0].build_id, { kind: 'cancelled' })
    expect(await list(uid)).toMatchObject([{ state: 'QUEUED', reason: 'changed' }, { state: 'CANCELLED' }])
  })

  test('with a few others at a time on a host, which has its runs to see to', async () => {
    await report()
    await report(OTHER)
    for (let count = 1; count <= 6; count++) await create({ name: `web ${count}` })
    const given = async () => {
      const found = await undeliveredBuilds(api.db, 100)
      for (const { id } of found) await markBuildDispatched(api.db, id, 'start')
      return found.filter(({ hostId }) => hostId === HOST.id).map(({ environment }) => environment)
    }
    expect(await given()).toEqual(['web 1', 'web 2', 'web 3', 'web 4'])
    expect(await given()).toEqual([])
    const ofHost = api.db.selectFrom('builds').select('id').where('host_id', '=', HOST.id)
    const { id: over } = await ofHost.where('dispatched_at', 'is not', null).executeTakeFirstOrThrow()
    await finish(over)
    expect(await given()).toEqual(['web 5'])
    // A cancel waits for nobody.
    const { id: waiting } = await ofHost.where('dispatched_at', 'is', null).executeTakeFirstOrThrow()
    await api.db.updateTable('builds').set({ cancel_asked_at: new Date() }).where('id', '=', waiting).execute()
    expect(await given()).toEqual(['web 6'])
  })

  test('by age where it was used since', async () => {
    await report()
    const { builds } = await create({ rebuild_hours: 24 })
    const [{ build_id: id }] = builds
    await finish(id)
    await age(id, 25)
    expect(await rebuildOld(api.db)).toEqual([])
    await api.db.updateTable('builds').set({ used_at: new Date() }).where('id', '=', id).execute()
    const [next] = await rebuildOld(api.db)
    expect(await api.db.selectFrom('builds').selectAll().where('id', '=', String(next)).execute()).toMatchObject([
      { reason: 'age', force: true, host_id: HOST.id },
    ])
    // It goes on; and when it is over, it is young.
    expect(await rebuildOld(api.db)).toEqual([])
    await finish(String(next))
    expect(await rebuildOld(api.db)).toEqual([])
  })

  test('not where nobody can, which is said', async () => {
    const { uid } = await create()
    const cold = await create({ name: 'cold', prepare: false })
    await report()
    const replies = [
      await ask(cold.uid),
      await ask(uid, { worker_id: 'machine-9' }),
      await ask(uid, { reason: 'age' }),
      await ask('A'.repeat(22)),
    ]
    expect(replies.map(({ status }) => status)).toEqual([409, 400, 400, 404])
    await api.db.updateTable('hosts').set({ draining_at: new Date() }).execute()
    expect((await ask(uid)).status).toBe(409)
  })
})

describe('the host of a build', () => {
  test('gets what it needs, tells what it does, and nobody else does', async () => {
    await report()
    await report(OTHER)
    const { uid, builds } = await create({ env: { TOKEN: 'secret' } })
    const [{ build_id: id }] = builds
    expect((await api.host('GET', `/builds/${id}`)).body).toEqual({
      build_id: id,
      environment_id: uid,
      team: 'default',
      environment: expect.objectContaining({ setup_commands: ['npm ci'], env: { TOKEN: 'secret' } }),
      git: [],
      secrets: [],
      secrets_trouble: null,
      force: false,
      state: 'QUEUED',
      failure: null,
    })
    const log = (lines: object[]) => api.host('POST', `/builds/${id}/log`, { source: 'setup', lines })
    await log([])
    expect(await show(uid, id)).toMatchObject({ state: 'BUILDING', started_at: expect.any(String) })
    await log([{ line: 1, text: 'one' }])
    await log([
      { line: 1, text: 'one' },
      { line: 2, text: 'two' },
    ])
    for (const [method, path, body] of [
      ['GET', `/builds/${id}`],
      ['POST', `/builds/${id}/log`, { source: 'setup', lines: [{ line: 9, text: 'not mine' }] }],
    ] as const) {
      expect((await api.host(method, path, body, OTHER)).status).toBe(403)
    }
    expect((await api.host('GET', `/builds/${randomUUID()}`)).status).toBe(404)
    const { lines, page_info } = (await api.call('GET', `/agent/environments/${uid}/builds/${id}/log?limit=1`)).body
    expect(lines).toMatchObject([{ source: 'setup', line: 1, text: 'one' }])
    expect(page_info).toMatchObject({ has_next_page: true, state: 'BUILDING', is_over: false })
    const next = `/agent/environments/${uid}/builds/${id}/log?after=${page_info.next_cursor}`
    expect((await api.call('GET', next)).body).toMatchObject({
      lines: [{ text: 'two' }],
      page_info: { has_next_page: false },
    })
    await finish(id)
    const over = (await api.host('GET', `/builds/${id}`)).body
    expect(over).toMatchObject({ state: 'READY', environment: { env: { TOKEN: '***' } } })
  })

  test('asks for a build only where it has had a run of the environment', async () => {
    const { uid } = await create()
    const { run_id: runId } = (await api.call('POST', '/agent/runs', { prompt: 'x', config: { environment_id: uid } }))
      .body
    await report()
    const request = () => api.host('POST', `/environments/${uid}/builds`, { reason: 'missing' })
    expect((await request()).status).toBe(403)
    await api.hold(runId)
    const { status, body } = await request()
    expect({ status, again: (await request()).body }).toEqual({ status: 200, again: body })
    expect(await show(uid, body.build_id)).toMatchObject({ reason: 'missing', worker_id: HOST.id })
    const failure = { code: 'setup_command_failed', phase: 'setup', message: 'No.' } as const
    await finish(body.build_id, { kind: 'failed', failure })
    // A run that waits is told at once, and nobody has the same fail again.
    expect((await request()).body).toEqual(body)
    await age(body.build_id, 1)
    const next = (await request()).body
    expect(next).not.toEqual(body)
    await finish(next.build_id)
    await api.host('POST', `/environments/${uid}/used`, { key: 'a'.repeat(64) })
    expect(await show(uid, next.build_id)).toMatchObject({ used_at: expect.any(String) })
    await api.call('DELETE', `/agent/environments/${uid}`)
    // Not that the run is another host's: it sets itself up.
    const { id: hostId, ...rest } = HOST
    const host = createHostServer({ url: api.url, hostId, ...rest, log: pino({ level: 'silent' }) })
    await expect(host.askForBuild(uid, 'missing', AbortSignal.timeout(5_000))).rejects.toThrow(ServerRefusal)
  })

  test('keeps its sandbox while it goes on, and not when it is over', async () => {
    await report()
    const [{ build_id: id }] = (await create()).builds
    const sweep = async (as: { id: string; secret: string } = HOST) =>
      (await api.host('POST', `/hosts/${as.id}/sweep`, { run_ids: [id] }, as)).body
    expect(await sweep()).toMatchObject({ remove: [], stop: [] })
    await report(OTHER)
    expect(await sweep(OTHER)).toMatchObject({ remove: [id], stop: [] })
    await finish(id)
    expect(await sweep()).toMatchObject({ remove: [id], stop: [] })
  })
})

test('the log of a build is followed to its end', async () => {
  await report()
  const { uid, builds } = await create()
  const [{ build_id: id }] = builds
  const say = (line: number) =>
    api.host('POST', `/builds/${id}/log`, { source: 'setup', lines: [{ line, text: `line ${line}` }] })
  await say(1)
  const response = await fetch(`${api.url}/api/v1/agent/environments/${uid}/builds/${id}/log`, {
    headers: { authorization: `Bearer ${api.key}`, accept: 'text/event-stream' },
  })
  const heard: unknown[] = []
  const parser = createParser({
    onEvent: ({ event, data }) => heard.push(event === 'end' ? JSON.parse(data).state : JSON.parse(data).text),
  })
  const decoder = new TextDecoder()
  for await (const chunk of response.body ?? []) {
    parser.feed(decoder.decode(chunk, { stream: true }))
    if (heard.length === 1) await say(2)
    if (heard.length === 2) await finish(id)
  }
  expect(heard).toEqual(['line 1', 'line 2', 'READY'])
})

test('a log that has no end is kept up to a size, and says so', async () => {
  await report()
  const [{ build_id: id }] = (await create()).builds
  const text = 'x'.repeat(60_000)
  const most = Math.ceil(LOG_BYTES / text.length)
  for (let line = 1; line <= most + 200; line += 100) {
    const lines = Array.from({ length: 100 }, (_, index) => ({ line: line + index, text }))
    expect((await api.host('POST', `/builds/${id}/log`, { source: 'setup', lines })).status).toBe(200)
  }
  const { rows } = await sql<{ lines: number; last: string }>`
    select count(*) as lines, (array_agg(text order by position desc))[1] as last from build_log
  `.execute(api.db)
  expect(rows).toEqual([{ lines: most + 1, last: expect.stringContaining('is not kept') }])
})

test('a build that is asked for while another one is being cancelled begins when that has ended', async () => {
  await report()
  const { uid, builds } = await create()
  const [{ build_id: first }] = builds
  expect((await api.call('POST', `/agent/environments/${uid}/builds/${first}/cancel`)).status).toBe(202)
  const again = await ask(uid, { force: true })
  expect(again.body.builds).toMatchObject([{ build_id: first }])
  await finish(first, { kind: 'cancelled' })
  const all = await list(uid)
  expect(all).toMatchObject([
    { state: 'QUEUED', reason: 'manual', force: true },
    { build_id: first, state: 'CANCELLED' },
  ])
  await finish(all[0].build_id)
  expect(await list(uid)).toHaveLength(2)
})

test('old builds leave the record, the newest and those from which runs start stay', async () => {
  await report()
  const { uid, builds } = await create()
  await finish(builds[0].build_id)
  await age(builds[0].build_id, 24 * 40)
  for (let count = 0; count < 25; count++) {
    const [{ build_id: id }] = (await ask(uid)).body.builds
    await finish(id, { kind: 'cancelled' })
  }
  await dropOldBuilds(api.db)
  const kept = (await list(uid)).map((build: { state: string }) => build.state)
  expect(kept).toEqual([...Array.from({ length: 20 }, () => 'CANCELLED'), 'READY'])
})

describe('the workflow of a build', () => {
  let temporal: TestWorkflowEnvironment
  beforeAll(async () => {
    temporal = await TestWorkflowEnvironment.createLocal({
      server: {
        executable: { type: 'existing-path', path: temporalBinary() },
        log: { format: 'json', level: 'error' },
      },
    })
  })
  afterAll(() => temporal?.teardown())

  test('is started although the server dies right after the build was asked for, and told of a cancel', async () => {
    const databaseUrl = await postgres.databaseUrl()
    await api.close()
    // Temporal is away from this one.
    api = await startTestApi({ databaseUrl })
    await report()
    const { uid, builds } = await create()
    const [{ build_id: id }] = builds
    await api.close()
    api = await startTestApi({ databaseUrl, client: temporal.client, env: { AMBIENT_HOST_LOST_SECONDS: '77' } })
    const handle = temporal.client.workflow.getHandle(buildWorkflowId(id))
    await expect
      .poll(() => handle.describe().catch(() => null))
      .toMatchObject({
        type: BUILD_WORKFLOW,
      })
    expect((await api.call('POST', `/agent/environments/${uid}/builds/${id}/cancel`)).status).toBe(202)
    const isAsked = async () =>
      ((await handle.fetchHistory()).events ?? []).some(
        (event) => event.workflowExecutionCancelRequestedEventAttributes,
      )
    await expect.poll(isAsked).toBe(true)
    await finish(id, { kind: 'cancelled' })
    expect((await api.call('POST', `/agent/environments/${uid}/builds/${id}/cancel`)).status).toBe(409)
  })

  test('that is gone leaves no build behind that never ends', async () => {
    await givenHost(api.db, { id: 'a' })
    const { uid, builds } = await create()
    const [{ build_id: id }] = builds
    const earlier = new Date(Date.now() - 60_000)
    await api.db.updateTable('builds').set({ dispatched_at: earlier }).execute()
    const log = pino({ level: 'silent' })
    await makeBuildUpkeep({ db: api.db, client: temporal.client, builds: { nudge() {} }, log }).endAbandoned()
    expect(await show(uid, id)).toMatchObject({ state: 'FAILED', failure: { code: 'internal_error', retryable: true } })
  })
})
