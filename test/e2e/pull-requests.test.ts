// From an agent's commit to a pull request on a forge, and to those who are told of it.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ForgeServer, githubServer } from '../support/forge-server.ts'
import { bareRepository, type HttpGitServer, httpGitServer, personalGit } from '../support/git-server.ts'
import { type Stack, startStack } from '../support/stack.ts'

const GIT_TOKEN = 'token-of-git-0001'

let root: string
let forge: ForgeServer
let git: HttpGitServer
let stack: Stack
let told: { event: string; run: { run_id: string }; data: { url?: string; state?: string } }[]
let receiver: ReturnType<typeof createServer>

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'ambient-forge-'))
  await bareRepository(root, 'you/app.git', { file: 'one\n' })
  forge = githubServer(root)
  await bareRepository(root, 'private/app.git', { file: 'one\n' })
  git = await httpGitServer(root, { robot: GIT_TOKEN, 'x-access-token': forge.token }, [], forge.listener)
  told = []
  receiver = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += String(chunk)
    told.push(JSON.parse(text))
    response.end()
  })
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
  stack = await startStack({
    host: 'direct',
    env: {
      AMBIENT_GITHUB_TOKEN: `${git.url}=${forge.token}`,
      AMBIENT_PUBLIC_URL: 'https://ambient.test',
      AMBIENT_WEBHOOK_ALLOW: '127.0.0.1',
      AMBIENT_GIT_ALLOW: '127.0.0.1',
    },
  })
})
afterAll(async () => {
  await stack?.stop()
  await git?.stop()
  receiver?.closeAllConnections()
  receiver?.close()
  await rm(root, { recursive: true, force: true })
})

const repository = () => ({
  url: `http://robot:${GIT_TOKEN}@${git.host}/you/app.git`,
  pull_request: { labels: ['agent'] },
})

/** A run whose agent commits what it is told, into a file of that name. */
const start = (environment: object = { repos: [repository()] }, config: object = {}) =>
  stack.start({
    prompt: 'greeting',
    title: 'Say hello',
    ...('uid' in environment ? {} : { environment }),
    config: {
      idle_timeout_minutes: 0,
      harness: {
        type: 'command',
        command: ['sh', '-ec', 'echo hello > "$0"; git add .; git commit -qm "Add $0"; echo done', '{prompt}'],
      },
      ...config,
    },
  })

const stateOfBuild = async (uid: string) =>
  (await stack.call<{ builds: { state: string }[] }>('GET', `/api/v1/agent/environments/${uid}`)).body.builds[0]?.state

const pullsOf = (runId: string) => forge.pulls.filter(({ body }) => body.includes(runId))
const commitsOn = (branch: string) => personalGit(join(root, 'you/app.git'), 'log', '--format=%s', `main..${branch}`)

test('an agent’s commit is on its branch and has a draft when the run ends; a follow-up goes to the same one', async () => {
  const port = (receiver.address() as AddressInfo).port
  const events = ['run.succeeded', 'run.pull_request']
  const made = await stack.call('POST', '/api/v1/agent/webhooks', {
    name: 'w',
    url: `http://127.0.0.1:${port}/`,
    events,
  })
  expect(made.status).toBe(201)

  const runId = await start()
  const { artifacts } = await stack.until(runId, 'SUCCEEDED')
  const branch = `ambient/${runId}`
  const url = 'https://forge.test/you/app/pull/1'
  expect(artifacts).toMatchObject([{ artifact_type: 'PULL_REQUEST', data: { url, branch, status: 'draft' } }])
  expect(pullsOf(runId)).toMatchObject([
    { branch, base: 'main', title: 'Add greeting', labels: ['agent'], draft: true },
  ])
  expect(pullsOf(runId)[0]?.body).toContain(`https://ambient.test/api/v1/agent/runs/${runId}`)
  expect(commitsOn(branch)).toBe('Add greeting')
  await expect.poll(() => told.map(({ event }) => event).toSorted()).toEqual(['run.pull_request', 'run.succeeded'])
  expect(told.every(({ run }) => run.run_id === runId)).toBe(true)

  await stack.call('POST', `/api/v1/agent/runs/${runId}/followups`, { message: 'farewell' })
  const after = await stack.until(runId, 'SUCCEEDED', { execution: 2 })
  expect(commitsOn(branch)).toBe('Add farewell\nAdd greeting')
  expect(after.artifacts).toHaveLength(1)
  expect(pullsOf(runId)).toHaveLength(1)
})

