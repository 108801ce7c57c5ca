import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MockActivityEnvironment } from '@temporalio/testing'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { runBranch } from '../domain/git/branch.ts'
import type { PullRequestAsk } from '../domain/git/pull-request.ts'
import { InlineEnvironment } from '../domain/run.ts'
import type { TerminalState } from '../domain/state.ts'
import { createForgeAccess } from '../forges/access.ts'
import { startTestApi, type TestApi } from '../test/support/api.ts'
import { type ForgeServer, githubServer } from '../test/support/forge-server.ts'
import { bareRepository, commitFiles, personalGit, workOf } from '../test/support/git-server.ts'
import { givenRun } from '../test/support/runs.ts'
import type { PullRequestActivities, PullRequestOutcome } from '../workflows/contract.ts'
import { makePullRequestActivities } from './pull-requests.ts'

let api: TestApi
let root: string
let forge: ForgeServer
let http: Server
let address: string

beforeAll(async () => {
  api = await startTestApi()
  root = await mkdtemp(join(tmpdir(), 'ambient-pulls-'))
  await bareRepository(root, 'you/app.git', { file: 'one\n' })
})
afterAll(async () => {
  await api?.close()
  await rm(root, { recursive: true, force: true })
})
beforeEach(async () => {
  forge = githubServer(root)
  http = createServer(forge.listener)
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  address = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  return () => http.close()
})

const url = (number = 1) => `https://forge.test/you/app/pull/${number}`

/** A run that has pushed its commits. Returns its id. */
async function pushed(ask: Partial<PullRequestAsk> = {}, subjects = ['Add a greeting', 'Mend it']): Promise<string> {
  const environment = InlineEnvironment.parse({ repos: [{ url: `${address}/you/app.git`, pull_request: ask }] })
  const { runId } = await givenRun(api.db, { title: 'Say hello', environment })
  const branch = runBranch(runId)
  const work = workOf(root, 'you/app.git')
  personalGit(work, 'checkout', '--quiet', '-B', branch, 'origin/main')
  await commitFiles(work, { [runId]: 'hello\n' }, 'Add a greeting')
  await api.hold(runId)
  await pushedAgain(runId, subjects)
  return runId
}

async function pushedAgain(
  runId: string,
  subjects: string[],
  outcome: 'pushed' | 'rejected' = 'pushed',
): Promise<void> {
  const commit = 'c'.repeat(40)
  const result = {
    ...{ path: 'app', url: `${address}/you/app.git`, base_commit: commit, head_commit: commit },
    branch: runBranch(runId),
    // The newest first, as git lists them.
    commits: subjects.toReversed().map((subject) => ({ commit, subject, author: 'A', time: '2026-01-31T12:00:00Z' })),
    ...{ files_changed: 1, insertions: 1, deletions: 0, patch: null, bundle: null, note: null },
    push: { branch: runBranch(runId), commit, outcome, message: null },
  }
  const stored = await api.host('PUT', `/runs/${runId}/executions/1/result`, { repositories: [result] })
  expect(stored.status).toBe(200)
}

function activities(): PullRequestActivities {
  const none = { tokens: undefined, file: undefined }
  return makePullRequestActivities({
    db: api.db,
    forges: createForgeAccess({ github: { ...none, tokens: `${address}=${forge.token}` }, gitlab: none }),
    runLink: (runId) => `https://ambient.test/runs/${runId}`,
    log: pino({ level: 'silent' }),
  })
}

/** As the workflow has it done. */
async function open(runId: string, last = false, ends?: TerminalState): Promise<PullRequestOutcome[]> {
  const { findPullRequests, openPullRequest } = activities()
  const environment = new MockActivityEnvironment()
  const paths = (await environment.run(findPullRequests, { runId })) as string[]
  return Promise.all(
    paths.map(async (path) => {
      const input = { runId, path, last, ...(ends && { ends }) }
      return (await environment.run(openPullRequest, input)) as PullRequestOutcome
    }),
  )
}

const call = async (method: string, path: string) => (await api.call(method, `/agent${path}`)).body
const events = async (runId: string) =>
  (await call('GET', `/runs/${runId}/events?kind=artifact&kind=warning`)).events.map(
    ({ kind, data }: { kind: string; data: object }) => ({ kind, ...data }),
  )

test('what a run has pushed gets a draft with its link, an artifact, an event, and is found by its URL', async () => {
  const runId = await pushed()
  expect(await open(runId)).toEqual([{ kind: 'settled' }])
  const branch = runBranch(runId)
  expect(forge.pulls).toMatchObject([{ branch, base: 'main', title: 'Add a greeting', draft: true }])
  expect(forge.pulls[0]?.body).toContain(`[this run](https://ambient.test/runs/${runId})`)
  expect(forge.pulls[0]?.body).toContain('- Add a greeting\n- Mend it')
  const { artifacts } = await call('GET', `/runs/${runId}`)
  expect(artifacts).toMatchObject([{ artifact_type: 'PULL_REQUEST', data: { url: url(), branch, status: 'draft' } }])
  expect(await events(runId)).toMatchObject([
    { kind: 'artifact', artifact_type: 'PULL_REQUEST', url: url(), branch, status: 'draft' },
  ])
  const spellings = [url(), `${url()}/`, url().replace('forge.test', 'FORGE.test'), `${url()}#discussion_r1`]
  for (const spelling of spellings) {
    const found = await call('GET', `/run-by-external-reference?url=${encodeURIComponent(spelling)}`)
    expect(found).toEqual({ run_id: runId })
  }
  const { pull_requests: listed } = await call('GET', `/runs/${runId}/pull-requests`)
  expect(listed).toMatchObject([
    { path: 'app', state: 'opened', url: url(), number: 1, status: 'draft', failure: null },
  ])
})

