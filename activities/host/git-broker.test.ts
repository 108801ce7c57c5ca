// A run whose repositories are reached through the git broker: by its host, and by the programs of its sandbox, in both kinds of it.
import { randomUUID } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { agents } from '../../agents/index.ts'
import { brokeredForRun } from '../../api/hosts/host-git.ts'
import { loadConfig } from '../../config.ts'
import { runBranch } from '../../domain/git/branch.ts'
import { type PushResult, SkillReadingOrder } from '../../domain/host-api.ts'
import { InlineEnvironment } from '../../domain/run.ts'
import { createRedactor } from '../../domain/vault/redaction.ts'
import { createDirectHost } from '../../environments/direct/host.ts'
import { createDockerHost } from '../../environments/docker/host.ts'
import type { Host } from '../../environments/host.ts'
import { createGateway, type Gateway } from '../../secrets/gateway/gateway.ts'
import { createGitBroker } from '../../secrets/git/broker.ts'
import { mayUseGit } from '../../secrets/git/place.ts'
import { createGitSources } from '../../secrets/git/sources.ts'
import { createUpstream, type Upstream } from '../../secrets/git/upstream.ts'
import { findGitGrant, issueRunGitToken } from '../../store/git/tokens.ts'
import { issueCredentials } from '../../store/runs/credentials.ts'
import { askForReading } from '../../store/skills/readings.ts'
import { createHostMetrics } from '../../telemetry/host-metrics.ts'
import { HOST, startTestApi, type TestApi } from '../../test/support/api.ts'
import { executionOrder } from '../../test/support/execution-order.ts'
import { testGitAccess } from '../../test/support/git-access.ts'
import { bareRepository, type HttpGitServer, httpGitServer, personalGit } from '../../test/support/git-server.ts'
import { givenRun } from '../../test/support/runs.ts'
import { collect } from './collect.ts'
import type { HostDeps } from './deps.ts'
import { openRunState } from './deps.ts'
import type { Execution } from './execution.ts'
import { prepare } from './prepare.ts'
import { readSkillsOf } from './read-skills.ts'
import type { HostServer } from './server.ts'
import { carryOutTurn } from './turn.ts'

const TOKEN = 'real-token-of-the-team-02'
/** Finds the token, and not itself. */
const PATTERN = 'real-token-of-the-te[a]m-02'
const log = pino({ level: 'silent' })
const never = new AbortController().signal
const limits = { memoryMb: 512, cpus: 2, pids: 256 }

const makers = {
  direct: (runsDirectory: string) =>
    createDirectHost({ runsDirectory, nodePath: process.execPath, log, path: process.env.PATH }),
  docker: (runsDirectory: string) =>
    createDockerHost({ runsDirectory, nodePath: process.execPath, image: 'ambient-base:latest', limits, log }),
}

let api: TestApi
let upstream: Upstream
let gateway: Gateway
let port: number

beforeAll(async () => {
  api = await startTestApi()
  const config = loadConfig({})
  upstream = createUpstream(() => true)
  const sources = createGitSources({ db: api.db, vault: api.vault, upstream, config })
  gateway = createGateway({
    authorize: async () => null,
    route: async () => Promise.reject(new Error('no model is called here')),
    git: createGitBroker({
      findGrant: (token) => findGitGrant(api.db, token),
      mayUse: (grant, request) => mayUseGit(api.db, grant, request),
      sources,
      upstream,
      log,
    }),
    log,
  })
  port = await gateway.listen(0, '0.0.0.0')
})
afterAll(async () => {
  await gateway?.close(0)
  upstream?.close()
  await api?.close()
})

