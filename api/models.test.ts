import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createRouting } from '../secrets/gateway/route.ts'
import { startTestApi, type TestApi } from '../test/support/api.ts'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'

let postgres: TestPostgres
let api: TestApi
beforeAll(async () => {
  postgres = await startTestPostgres()
  api = await startTestApi({ databaseUrl: await postgres.databaseUrl(), env: { ANTHROPIC_API_KEY: 'sk-server' } })
})
afterAll(async () => {
  await api?.close()
  await postgres?.stop()
})

const server = { baseUrl: 'https://server.example.com', apiKey: 'sk-server' }
/** As the gateway asks, a moment later than the last change. */
const routing = () =>
  createRouting({
    db: api.db,
    vault: api.vault,
    servers: { anthropic: server, openai: { ...server, isDemo: true }, gemini: server },
    baseUrls: { anthropic: server.baseUrl, openai: server.baseUrl, gemini: server.baseUrl },
    models: [],
  })

const start = async (config: object) => {
  const { status, body } = await api.call('POST', '/agent/runs', { prompt: 'x', config })
  return { status, detail: body.detail, runId: body.run_id as string }
}

test('models are listed with their prices, and an unknown price is said to be unknown', async () => {
  const { body } = await api.call('GET', '/agent/models')
  const find = (id: string) => body.models.find((model: { id: string }) => model.id === id)
  expect(find('claude-opus-5-5').prices).toEqual({
    input: 4,
    output: 20,
    cache_read: 0.2,
    cache_write: 5,
    cache_write_hour: 8,
  })
  expect(find('claude-fable-5-2').prices).toBeNull()
  expect(find('claude-opus-5-5').disable_reason).toBeUndefined()
  expect(find('gpt-6.1-sol').disable_reason).toBe('ADMIN_DISABLED')
})

test('what the rules of a team do not allow is listed as disabled, and no run can name it', async () => {
  const rules = { allow: ['claude-*'], deny: ['*opus*'] }
  expect((await api.call('PUT', '/agent/models/rules', rules)).body).toEqual(rules)
  expect((await api.call('GET', '/agent/models/rules')).body).toEqual(rules)
  const { body } = await api.call('GET', '/agent/models')
  const off = body.models.filter((model: { disable_reason?: string }) => model.disable_reason === 'ADMIN_DISABLED')
  expect(off.map(({ id }: { id: string }) => id)).toEqual(expect.arrayContaining(['claude-opus-5-5', 'gpt-6.1-sol']))
  expect(off.map(({ id }: { id: string }) => id)).not.toContain('claude-sonnet-5-5')

  const harness = { type: 'claude' }
  expect((await start({ harness, model_id: 'claude-sonnet-5-5' })).status).toBe(200)
  expect(await start({ harness, model_id: 'claude-opus-5-5' })).toMatchObject({
    status: 422,
    detail: 'config.model_id: the model claude-opus-5-5 is not allowed by the rules of the team.',
  })
  expect((await start({ harness: { type: 'codex' } })).status).toBe(422)
  await api.call('PUT', '/agent/models/rules', {})
  expect((await start({ harness, model_id: 'claude-opus-5-5' })).status).toBe(200)
})

const endpoint = {
  name: 'In-house',
  format: 'openai',
  base_url: 'https://models.example.com/v1/',
  models: ['llama-*', 'gpt-6.1-sol'],
  api_key: 'sk-of-the-team',
  headers: { 'X-Org': 'secret-org' },
}

