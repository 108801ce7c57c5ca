import OzAPI from 'oz-agent-sdk'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Harnesses } from '../domain/run.ts'
import { startTestApi, type TestApi } from '../test/support/api.ts'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'

let postgres: TestPostgres
let api: TestApi
beforeAll(async () => {
  postgres = await startTestPostgres()
  const env = { AMBIENT_AGENT: 'qwen', AMBIENT_MODEL: 'a-model', GEMINI_API_KEY: 'a-key-of-this-test' }
  api = await startTestApi({ databaseUrl: await postgres.databaseUrl(), env })
})
afterAll(async () => {
  await api.close()
  await postgres.stop()
})

test('the official SDK lists the skills, of which there are none', async () => {
  const oz = new OzAPI({ apiKey: api.key, baseURL: `${api.url}/api/v1` })
  expect(await oz.agent.list()).toEqual({ agents: [] })
  await expect(oz.agent.list({ repo: 'nonsense' })).rejects.toMatchObject({ status: 400 })
})

test('the harnesses are told with the default of the server and what plays a demo', async () => {
  const { status, body } = await api.call('GET', '/agent/harnesses')
  expect(status).toBe(200)
  expect(Harnesses.parse(body)).toEqual({
    default_harness: 'qwen',
    harnesses: [
      { type: 'claude', provider: 'anthropic', default_model_id: null, demo: true },
      { type: 'codex', provider: 'openai', default_model_id: null, demo: true },
      { type: 'gemini', provider: 'gemini', default_model_id: null, demo: false },
      { type: 'opencode', provider: 'openai', default_model_id: null, demo: true },
      { type: 'qwen', provider: 'openai', default_model_id: 'a-model', demo: true },
      { type: 'command', provider: null, default_model_id: null, demo: false },
    ],
  })
})
