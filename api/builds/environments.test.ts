import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openEnvironment } from '../../secrets/vault/inline.ts'
import { recordBuild } from '../../store/builds/builds.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { startTestPostgres, type TestPostgres } from '../../test/support/postgres.ts'
import { givenHost } from '../../test/support/runs.ts'

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
  api = await startTestApi({ databaseUrl: await postgres.databaseUrl(), env: { AMBIENT_TURN_MINUTES: '60' } })
})

const WEB = {
  name: 'web',
  repos: [{ url: 'https://someone:token@github.com/team/web.git', ref: 'main' }],
  setup_commands: ['npm ci'],
  env: { NPM_TOKEN: 'secret', MODE: 'ci' },
}

const create = async (fields: object = {}) =>
  (await api.call('POST', '/agent/environments', { ...WEB, ...fields })).body
const storedConfig = async (id: string) =>
  openEnvironment(
    api.vault,
    (await api.db.selectFrom('environments').select('config').where('id', '=', id).executeTakeFirstOrThrow()).config,
  )
const start = (config: object, more: object = {}) =>
  api.call('POST', '/agent/runs', { prompt: 'Do it', config, ...more })
const runOf = async (reply: { body: { run_id: string } }) =>
  (await api.call('GET', `/agent/runs/${reply.body.run_id}`)).body

describe('a stored environment', () => {
  test('is served in the shape of Oz with its own fields beside it, and never with its secrets', async () => {
    const made = await api.call('POST', '/agent/environments', { ...WEB, description: 'The site', run_limit: 2 })
    expect(made.status).toBe(201)
    expect(made.body).toMatchObject({
      uid: expect.stringMatching(/^[A-Za-z0-9]{22}$/),
      config: {
        name: 'web',
        description: 'The site',
        docker_image: '',
        github_repos: [{ owner: 'team', repo: 'web' }],
        setup_commands: ['npm ci'],
        repos: [{ url: 'https://github.com/team/web.git', ref: 'main' }],
        env: { NPM_TOKEN: '***', MODE: '***' },
        prepare: true,
        run_limit: 2,
      },
      setup_failed: false,
      runs_at_work: 0,
      builds: [],
    })
    expect(JSON.stringify(made.body)).not.toMatch(/token@|secret/)
    await create({ name: 'api' })
    const byName = await api.call('GET', '/agent/environments?sort_by=name')
    const latest = await api.call('GET', '/agent/environments')
    const names = (reply: typeof byName) =>
      reply.body.environments.map((each: { config: { name: string } }) => each.config.name)
    expect([names(byName), names(latest)]).toEqual([
      ['api', 'web'],
      ['api', 'web'],
    ])
    expect(byName.body.environments[1]).toEqual(made.body)
  })

  test('has a name of its own, which is free again when it is gone', async () => {
    const { uid } = await create()
    expect((await api.call('POST', '/agent/environments', WEB)).status).toBe(409)
    const other = await create({ name: 'other' })
    expect((await api.call('PUT', `/agent/environments/${other.uid}`, WEB)).status).toBe(409)
    expect((await api.call('DELETE', `/agent/environments/${uid}`)).status).toBe(204)
    expect((await api.call('GET', `/agent/environments/${uid}`)).status).toBe(404)
    expect((await api.call('DELETE', `/agent/environments/${uid}`)).status).toBe(404)
    expect((await storedConfig(uid)).env).toEqual({ NPM_TOKEN: '***', MODE: '***' })
    expect((await api.call('POST', '/agent/environments', WEB)).status).toBe(201)
  })

  test('is replaced as a whole, and keeps what was sent back as it had been shown', async () => {
    const { uid, config } = await create({ description: 'The site' })
    const put = (body: object) => api.call('PUT', `/agent/environments/${uid}`, body)
    const same = await put(config)
    expect({ status: same.status, warnings: same.body.warnings }).toEqual({ status: 200, warnings: undefined })
    expect(await storedConfig(uid)).toMatchObject(WEB)
    const changed = await put({ name: 'web', env: { NPM_TOKEN: '***', NEW: '1' } })
    expect(changed.body.config).toMatchObject({ description: '', repos: [], setup_commands: [] })
    expect((await storedConfig(uid)).env).toEqual({ NPM_TOKEN: 'secret', NEW: '1' })
    const unknown = await put({ name: 'web', env: { MODE: '***' } })
    expect(unknown).toMatchObject({ status: 400, body: { detail: expect.stringContaining('env.MODE') } })
  })

  test('is made once for one Idempotency-Key', async () => {
    const send = () => api.call('POST', '/agent/environments', WEB, { 'idempotency-key': 'one' })
    const [first, second] = [await send(), await send()]
    expect(second).toMatchObject({ status: 201, body: first.body })
  })

  test('tells of fields that it does not know, and refuses what cannot be meant', async () => {
    const warned = await api.call('POST', '/agent/environments', { ...WEB, setup_command: ['x'] })
    expect(warned.body.warnings).toEqual([
      'setup_command is not known here and has no effect. Is setup_commands meant?',
    ])
    const beyond = await api.call('POST', '/agent/environments', { name: 'b', max_turn_minutes: 61 })
    expect(beyond).toMatchObject({ status: 400, body: { detail: expect.stringContaining('max_turn_minutes') } })
    const repository = { name: 'c', repos: [{ url: 'https://example.com/a.git', branch: 'main' }] }
    expect((await api.call('POST', '/agent/environments', repository)).status).toBe(400)
    expect((await api.call('GET', '/agent/environments?sort_by=size')).status).toBe(400)
  })
})