test('calls of an endpoint’s models go there with its key, which is sealed and never shown', async () => {
  const before = await start({ harness: { type: 'codex' } })
  const { status, body: made } = await api.call('POST', '/agent/providers', endpoint)
  expect(status).toBe(201)
  expect(made).toMatchObject({ base_url: 'https://models.example.com/v1', has_api_key: true, header_names: ['X-Org'] })
  expect((await api.call('POST', '/agent/providers', { ...endpoint, api_key: 'other' })).status).toBe(409)
  const shown = [
    made,
    (await api.call('GET', '/agent/providers')).body,
    (await api.call('GET', `/agent/providers/${made.uid}`)).body,
  ]
  expect(JSON.stringify(shown)).not.toMatch(/sk-of-the-team|secret-org/)
  const row = await api.db.selectFrom('model_providers').selectAll().executeTakeFirstOrThrow()
  expect(
    Buffer.concat([row.api_key ?? Buffer.alloc(0), row.headers ?? Buffer.alloc(0)]).toString('latin1'),
  ).not.toMatch(/sk-of-the-team|secret-org/)

  const holder = { runId: before.runId, execution: 1, team: 'default' }
  const to = async (model: string | null, of = holder) => (await routing().route(of, 'openai', model)).target
  expect(await to('llama-9')).toEqual({
    baseUrl: 'https://models.example.com/v1',
    endpoint: made.uid,
    isOutside: true,
    apiKey: 'sk-of-the-team',
    headers: { 'X-Org': 'secret-org' },
  })
  expect(await to('gpt-6-luna')).toMatchObject({ isDemo: true })
  expect(await to('llama-9', { ...holder, team: 'another' })).toMatchObject({ isDemo: true })
  // A run of an agent that has no server's key is no demo any more.
  const { runId } = await start({ harness: { type: 'codex' } })
  const demos = await api.db
    .selectFrom('runs')
    .select(['id', 'demo'])
    .where('id', 'in', [before.runId, runId])
    .execute()
  expect(Object.fromEntries(demos.map(({ id, demo }) => [id, demo]))).toEqual({ [before.runId]: true, [runId]: false })

  const { api_key: _, headers: __, ...kept } = endpoint
  const changed = await api.call('PUT', `/agent/providers/${made.uid}`, { ...kept, models: ['*'] })
  expect(changed.body).toMatchObject({ has_api_key: true, header_names: ['X-Org'], models: ['*'] })
  expect(await to('anything')).toMatchObject({ apiKey: 'sk-of-the-team' })
  const moved = await api.call('PUT', `/agent/providers/${made.uid}`, {
    ...kept,
    base_url: 'https://other.example.com',
  })
  expect([moved.status, moved.body.detail]).toEqual([400, expect.stringContaining('api_key: is to be given again')])
  await api.call('PUT', `/agent/providers/${made.uid}`, { ...kept, api_key: null, headers: {} })
  expect(await to('llama-9')).toMatchObject({ apiKey: null, headers: {} })
  expect((await api.call('DELETE', `/agent/providers/${made.uid}`)).status).toBe(204)
  expect(await to('llama-9')).toMatchObject({ isDemo: true })
  const { body: audit } = await api.call('GET', '/agent/audit')
  expect(JSON.stringify(audit)).not.toMatch(/sk-of-the-team|secret-org/)
})

test.each([
  [{ ...endpoint, base_url: 'ftp://x' }, /base_url/],
  [{ ...endpoint, base_url: 'https://a:b@x.example.com' }, /base_url/],
  [{ ...endpoint, headers: { Host: 'x' } }, /headers/],
  [{ ...endpoint, headers: { 'X-A': 'a\r\nX-B: b' } }, /headers/],
  [{ ...endpoint, api_key: 'two words' }, /api_key/],
])('an endpoint that cannot be is refused: %j', async (body, words) => {
  const { status, body: problem } = await api.call('POST', '/agent/providers', body)
  expect(status).toBe(400)
  expect(problem.detail).toMatch(words)
})

test('a secret can be the key of a run’s provider, and one that is not there is refused', async () => {
  const name = 'CLAUDE_KEY'
  const config = { harness: { type: 'claude' }, harness_auth_secrets: { claude_auth_secret_name: name } }
  expect(await start(config)).toMatchObject({
    status: 422,
    detail: expect.stringContaining('there is no secret CLAUDE_KEY'),
  })
  await api.call('POST', '/agent/secrets', { name, value: 'sk-ant-of-a-secret', scope: 'team' })
  const { runId, status } = await start(config)
  expect(status).toBe(200)
  await api.call('POST', '/agent/secrets', { name: 'OTHER', value: 'given-to-all', scope: 'team' })
  await api.hold(runId)
  const { body: order } = await api.host('GET', `/runs/${runId}/executions/1`)
  expect(order.secrets.map((secret: { name: string }) => secret.name)).toEqual(['OTHER'])
  const holder = { runId, execution: 1, team: 'default', keys: { anthropic: name } }
  const { target } = await routing().route(holder, 'anthropic', 'claude-sonnet-5-5')
  expect(target).toMatchObject({ baseUrl: server.baseUrl, apiKey: 'sk-ant-of-a-secret' })
  await expect(routing().route({ ...holder, runId: randomUUID() }, 'anthropic', null)).rejects.toThrow(
    'not there any more',
  )
})