describe.each(Object.keys(makers) as (keyof typeof makers)[])('on the %s host', (kind) => {
  let directory: string
  let host: Host
  let git: HttpGitServer
  let runId: string
  let said: string
  let pushed: PushResult | null | undefined

  beforeEach(async () => {
    directory = await mkdtemp(join('/tmp', 'ambient-broker-'))
    host = await makers[kind](join(directory, 'runs'))
    await host.setGateway(`http://${host.loopback}:${port}`)
    git = await httpGitServer(directory, { 'x-access-token': TOKEN })
    await bareRepository(directory, 'private/app.git', {
      file: 'one\n',
      '.gitattributes': '*.bin filter=lfs diff=lfs merge=lfs -text\n',
      'a.bin': git.lfs.keep('a large file\n'),
    })
    said = ''
    pushed = undefined
  })
  afterEach(async () => {
    await host.remove(runId)
    await git.stop()
    await rm(directory, { recursive: true, force: true })
  })

  const server = {
    credential: async (id, execution, { binding }) => {
      const { token } = await issueCredentials(api.db, { runId: id, execution }, binding)
      return { token, tool_token: null, bound: true }
    },
    gitCredential: (id, execution, of) => issueRunGitToken(api.db, { runId: id, execution }, of),
    asked: async () => ({ question: null, stopped: null, files: [], max_file_bytes: 0 }),
    message: async (_runId, id) => ({ message_id: id, text: 'go', decision: null }),
    async result(_runId, _execution, { repositories }) {
      pushed = repositories[0]?.push
    },
  } as Partial<HostServer> as HostServer

  /** A run of a command, as a host has it. */
  async function runOf(script: string, environment: object, execution = 1): Promise<Execution> {
    const whole = InlineEnvironment.parse(environment)
    if (execution === 1) ({ runId } = await givenRun(api.db, { environment: whole }))
    const runsDirectory = join(directory, 'runs')
    const metrics = createHostMetrics(new Registry(), async () => ({ capacity: 1, held: 0, draining: false }))
    const deps = {
      ...{ hostId: 'one', host, server, log, metrics, runsDirectory, agentsDirectory: join(directory, 'agents') },
      ...{
        resultBytes: 1e6,
        bindsCredentials: true,
        gatewayUrl: `http://${host.loopback}:${port}`,
        brokerUrl: `http://127.0.0.1:${port}`,
      },
      git: await testGitAccess(directory),
    }
    return {
      deps: deps as Partial<HostDeps> as HostDeps,
      ref: { runId, execution },
      order: executionOrder({
        ...{ run_id: runId, execution, command: ['/bin/sh', '-c', script], environment: whole },
        git: await brokeredForRun({ db: api.db, config: loadConfig({}), log }, runId, whole.repos),
      }),
      agent: agents.command,
      policy: 'allow',
      redactor: createRedactor([]),
      state: openRunState(runsDirectory, runId),
      transcript: {
        storedLine: async () => 0,
        record: async (_journal, events) => {
          for (const { kind: what, data } of events) if (what === 'output') said += `${String(data.text)}\n`
        },
        notes: () => ({ add: async () => {} }),
      },
      signals: { interrupt: never, detach: never },
      stop: never,
    }
  }

  const turn = () => ({ kind: 'prompt', messageId: randomUUID() }) as const

  test('clones, fetches and pushes without the token: neither the host nor the sandbox ever has it', async () => {
    await api.call('POST', '/agent/git-credentials', { name: 'app', url: `${git.url}/private`, token: TOKEN })
    const script = `
      set -e
      exec 2>&1
      git config user.name A; git config user.email a@localhost
      cat a.bin
      if command -v git-lfs; then
        git lfs install --local
        echo 'made in the sandbox' >b.bin; git add b.bin
      fi
      echo two >file; git commit -qam second
      git fetch -q origin && echo fetched
      git push -q origin HEAD:main && echo PUSHED-TO-MAIN || echo refused
      git push -q origin "HEAD:$BRANCH" && echo pushed
      git config remote.origin.url
      cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | grep -ca '${PATTERN}' || echo no process has it
      grep -rl '${PATTERN}' "$HOME" . 2>/dev/null || echo no file has it
    `
    const environment = {
      repos: [{ url: `${git.url}/private/app.git`, push_branch: 'agent/work' }],
      setup_commands: ['git ls-remote --exit-code origin main'],
      env: {},
    }
    const { runId: id } = await givenRun(api.db, { environment: InlineEnvironment.parse(environment) })
    runId = id
    const branch = runBranch(runId)
    const first = await runOf(script.replaceAll('$BRANCH', branch), environment, 2)
    await prepare(first)
    expect(await carryOutTurn(first, turn())).toMatchObject({ kind: 'ended' })
    expect(said).toContain('fetched')
    // The host has got it: the image of containers has no git-lfs, which uploads what a run makes.
    expect(said).toContain('a large file')
    const isUploaded = [...git.lfs.files.values()].some((content) => String(content) === 'made in the sandbox\n')
    expect(isUploaded, said).toBe(kind === 'direct')
    expect(said).toContain('the run may not push to this branch')
    expect(said).toContain('refused')
    expect(said).toContain('pushed')
    expect(said).not.toContain('PUSHED-TO-MAIN')
    expect(said).toContain('no process has it')
    expect(said).toContain('no file has it')
    await collect(await runOf('true', environment, 2), true)
    expect(pushed).toMatchObject({ branch: 'agent/work', outcome: 'pushed', message: null })
    const refs = personalGit(join(directory, 'private/app.git'), 'for-each-ref', '--format=%(refname:short)', 'refs/')
    expect(refs.split('\n').sort()).toEqual(['agent/work', branch, 'main'].sort())
    expect(git.requests.some((line) => line.endsWith('git-receive-pack x-access-token'))).toBe(true)
    // What is in the sandbox is no use outside of it.
    const token = (await readFile(join(directory, 'runs', runId, 'home/.ambient/git/token'), 'utf8')).trim()
    const outside = await fetch(
      `http://127.0.0.1:${port}/git/http/${git.host}/private/app.git/info/refs?service=git-upload-pack`,
      { headers: { authorization: `Basic ${Buffer.from(`ambient:${token}`).toString('base64')}` } },
    )
    expect([outside.status, await outside.text()]).toEqual([403, expect.stringContaining('and nowhere else')])
    // Nothing of the host holds it either.
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || entry.parentPath.includes('private')) continue
      const content = await readFile(join(entry.parentPath, entry.name), 'latin1')
      expect(content.includes(TOKEN), join(entry.parentPath, entry.name)).toBe(false)
    }
  })
})