test('a forge that is away holds no run up, and has the pull request after a worker’s death, once, when it is asked for', async () => {
  const away = { on: 'POST /pulls', status: 503, body: 'away', headers: { 'retry-after': '3600' } }
  forge.refusals.push({ ...away })
  const runId = await start()
  await stack.until(runId, 'SUCCEEDED')
  const warning = await stack.untilEvent(runId, ({ kind }) => kind === 'warning')
  expect(warning.data).toMatchObject({ code: 'pull_request_not_opened', failure: { code: 'unavailable' } })
  expect(commitsOn(`ambient/${runId}`)).toBe('Add greeting')
  await stack.kill('worker')
  expect((await stack.call('POST', `/api/v1/agent/runs/${runId}/pull-requests`)).status).toBe(202)
  const opened = await stack.untilEvent(
    runId,
    ({ kind, data }) => kind === 'artifact' && data.artifact_type === 'PULL_REQUEST',
  )
  expect(opened.data.url).toMatch(/\/pull\/\d+$/)
  expect(pullsOf(runId)).toHaveLength(1)
})

test('with a stored credential neither the request nor the host has a token, and both ways to push go through the broker', async () => {
  const credential = { name: 'theirs', url: `${git.url}/private`, token: forge.token, forge: 'github' }
  const made = await stack.call('POST', '/api/v1/agent/git-credentials', credential)
  expect(made.status).toBe(201)
  const script =
    'echo hello > greeting; git add .; git commit -qm "Add greeting"; git push -q origin HEAD:main 2>&1; git push -q origin HEAD'
  const repos = [{ url: `${git.url}/private/app.git`, pull_request: {} }]
  const stored = { name: 'private', repos, setup_commands: ['git fetch -q origin && echo set up > ../set-up'] }
  const { body } = await stack.call<{ uid: string }>('POST', '/api/v1/agent/environments', stored)
  await expect.poll(() => stateOfBuild(body.uid), { timeout: 60_000 }).toBe('READY')
  const harness = { type: 'command', command: ['sh', '-c', script] }
  const runId = await start({ uid: body.uid }, { environment_id: body.uid, harness })
  await stack.until(runId, 'SUCCEEDED')
  const branch = `ambient/${runId}`
  const events = JSON.stringify(await stack.events(runId))
  expect(events).toContain('Started from the prepared environment')
  expect(events).toContain('may not push to this branch')
  expect(events).not.toContain(forge.token)
  const log = personalGit(join(root, 'private/app.git'), 'log', '--format=%s', `main..${branch}`)
  expect(log).toBe('Add greeting')
  expect(pullsOf(runId)).toMatchObject([{ branch, repository: 'private/app' }])
  // What is kept of a build is for all that come, and has no credential, however old.
  const kept = await readdir(join(stack.data, 'snapshots'), { recursive: true, withFileTypes: true })
  const tokens = kept.filter(({ name, parentPath }) => name === 'token' && parentPath.endsWith('.ambient/git'))
  expect(tokens).toHaveLength(1)
  for (const { parentPath, name } of tokens) expect(await readFile(join(parentPath, name), 'utf8')).toBe('')
  expect(git.requests.filter((line) => line.startsWith('POST /private') && line.endsWith(' -'))).toEqual([])
})

test('each run of a prepared environment has a branch of its own', async () => {
  const environment = { name: 'app', repos: [repository()], setup_commands: ['echo set up > ../set-up'] }
  const made = await stack.call<{ uid: string }>('POST', '/api/v1/agent/environments', environment)
  expect(made.status).toBe(201)
  const { uid } = made.body
  await expect.poll(() => stateOfBuild(uid), { timeout: 60_000 }).toBe('READY')
  const config = { environment_id: uid }
  const runs = await Promise.all([start({ uid }, config), start({ uid }, config)])
  for (const runId of runs) {
    await stack.until(runId, 'SUCCEEDED')
    expect(commitsOn(`ambient/${runId}`)).toBe('Add greeting')
    expect(pullsOf(runId)).toMatchObject([{ branch: `ambient/${runId}` }])
    const events = await stack.events(runId)
    expect(JSON.stringify(events)).toContain('Started from the prepared environment')
  }
})
