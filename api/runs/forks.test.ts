import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createHostServer, type HostServer } from '../../activities/host/server.ts'
import { dropOldCheckpoints } from '../../store/runs/checkpoint-history.ts'
import type { NewRun } from '../../store/runs/runs.ts'
import { HOST, startTestApi, type TestApi } from '../../test/support/api.ts'
import { givenRun } from '../../test/support/runs.ts'

let api: TestApi
let directory: string
let host: HostServer
beforeAll(async () => {
  const env = { ANTHROPIC_API_KEY: 'a-key', AMBIENT_CHECKPOINTS: '2' }
  api = await startTestApi({ env })
  directory = await mkdtemp(join(tmpdir(), 'ambient-forks-'))
  host = createHostServer({
    url: api.url,
    key: HOST.key,
    hostId: HOST.id,
    secret: HOST.secret,
    log: pino({ level: 'silent' }),
  })
})
afterAll(async () => {
  await api.close()
  await rm(directory, { recursive: true, force: true })
})

const signal = () => AbortSignal.timeout(20_000)
const environment = {
  repos: [{ url: 'https://example.com/a.git', path: 'a' }],
  setup_commands: ['npm ci'],
  env: { TOKEN: 'a value' },
}

async function heldRun(fields: Partial<NewRun> = {}): Promise<string> {
  const config = { base_prompt: 'Be brief.', idle_timeout_minutes: 3, worker_host: 'fast' }
  const { runId } = await givenRun(api.db, {
    model: 'a-model',
    pool: 'fast',
    priority: 7,
    config,
    environment,
    metadata: { ticket: 'T-1' },
    ...fields,
  })
  await api.hold(runId)
  return runId
}

async function save(runId: string, content: string, late = false): Promise<void> {
  const file = join(directory, 'sent')
  await writeFile(file, content)
  const summary = {
    taken_at: new Date().toISOString(),
    message_id: null,
    session: true,
    repositories: [],
    left_out: [],
  }
  await host.saveCheckpoint(runId, 1, { file, summary, late }, signal())
}

async function load(runId: string): Promise<string | null> {
  const file = join(directory, 'got')
  return (await host.loadCheckpoint(runId, 1, file, signal())) ? await readFile(file, 'utf8') : null
}

const fork = (runId: string, from: object = {}, body: object = {}) =>
  api.call('POST', '/agent/runs', { prompt: 'Another way', fork_from: { run_id: runId, ...from }, ...body })

async function forked(runId: string, from: object = {}, body: object = {}): Promise<string> {
  const { status, body: answer } = await fork(runId, from, body)
  expect(status, JSON.stringify(answer)).toBe(200)
  expect(answer.warnings).toBeUndefined()
  return answer.run_id
}

const served = async (runId: string) => (await api.call('GET', `/agent/runs/${runId}`)).body

test('a fork has the environment, the agent and the configuration of its run, and is no child of it', async () => {
  const runId = await heldRun()
  await save(runId, 'one')
  await save(runId, 'two')
  const item = await served(await forked(runId))
  const source = await served(runId)
  expect(item).toMatchObject({
    forked_from: { run_id: runId, checkpoint: 2, session: 'continue' },
    parent_run_id: null,
    prompt: 'Another way',
    title: 'Another way',
    environment: source.environment,
    priority: 7,
    metadata: { ticket: 'T-1' },
    agent_config: {
      base_prompt: 'Be brief.',
      idle_timeout_minutes: 3,
      worker_host: 'fast',
      model_id: 'a-model',
      harness: { type: 'claude', model_id: 'a-model' },
    },
  })
  expect(source).toMatchObject({ forked_from: null, children: [], checkpoint: { number: 2 } })
})