test('the skills of a private repository are read through the broker, by a host that never has the token', async () => {
  const directory = await mkdtemp(join('/tmp', 'ambient-broker-skills-'))
  const git = await httpGitServer(directory, { 'x-access-token': TOKEN })
  onTestFinished(async () => {
    await git.stop()
    await rm(directory, { recursive: true, force: true })
  })
  await bareRepository(directory, 'private/skilled.git', {
    '.claude/skills/deploy/SKILL.md': '---\nname: deploy\ndescription: For deploying.\n---\nPush the button.\n',
    '.claude/skills/deploy/button.sh': 'exit 0\n',
  })
  const url = `${git.url}/private/skilled.git`
  await api.host('PUT', `/hosts/${HOST.id}`, { pool: 'default', kind: 'direct', version: '1', capacity: 1, in_use: 0 })
  const environment = { name: 'skilled', repos: [{ url }], prepare: false }
  const { body: made } = await api.call('POST', '/agent/environments', environment)
  const server = {
    skillReading: async (id) => SkillReadingOrder.parse((await api.host('GET', `/skill-readings/${id}`)).body),
    async skillsRead(id, reading) {
      expect((await api.host('PUT', `/skill-readings/${id}`, reading)).status).toBe(200)
    },
  } as Partial<HostServer> as HostServer
  const deps = {
    ...{ server, log, runsDirectory: join(directory, 'runs'), brokerUrl: `http://127.0.0.1:${port}` },
    git: await testGitAccess(directory),
  } as Partial<HostDeps> as HostDeps
  const read = async () => {
    const id = await api.db.transaction().execute((tx) => askForReading(tx, made.uid, 'default'))
    if (id === null) throw new Error('no host was asked')
    await readSkillsOf(deps, id, { interrupt: never, detach: never })
    return (await api.call('GET', '/agent?repo=private/skilled')).body
  }

  expect(await read()).toMatchObject({ agents: [], unread: [{ repository: url }] })
  const credential = { name: 'skilled', url: `${git.url}/private`, token: TOKEN }
  expect((await api.call('POST', '/agent/git-credentials', credential)).status).toBe(201)
  const { agents: found, unread } = await read()
  expect([found, unread]).toMatchObject([
    [{ name: 'deploy', variants: [{ base_prompt: 'Push the button.', source: { name: 'skilled' } }] }],
    undefined,
  ])
  expect(git.requests.some((line) => line.endsWith('git-upload-pack x-access-token'))).toBe(true)
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.parentPath.includes('private')) continue
    const content = await readFile(join(entry.parentPath, entry.name), 'latin1')
    expect(content.includes(TOKEN), join(entry.parentPath, entry.name)).toBe(false)
  }
})