describe('a run that names an environment', () => {
  test('gets a copy of it, which stays as it was', async () => {
    const { uid } = await create()
    const run = await runOf(await start({ environment_id: uid }))
    expect(run.agent_config.environment_id).toBe(uid)
    expect(run.environment).toMatchObject({ setup_commands: ['npm ci'], env: { NPM_TOKEN: '***', MODE: '***' } })
    await api.call('DELETE', `/agent/environments/${uid}`)
    expect((await api.call('GET', `/agent/runs/${run.run_id}`)).body).toEqual(run)
    const { environment } = await api.db.selectFrom('runs').select('environment').executeTakeFirstOrThrow()
    expect(environment && openEnvironment(api.vault, environment).env).toEqual(WEB.env)
    expect(environment).not.toHaveProperty('name')
  })

  test('is refused where there is none, and where it brings one of its own', async () => {
    const nowhere = 'A'.repeat(22)
    const { uid } = await create()
    const replies = [
      await start({ environment_id: nowhere }),
      await start({ environment_id: 'web' }),
      await start({ environment_id: uid }, { environment: {} }),
    ]
    expect(replies.map(({ status, body }) => [status, body.type])).toEqual([
      [404, '/errors/resource-not-found'],
      [400, '/errors/invalid-request'],
      [400, '/errors/invalid-request'],
    ])
    expect((await start({ environment_id: '' })).status).toBe(200)
  })

  test('has its limits, and may ask for less and not for more', async () => {
    const { uid } = await create({ max_turn_minutes: 30, max_disk_gb: 2, idle_timeout_minutes: 3 })
    const run = await runOf(await start({ environment_id: uid }))
    expect(run.agent_config).toMatchObject({ max_turn_minutes: 30, max_disk_gb: 2, idle_timeout_minutes: 3 })
    const less = await runOf(await start({ environment_id: uid, max_turn_minutes: 5, idle_timeout_minutes: 9 }))
    expect(less.agent_config).toMatchObject({ max_turn_minutes: 5, max_disk_gb: 2, idle_timeout_minutes: 9 })
    expect(await start({ environment_id: uid, max_turn_minutes: 31 })).toMatchObject({
      status: 400,
      body: { detail: expect.stringContaining('environment "web" allows: 30') },
    })
  })

  test('is found by it, and those without one by the word for none', async () => {
    const { uid } = await create()
    const named = await start({ environment_id: uid })
    const unnamed = await start({})
    const found = async (id: string) =>
      (await api.call('GET', `/agent/runs?environment_id=${id}`)).body.runs.map((run: { run_id: string }) => run.run_id)
    expect(await found(uid)).toEqual([named.body.run_id])
    expect(await found('empty-environment')).toEqual([unnamed.body.run_id])
    expect(await found('A'.repeat(22))).toEqual([])
    const [item] = (await api.call('GET', '/agent/environments')).body.environments
    expect(item.last_task_created).toMatchObject({ id: named.body.run_id, title: 'Do it', state: 'QUEUED' })
  })

  test('starts from what its host has built, unless the environment has runs set themselves up', async () => {
    const order = async (fields: object) => {
      const { uid } = await create(fields)
      const { run_id: runId } = (await start({ environment_id: uid })).body
      await api.hold(runId)
      const { prepared, environment } = (await api.host('GET', `/runs/${runId}/executions/1`)).body
      expect(environment).toMatchObject({ env: WEB.env })
      return { uid, prepared }
    }
    const waits = await order({ wait_for_build: true })
    expect(waits.prepared).toEqual({ environment_id: waits.uid, wait: true })
    expect((await order({ name: 'cold', prepare: false })).prepared).toBeNull()
  })
})

test('an environment whose newest build failed says so', async () => {
  await givenHost(api.db, { id: 'a' })
  const { uid, builds } = await create()
  const failure = {
    code: 'setup_command_failed',
    phase: 'setup',
    message: 'No.',
    command: 'npm ci',
    exitCode: 1,
  } as const
  await recordBuild(api.db, { buildId: builds[0].build_id, end: { kind: 'failed', failure } })
  expect((await api.call('GET', `/agent/environments/${uid}`)).body).toMatchObject({
    setup_failed: true,
    builds: [{ state: 'FAILED', failure: { code: 'setup_command_failed', command: 'npm ci', exit_code: 1 } }],
  })
})
