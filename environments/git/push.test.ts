import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import type { PushResult } from '../../domain/host-api.ts'
import type { Repository } from '../../domain/run.ts'
import { testGitAccess } from '../../test/support/git-access.ts'
import {
  bareRepository,
  commitFiles,
  type HttpGitServer,
  httpGitServer,
  personalGit,
  type SshGitServer,
  sshGitServer,
  workOf,
} from '../../test/support/git-server.ts'
import { createDirectHost } from '../direct/host.ts'
import type { Host, Sandbox } from '../host.ts'
import { createRunDirectory, type RunPaths } from '../run-directory.ts'
import { collectedPush, collectResult, startSnapshot } from '../work-product/work-product.ts'
import type { GitAccess } from './access.ts'
import { pushBranch } from './push.ts'
import { clonedCommits, cloneRepositories, commitIdentity } from './repositories.ts'

const TOKEN = 'push-token'
const BRANCH = 'agent/work'

let directory: string
let root: string
let http: HttpGitServer
let ssh: SshGitServer
let access: GitAccess
let host: Host
let runId: string
let paths: RunPaths
let sandbox: Sandbox
let step: number
let repository: Repository
let cloned: string | null

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-push-'))
  root = join(directory, 'served')
  http = await httpGitServer(root, { robot: TOKEN, reader: TOKEN }, ['reader'])
  ssh = await sshGitServer(join(directory, 'ssh'))
  access = await testGitAccess(directory, { sshKey: ssh.key })
  const log = pino({ level: 'silent' })
  const runsDirectory = join(directory, 'runs')
  host = await createDirectHost({ runsDirectory, nodePath: process.execPath, log, path: process.env.PATH })
})
afterAll(async () => {
  await http?.stop()
  await ssh?.stop()
  await rm(directory, { recursive: true, force: true })
})
beforeEach(async () => {
  step = 0
  runId = randomUUID()
  await bareRepository(root, `private/${runId}.git`, { file: 'one\n' })
  repository = { url: `http://robot:${TOKEN}@${http.host}/private/${runId}.git`, path: 'app', push_branch: BRANCH }
})
afterEach(() => host.remove(runId))

const signal = () => AbortSignal.timeout(60_000)
const server = (...args: string[]) => personalGit(join(root, `private/${runId}.git`), ...args)
const person = () => workOf(root, `private/${runId}.git`)
const look = () => ({ sandbox, paths, workspace: host.paths(runId, null).workspace, signal: signal() })

/** The workspace of a run, and what an agent does there. */
async function work(script: string, wanted: Partial<Repository> = {}): Promise<void> {
  repository = { ...repository, ...wanted }
  paths = await createRunDirectory(join(directory, 'runs'), runId, host.owner)
  const common = { paths, owner: host.owner, access, team: 'default', signal: signal() }
  const repositories = await cloneRepositories({ repositories: [repository], ...common })
  cloned = (await clonedCommits(paths, repositories, common)).app ?? null
  sandbox = await host.open({ runId, generation: 1, image: null, toolkit: null })
  await startSnapshot({ ...look(), repositories })
  await workOn(script)
}

async function workOn(script: string): Promise<void> {
  const job = await sandbox.job({
    id: `work-${++step}`,
    command: ['/bin/sh', '-ec', script],
    env: commitIdentity({ name: 'Ada Lovelace', email: 'ada@example.com' }),
    cwd: `${host.paths(runId, null).workspace}/app`,
  })
  let output = ''
  for await (const lines of job.read(0, signal())) output += lines.map(({ text }) => `${text}\n`).join('')
  expect((await job.exit())?.code, output).toBe(0)
}

/** What the end of an execution does. Null where there is nothing to push. */
async function push(tamper: (bundle: string) => Promise<void> = async () => {}): Promise<PushResult | null> {
  const id = `collect-${++step}`
  await collectResult({ ...look(), id, maxBytes: 1e6, branches: { app: { branch: BRANCH, cloned } } })
  const found = await collectedPush(paths, id, 'app')
  if (found === null) return null
  await tamper(found.bundle)
  return pushBranch({
    ...found,
    url: repository.url,
    branch: BRANCH,
    cloned,
    isShallow: repository.depth !== undefined,
    access,
    team: 'default',
    staging: paths.staging,
    pauses: [10, 1_000],
    signal: signal(),
  })
}

test("the agent's commits come to the branch, in the name of the person who asked, and what is uncommitted does not", async () => {
  await work('git branch --show-current >../branch; echo two >file; git commit -qam two; echo rest >rest')
  const commit = personalGit(join(paths.workspace, 'app'), 'rev-parse', 'HEAD')
  expect(personalGit(paths.workspace, 'hash-object', 'branch')).toBe(
    (await execa('git', ['hash-object', '--stdin'], { input: `${BRANCH}\n` })).stdout,
  )
  expect(await push()).toEqual({ branch: BRANCH, commit, outcome: 'pushed', message: null })
  expect(server('log', '--format=%H %s %an <%ae> %cn <%ce>', `main..${BRANCH}`)).toBe(
    `${commit} two Ada Lovelace <ada@example.com> Ada Lovelace <ada@example.com>`,
  )
  expect(server('ls-tree', '--name-only', BRANCH)).toBe('file')
  // Once more, as after a kill: nothing changes.
  expect(await push()).toEqual({ branch: BRANCH, commit, outcome: 'pushed', message: null })
  await workOn('git commit -q --allow-empty -m three')
  expect(await push()).toMatchObject({ outcome: 'pushed' })
  expect(server('rev-list', '--count', BRANCH)).toBe('3')
  const { stdout } = await execa({ reject: false })('grep', ['-rl', TOKEN, paths.root])
  expect(stdout).toBe('')
})

