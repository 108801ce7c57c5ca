import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { InlineEnvironment, type Repository } from '../../domain/run.ts'
import { findGitGrant } from '../../store/git/tokens.ts'
import { HOST, startTestApi, type TestApi } from '../../test/support/api.ts'
import { givenRun } from '../../test/support/runs.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi({ env: { AMBIENT_GITLAB_TOKEN: 'token-of-the-server-1' } })
})
afterAll(() => api?.close())
afterEach(() => api.db.deleteFrom('git_credentials').execute())

const OTHER = { id: 'machine-2', secret: 'secret-of-machine-2' }
const at = (runId: string, execution = 1) => `/runs/${runId}/executions/${execution}`

async function heldRun(repos: Repository[]): Promise<string> {
  const { runId } = await givenRun(api.db, { environment: InlineEnvironment.parse({ repos }) })
  await api.hold(runId)
  return runId
}

const store = (url: string) =>
  api.call('POST', '/agent/git-credentials', { name: url, url, token: 'token-of-the-team-1' })

test('a host is told which repositories the broker has, by which it gets at them, and no token', async () => {
  await store('https://github.com/you')
  const place = (path: string, host = 'github.com') => ({ scheme: 'https', host, path })
  const runId = await heldRun([
    { url: 'https://github.com/you/app' },
    { url: 'git@github.com:you/lib.git' },
    { url: 'https://github.com/yours/app' },
    { url: 'https://robot:secret@git.example.com/app.git' },
    { url: 'https://gitlab.com/group/sub/app.git' },
  ])
  const { body } = await api.host('GET', at(runId))
  expect(body.git).toEqual([
    { url: 'https://github.com/you/app', place: place('you/app'), by: 'stored' },
    { url: 'git@github.com:you/lib.git', place: place('you/lib'), by: 'stored' },
    { url: 'https://git.example.com/app.git', place: place('app', 'git.example.com'), by: 'url' },
    { url: 'https://gitlab.com/group/sub/app.git', place: place('group/sub/app', 'gitlab.com'), by: 'settings' },
  ])
  expect(JSON.stringify(body)).not.toMatch(/token-of-the/)
})

test('only the host that holds a run is given a credential for its repositories, which says what may be pushed', async () => {
  await store('https://github.com/you')
  const runId = await heldRun([{ url: 'https://github.com/you/app', push_branch: 'agent/work' }])
  await api.host(
    'PUT',
    `/hosts/${OTHER.id}`,
    { pool: 'default', kind: 'direct', version: '1', capacity: 1, in_use: 0 },
    OTHER,
  )
  const ask = (as = {}, execution = 1) =>
    api.host('POST', `${at(runId, execution)}/git-credential`, { for_host: false }, as)
  expect((await ask(OTHER)).status).toBe(403)
  const { status, body } = await ask()
  expect(status).toBe(200)
  expect(await findGitGrant(api.db, body.git_token)).toMatchObject({
    of: { run: runId, execution: 1 },
    team: 'default',
    repositories: [{ push_branch: 'agent/work' }],
    ownBranch: `ambient/${runId}`,
  })
  const { rows } = { rows: await api.db.selectFrom('git_tokens').selectAll().execute() }
  expect(JSON.stringify(rows)).not.toContain(body.git_token)
})

test('for an environment, and a build of it, a host is given what reads alone, and nothing for those of other hosts', async () => {
  await store('https://github.com/you')
  await api.host('PUT', `/hosts/${HOST.id}`, { pool: 'default', kind: 'direct', version: '1', capacity: 1, in_use: 0 })
  const made = await api.call('POST', '/agent/environments', {
    name: 'app',
    repos: [{ url: 'https://github.com/you/app' }],
  })
  const [build] = made.body.builds
  const order = await api.host('GET', `/builds/${build.build_id}`)
  expect(order.body.git).toMatchObject([{ by: 'stored' }])
  const strange = { id: 'machine-3', secret: 'secret-of-machine-3' }
  const report = { pool: 'elsewhere', kind: 'direct', version: '1', capacity: 1, in_use: 0 }
  await api.host('PUT', `/hosts/${strange.id}`, report, strange)
  for (const path of [`/builds/${build.build_id}/git-credential`, `/environments/${made.body.uid}/git-credential`]) {
    const { body } = await api.host('POST', path, {})
    expect(await findGitGrant(api.db, body.git_token)).toMatchObject({ ownBranch: null, repositories: [{}] })
    expect((await api.host('POST', path, {}, strange)).status).toBe(403)
  }
})