test('what a follow-up pushes goes to the same one, and nothing is told twice', async () => {
  const runId = await pushed({ labels: ['agent'] })
  await open(runId)
  // People have made it their own.
  Object.assign(forge.pulls[0] ?? {}, { title: 'Another title', labels: [], draft: false })
  await pushedAgain(runId, ['Add a greeting', 'Mend it', 'More'])
  await open(runId)
  await open(runId)
  expect(forge.pulls).toMatchObject([{ title: 'Another title', labels: [], draft: false }])
  const { artifacts } = await call('GET', `/runs/${runId}`)
  expect(artifacts).toMatchObject([{ data: { url: url(), status: 'open' } }])
  expect((await events(runId)).map(({ status }: { status: string }) => status)).toEqual(['draft', 'open'])
})

test('an answer that is lost gives one pull request, with all that it was to have', async () => {
  const runId = await pushed({ labels: ['agent'] })
  forge.refusals.push({ on: 'POST /pulls', status: 502, body: '<html>', done: true })
  expect(await open(runId)).toEqual([{ kind: 'again', afterSeconds: null }])
  expect(await open(runId)).toEqual([{ kind: 'settled' }])
  expect(forge.pulls).toMatchObject([{ labels: ['agent'], title: 'Add a greeting' }])
})

test('a forge that is away fails nothing: the run says why, once, and then that it is there', async () => {
  const runId = await pushed()
  const away = { on: 'POST /pulls', status: 503, body: { message: 'Down' }, headers: { 'retry-after': '60' } }
  forge.refusals.push(away, { ...away })
  expect(await open(runId)).toEqual([{ kind: 'again', afterSeconds: 60 }])
  expect(await open(runId)).toEqual([{ kind: 'again', afterSeconds: 60 }])
  const { pull_requests: waiting } = await call('GET', `/runs/${runId}/pull-requests`)
  expect(waiting).toMatchObject([{ state: 'waiting', attempts: 2, failure: { code: 'unavailable', retryable: true } }])
  await open(runId)
  expect(await events(runId)).toMatchObject([
    { kind: 'warning', code: 'pull_request_not_opened', path: 'app', message: expect.stringContaining('503') },
    { kind: 'artifact', url: url() },
  ])
})

test('what a person has to mend is not tried again, and says what that is', async () => {
  const runId = await pushed()
  forge.token = 'another'
  const { findPullRequests, openPullRequest } = activities()
  forge.token = 'a third'
  const environment = new MockActivityEnvironment()
  await environment.run(findPullRequests, { runId })
  expect(await environment.run(openPullRequest, { runId, path: 'app', last: false })).toEqual({ kind: 'settled' })
  const { pull_requests: failed } = await call('GET', `/runs/${runId}/pull-requests`)
  expect(failed).toMatchObject([
    {
      state: 'failed',
      url: null,
      failure: { code: 'unauthorized', retryable: false, next_step: expect.stringMatching(/token/) },
    },
  ])
  const told = JSON.stringify([await events(runId), failed])
  expect(told).not.toMatch(/forge-token|another/)
  expect((await call('GET', `/runs/${runId}`)).state).toBe('QUEUED')
})

test('a forge that stays away is given up with its last failure', async () => {
  const runId = await pushed()
  forge.refusals.push({ on: 'POST /pulls', status: 500, body: '' })
  expect(await open(runId, true)).toEqual([{ kind: 'settled' }])
  const { pull_requests: failed } = await call('GET', `/runs/${runId}/pull-requests`)
  expect(failed).toMatchObject([{ state: 'failed', failure: { code: 'unavailable', retryable: true } }])
})

test('a run whose commits were not pushed opens none, and asking for it is refused with the reason', async () => {
  const runId = await pushed()
  await pushedAgain(runId, ['Add a greeting'], 'rejected')
  expect(await open(runId)).toEqual([])
  const asked = await api.call('POST', `/agent/runs/${runId}/pull-requests`)
  expect({ status: asked.status, detail: asked.body.detail }).toMatchObject({
    status: 409,
    detail: expect.stringMatching(/pushed/),
  })
  const { runId: plain } = await givenRun(api.db)
  expect((await api.call('POST', `/agent/runs/${plain}/pull-requests`)).status).toBe(409)
})

test('a run that comes from another one gets a branch of its own, unless it was given one by name', async () => {
  const url = 'https://github.com/you/app.git'
  const branchOf = async (fields: object) => {
    const environment = InlineEnvironment.parse({ repos: [{ url, ...fields }] })
    const { runId } = await givenRun(api.db, { environment })
    const [repository] = (await call('GET', `/runs/${runId}`)).environment.repos
    return repository.push_branch?.replace(runId, 'its own')
  }
  expect(await branchOf({ pull_request: {} })).toBe('ambient/its own')
  expect(await branchOf({ pull_request: {}, push_branch: runBranch(randomUUID()) })).toBe('ambient/its own')
  expect(await branchOf({ pull_request: {}, push_branch: 'agent/work' })).toBe('agent/work')
  expect(await branchOf({})).toBeUndefined()
})

test('title and body are as asked for; the run that failed says so; an agent’s words call nobody by name', async () => {
  const one = await pushed({ title: 'From us', body: 'By us.' })
  await open(one)
  expect(forge.pulls[0]).toMatchObject({ title: 'From us', body: expect.stringMatching(/^By us\.\n/) })
  const other = await pushed({}, ['Thank @ada, fix #7 <img src=x>'])
  // As the workflow says it, before it is written down.
  await open(other, false, 'FAILED')
  const { body } = forge.pulls[1] ?? { body: '' }
  expect(body).toContain('did not end well (FAILED)')
  expect(body).not.toMatch(/@ada|#7|<img/)
})