test('without a commit nothing is pushed', async () => {
  await work('echo two >file')
  expect(await push()).toBeNull()
  expect(server('branch', '--format=%(refname:short)')).toBe('main')
})

test('a branch on the server that has gone on is not written over', async () => {
  personalGit(person(), 'switch', '-q', '-c', BRANCH)
  const theirs = await commitFiles(person(), { other: 'theirs\n' }, 'theirs')
  await work('git commit -q --allow-empty -m ours', { ref: 'main' })
  expect(await push()).toMatchObject({ outcome: 'rejected', message: expect.stringContaining(`\`ref: ${BRANCH}\``) })
  expect(server('rev-parse', BRANCH)).toBe(theirs)
})

test('a branch that is worked on further takes what is added to it', async () => {
  personalGit(person(), 'switch', '-q', '-c', BRANCH)
  const theirs = await commitFiles(person(), { other: 'theirs\n' }, 'theirs')
  await work('git commit -q --allow-empty -m ours', { ref: BRANCH })
  expect(await push()).toMatchObject({ outcome: 'pushed' })
  expect(server('rev-parse', `${BRANCH}~1`)).toBe(theirs)
})

test('a branch that the server protects is told with its words', async () => {
  const hook = join(root, `private/${runId}.git/hooks/pre-receive`)
  await writeFile(hook, '#!/bin/sh\necho This branch is protected.; exit 1\n', { mode: 0o755 })
  await work('git commit -q --allow-empty -m ours')
  expect(await push()).toMatchObject({
    outcome: 'rejected',
    message: expect.stringMatching(/pre-receive hook declined.*This branch is protected/s),
  })
})

test('a token that may only read is told', async () => {
  await work('git commit -q --allow-empty -m ours', {
    url: `http://reader:${TOKEN}@${http.host}/private/${runId}.git`,
  })
  expect(await push()).toMatchObject({ outcome: 'rejected', message: expect.stringContaining('may not push') })
})

test.each([
  ['a shallow clone', { depth: 1 }],
  ['ssh', 'ssh'],
] as const)('commits are pushed from %s', async (_, how) => {
  const url = `${ssh.url}${join(root, `private/${runId}.git`)}`
  await work('git commit -q --allow-empty -m ours', how === 'ssh' ? { url } : how)
  expect(await push()).toMatchObject({ outcome: 'pushed', message: null })
  expect(server('log', '-1', '--format=%s', BRANCH)).toBe('ours')
})

test('the first commits of an empty repository are pushed', async () => {
  server('update-ref', '-d', 'refs/heads/main')
  await work('echo a >a; git add a; git commit -q -m first')
  expect(await push()).toMatchObject({ outcome: 'pushed', message: null })
  expect(server('log', '--format=%s', BRANCH)).toBe('first')
})

test('no program that the agent has put into its repository runs on the host', async () => {
  const marker = join(directory, `marker-${runId}`)
  await work(`git commit -q --allow-empty -m ours
    for hook in pre-push reference-transaction post-checkout; do
      printf '#!/bin/sh\\ntouch ${marker}\\n' >.git/hooks/$hook; chmod +x .git/hooks/$hook
    done
    git config core.sshCommand 'touch ${marker};'; git config credential.helper '!touch ${marker};'
    git config remote.origin.url 'ext::touch ${marker}'; git config remote.origin.pushurl 'ext::touch ${marker}'`)
  expect(await push()).toMatchObject({ outcome: 'pushed' })
  const { exitCode } = await execa({ reject: false })('test', ['-e', marker])
  expect(exitCode).toBe(1)
})

test('what is in the place of the commits and is none is told', async () => {
  await work('git commit -q --allow-empty -m ours')
  expect(
    await push(async (bundle) => {
      await rm(bundle)
      await symlink('/etc/passwd', bundle)
    }),
  ).toMatchObject({ outcome: 'failed', message: 'Something else is in the place of the commits.' })
  expect(await push((bundle) => writeFile(bundle, 'no bundle'))).toMatchObject({
    outcome: 'failed',
    message: expect.stringContaining('could not be taken out of the sandbox'),
  })
  expect(server('branch', '--format=%(refname:short)')).toBe('main')
})

test('a server that is away is asked again, and then that is told and fails nothing', async () => {
  await work('git commit -q --allow-empty -m ours')
  repository = { ...repository, url: `http://robot:${TOKEN}@127.0.0.1:9/private/app.git` }
  expect(await push()).toMatchObject({
    outcome: 'failed',
    message: expect.stringContaining('http://127.0.0.1:9/private/app.git'),
  })
})

test('a server that comes back meanwhile takes the commits', async () => {
  await work('git commit -q --allow-empty -m ours')
  const before = http.requests.length
  http.refuse = 503
  const pushed = push()
  await vi.waitFor(() => expect(http.requests.length).toBeGreaterThan(before), { timeout: 20_000 })
  http.refuse = null
  expect(await pushed).toMatchObject({ outcome: 'pushed' })
})