test('what its run was given stays hidden in a fork, which begins with its files', async () => {
  const { body: secret } = await api.call('POST', '/agent/secrets', { name: 'BEFORE_THE_FORK', value: 'value-of-then' })
  const runId = await heldRun()
  expect((await api.host('GET', `/runs/${runId}/executions/1`)).body.secrets).toMatchObject([
    { value: 'value-of-then' },
  ])
  await save(runId, 'one')
  await api.call('DELETE', `/agent/secrets/${secret.uid}`)
  const fork = await forked(runId)
  await api.hold(fork)
  const { body: order } = await api.host('GET', `/runs/${fork}/executions/1`)
  expect(order).toMatchObject({ secrets: [], hidden_values: ['value-of-then'] })
})

test('a fork of a personal run is personal, unless it is asked for otherwise', async () => {
  const runId = await heldRun({ scope: 'User' })
  await save(runId, 'one')
  const scopeOf = async (id: string) => (await served(id)).scope.type
  expect(await scopeOf(await forked(runId))).toBe('User')
  expect(await scopeOf(await forked(runId, {}, { team: true }))).toBe('Team')
})

test('what is said otherwise is otherwise', async () => {
  const runId = await heldRun()
  await save(runId, 'one')
  const body = {
    title: 'Mine',
    config: { model_id: 'another', base_prompt: 'Be long.' },
    environment: { setup_commands: ['true'] },
    metadata: { by: 'me' },
    priority: 0,
  }
  expect(await served(await forked(runId, { session: 'fresh' }, body))).toMatchObject({
    forked_from: { session: 'fresh' },
    title: 'Mine',
    priority: 0,
    metadata: { ticket: 'T-1', by: 'me' },
    environment: { repos: environment.repos, setup_commands: ['true'], env: { TOKEN: '***' } },
    agent_config: {
      model_id: 'another',
      base_prompt: 'Be long.',
      idle_timeout_minutes: 3,
      harness: { type: 'claude' },
    },
  })
  const repos = [{ url: 'https://user:token@example.com/a.git', path: 'a' }]
  const secret = await heldRun({ environment: { ...environment, repos } })
  await save(secret, 'one')
  // The URL as it is shown.
  const pushes = { repos: [{ url: 'https://example.com/a.git', path: 'a', push_branch: 'another' }] }
  const ofSecret = await forked(secret, {}, { environment: pushes })
  const stored = await api.db.selectFrom('runs').select('environment').where('id', '=', ofSecret).executeTakeFirst()
  expect(stored?.environment?.repos).toEqual([{ ...repos[0], push_branch: 'another' }])
  const other = await served(await forked(runId, {}, { config: { harness: { type: 'codex' } } }))
  expect(other).toMatchObject({
    forked_from: { session: 'fresh' },
    agent_config: { model_id: null, harness: { type: 'codex' } },
  })
})

test('its host is given the checkpoint that it was forked from, until it has one of its own', async () => {
  const runId = await heldRun()
  await save(runId, 'one')
  await save(runId, 'two')
  const first = await forked(runId, { checkpoint: 1 })
  const { checkpoints } = (await api.call('GET', `/agent/runs/${runId}/checkpoints`)).body
  const byId = await forked(runId, { checkpoint: checkpoints[0].checkpoint_id })
  for (const each of [first, byId]) await api.hold(each)
  expect([await load(first), await load(byId)]).toEqual(['one', 'two'])
  const forkedFrom = { run_id: runId, checkpoint: 1, session: 'continue' }
  expect(await host.order(first, 1, signal())).toMatchObject({
    has_checkpoint: false,
    begins_forked: true,
    forked_from: forkedFrom,
  })
  // Beyond the two that are kept, the first one stays while somebody begins with it.
  await save(runId, 'three')
  await save(runId, 'four')
  expect(await load(first)).toBe('one')
  // Nor does the run go on from what a host hands over that has lost it.
  await save(first, 'too late', true)
  expect(await load(first)).toBe('one')
  await save(first, 'its own')
  expect(await load(first)).toBe('its own')
  expect(await host.order(first, 1, signal())).toMatchObject({
    has_checkpoint: true,
    begins_forked: false,
    forked_from: forkedFrom,
  })
  await save(runId, 'five')
  expect(
    await api.db.selectFrom('checkpoints').select('number').where('run_id', '=', runId).orderBy('number').execute(),
  ).toEqual([{ number: 2 }, { number: 4 }, { number: 5 }])
})

