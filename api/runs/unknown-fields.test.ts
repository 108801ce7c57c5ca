import OzAPI from 'oz-agent-sdk'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { givenHost, givenRun } from '../../test/support/runs.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

const post = (body: object) => api.call('POST', '/agent/runs', { prompt: 'Do it', ...body })

test.each([
  [
    { config: { permision_policy: 'ask' } },
    'config.permision_policy: is not known here. Is config.permission_policy meant?',
  ],
  [
    { config: { permissionPolicy: 'ask' } },
    'config.permissionPolicy: is not known here. Is config.permission_policy meant?',
  ],
  [{ agent_config: { permission_policy: 'deny' } }, 'agent_config: is "config" in the request of a run.'],
  [{ permission_policy: 'ask' }, 'permission_policy: is in the wrong place; it belongs in config'],
  [
    { config: { environment: { repos: [] } } },
    'config.environment: is in the wrong place; it belongs in the body itself',
  ],
  [{ repos: [] }, 'repos: is in the wrong place; it belongs in environment'],
  [{ environment: { setup_comands: ['x'] } }, 'environment.setup_comands: is not known here. Is setup_commands meant?'],
  [
    { environment: { repos: [{ url: 'https://git.example/a', branch: 'b' }] } },
    'environment.repos.0.branch: is not known here. There are url, ref, path, depth, submodules, lfs, push_branch, push_branches, push_force or pull_request.',
  ],
])('%j is refused: it would change what the run may do, and no other API has it', async (body, detail) => {
  expect(await post(body)).toMatchObject({ status: 400, body: { detail } })
})

test('any other field that is not known is left out, and told', async () => {
  const { status, body } = await post({
    titel: 'x',
    team: null,
    config: { telepathy: {}, harness: { efort: 1 } },
  })
  expect(status).toBe(200)
  expect(body.warnings).toEqual([
    'titel is not known here and has no effect. Is title meant?',
    'config.telepathy is not known here and has no effect.',
    'config.harness.efort is not known here and has no effect.',
  ])
  const { runId } = await givenRun(api.db)
  const sent = await api.call('POST', `/agent/runs/${runId}/followups`, { message: 'x', delivry: 'interrupt' })
  expect(sent.body.warnings).toEqual(['delivry is not known here and has no effect. Is delivery meant?'])
  const answer = await api.call('POST', `/agent/runs/${runId}/answers`, { option_id: 'allow', question: 'q' })
  expect(answer).toMatchObject({ status: 400, body: { detail: expect.stringContaining('question: is not known') } })
})

test('what the official SDK sends is accepted as it is', async () => {
  await api.call('POST', '/agent/secrets', { name: 'CLAUDE_KEY', value: 'sk-ant-1', scope: 'team' })
  const oz = new OzAPI({ apiKey: api.key, baseURL: `${api.url}/api/v1` })
  const { run_id } = await oz.agent.run({
    prompt: 'Do it',
    title: 'By the SDK',
    team: true,
    ...{ interactive: false },
    config: {
      name: 'nightly',
      model_id: 'm',
      base_prompt: 'Be brief',
      worker_host: 'warp',
      computer_use_enabled: false,
      // Fields of clients that are newer than the one that is installed here.
      ...{
        harness: { type: 'claude' },
        harness_auth_secrets: { claude_auth_secret_name: 'CLAUDE_KEY' },
        session_sharing: { public_access: 'VIEWER' },
        credential_strategy: 'CREATOR',
        runner_id: 'r',
        inference_providers: {},
      },
    },
  })
  expect((await oz.agent.runs.retrieve(run_id)).title).toBe('By the SDK')
})

test.each([
  [{}, 'prompt: is required'],
  [{ prompt: 7 }, 'prompt: must be a text'],
  [{ prompt: 'x', config: { permission_policy: 'maybe' } }, 'config.permission_policy: must be allow, ask or deny'],
  [{ prompt: 'x', config: { idle_timeout_minutes: 61 } }, 'config.idle_timeout_minutes: must be at most 60'],
  [{ prompt: 'x', environment: { repos: 'a' } }, 'environment.repos: must be a list'],
  [
    { prompt: 'x', environment: { env: { '1x': 'a' } } },
    /^environment\.env\.1x: .*must be letters, digits and underscores/,
  ],
  [[1], 'The body must be an object'],
])('%j is refused in words', async (body, words) => {
  const { status, body: problem } = await api.call('POST', '/agent/runs', body)
  expect(status).toBe(400)
  if (typeof words === 'string') expect(problem.detail).toBe(words)
  else expect(problem.detail).toMatch(words)
})

test('an image is refused where all hosts of the pool run processes, and what a run gets by default is told', async () => {
  await givenHost(api.db, { id: 'bare', pool: 'bare' })
  const config = { worker_host: 'bare' }
  const refused = await post({ config, environment: { image: 'node:24' } })
  expect(refused).toMatchObject({ status: 422, body: { detail: expect.stringContaining('environment.image') } })
  expect((await post({ config: { worker_host: 'empty' }, environment: { image: 'node:24' } })).status).toBe(200)

  const { body } = await post({ config })
  const run = await api.call('GET', `/agent/runs/${body.run_id}`)
  expect(run.body.agent_config).toMatchObject({ permission_policy: 'ask', idle_timeout_minutes: 10 })
})