test('a fork that waits keeps what it begins with, however long its run is over, and no longer than it is kept itself', async () => {
  const runId = await heldRun()
  await save(runId, 'one')
  const waiting = await forked(runId)
  const end = (id: string) =>
    api.db
      .updateTable('runs')
      .set({ state: 'SUCCEEDED', finished_at: new Date(Date.now() - 25 * 3_600_000) })
      .where('id', '=', id)
      .execute()
  await end(runId)
  await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '=', runId).execute()
  await dropOldCheckpoints(api.db, 24)
  await api.hold(waiting)
  expect(await load(waiting)).toBe('one')
  await end(waiting)
  await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '=', waiting).execute()
  expect(await dropOldCheckpoints(api.db, 24)).toBe(1)
})

test('what cannot be forked is refused, and why', async () => {
  const runId = await heldRun()
  const refused = async (from: object, body: object = {}, id = runId) => {
    const { status, body: problem } = await fork(id, from, body)
    return [status, problem.detail]
  }
  expect(await refused({})).toEqual([409, expect.stringContaining('has no checkpoint yet')])
  for (const text of ['one', 'two', 'three']) await save(runId, text)
  const nobody = randomUUID()
  expect(await refused({}, {}, nobody)).toEqual([400, `fork_from.run_id: there is no run ${nobody}`])
  expect(await refused({ checkpoint: 9 })).toEqual([400, expect.stringContaining('has had 3')])
  expect(await refused({ checkpoint: 1 })).toEqual([409, expect.stringContaining('is not kept any more')])
  expect(await refused({ checkpoint: randomUUID() })).toEqual([409, expect.stringContaining('is not kept.')])
  expect(await refused({ session: 'continue' }, { config: { harness: { type: 'codex' } } })).toEqual([
    400,
    expect.stringContaining('codex cannot go on with a session of claude'),
  ])
  expect(await refused({}, { environment: { repos: [{ url: 'https://example.com/b.git' }] } })).toEqual([
    400,
    expect.stringContaining('environment.repos'),
  ])
  const { uid } = (await api.call('POST', '/agent/environments', { name: 'small', max_turn_minutes: 5 })).body
  const limited = await heldRun({ environment_id: uid })
  await save(limited, 'one')
  expect(await refused({}, { config: { max_turn_minutes: 6 } }, limited)).toEqual([
    400,
    expect.stringContaining('is more than the environment "small" allows'),
  ])
  expect(await refused({ chekpoint: 1 })).toEqual([400, expect.stringContaining('Is checkpoint meant?')])
  const command = await heldRun({ agent: 'command', command: ['true'], model: null })
  await save(command, 'one')
  expect(await refused({ session: 'continue' }, {}, command)).toEqual([400, expect.stringContaining('no sessions')])
  expect(await served(await forked(command))).toMatchObject({
    forked_from: { session: 'fresh' },
    agent_config: { harness: { type: 'oz', agent: 'command', command: ['true'] } },
  })
})

test('takes its configuration from the run that it comes from, says so, and takes no profile beside it', async () => {
  const runId = await heldRun()
  await save(runId, 'work')
  const forkId = await forked(runId, {}, { config: { permission_policy: 'ask' } })
  const { agent_config: config, configuration } = (await api.call('GET', `/agent/runs/${forkId}`)).body
  expect(config).toMatchObject({ base_prompt: 'Be brief.', permission_policy: 'ask' })
  expect(configuration).toMatchObject({
    sources: { base_prompt: { type: 'forked_run', uid: runId }, permission_policy: { type: 'request' } },
    profile: null,
  })
  const { body } = await fork(runId, {}, { config: { profile: 'any' } })
  expect(body.detail).toContain('config.profile: this run takes over the configuration')
})
