import { execFile, execFileSync } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { loadConfig } from '../../config.ts'
import { runBranch } from '../../domain/git/branch.ts'
import { brokerUrl, gitPlace } from '../../domain/git/url.ts'
import { InlineEnvironment, type Repository } from '../../domain/run.ts'
import { isClosed } from '../../environments/egress/addresses.ts'
import { findGitGrant, issueRunGitToken } from '../../store/git/tokens.ts'
import { revokeCredentials } from '../../store/runs/credentials.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import {
  bareRepository,
  commitFiles,
  type HttpGitServer,
  httpGitServer,
  personalGit,
  workOf,
} from '../../test/support/git-server.ts'
import { type TestApp, testApp } from '../../test/support/github-app.ts'
import { givenRun } from '../../test/support/runs.ts'
import { createGateway, type Gateway } from '../gateway/gateway.ts'
import { createGitBroker } from './broker.ts'
import { createGitSources } from './sources.ts'
import { createUpstream, type Upstream } from './upstream.ts'

const TOKEN = 'real-token-of-the-team-01'

let api: TestApi
let root: string
let git: HttpGitServer
let upstream: Upstream
let gateway: Gateway
let address: string
let now: number
let users: Record<string, string>
let app: TestApp

async function startGateway(allowed: readonly string[] = ['127.0.0.1']): Promise<void> {
  const config = loadConfig({})
  upstream = createUpstream((at) => !isClosed(at, allowed))
  const sources = createGitSources({ db: api.db, vault: api.vault, upstream, config, now: () => now })
  const log = { warn: () => {}, info: () => {} }
  gateway = createGateway({
    authorize: async () => null,
    route: async () => Promise.reject(new Error('no model is called here')),
    git: createGitBroker({
      findGrant: (token) => findGitGrant(api.db, token),
      sources,
      upstream,
      log,
      now: () => now,
    }),
    log,
  })
  address = `http://127.0.0.1:${await gateway.listen(0, '127.0.0.1')}`
}

beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api?.close())
beforeEach(async () => {
  now = Date.now()
  root = await mkdtemp(join(tmpdir(), 'ambient-broker-'))
  await bareRepository(root, 'private/app.git', { file: 'one\n' })
  await bareRepository(root, 'private/other.git', { file: 'other\n' })
  personalGit(join(root, 'private/app.git'), 'config', 'receive.denyDeletes', 'false')
  users = { 'x-access-token': TOKEN }
  app = testApp(
    (token) => Object.assign(users, { 'x-access-token': token }),
    () => now,
  )
  git = await httpGitServer(root, users, [], app.listener)
  await startGateway()
})
afterEach(async () => {
  await gateway.close(0)
  upstream.close()
  await git.stop()
  await api.db.deleteFrom('git_credentials').execute()
  await rm(root, { recursive: true, force: true })
})

const stored = async (config: object = {}) => {
  const made = await api.call('POST', '/agent/git-credentials', {
    name: 'The team’s',
    url: `${git.url}/private`,
    token: TOKEN,
    ...config,
  })
  expect(made.status).toBe(201)
  return made.body as { uid: string }
}

const appUrl = () => `${git.url}/private/app.git`

/** A run with these repositories, and a token for its sandbox. */
async function runWith(repos: Repository[] = [{ url: appUrl() }]): Promise<{ runId: string; token: string }> {
  const { runId } = await givenRun(api.db, { environment: InlineEnvironment.parse({ repos }) })
  const token = await issueRunGitToken(api.db, { runId, execution: 1 }, { forHost: false, binding: null })
  return { runId, token }
}

interface Ran {
  code: number
  said: string
}

/** Git as it is in a sandbox: it reaches the server's URLs through the broker, and knows the run's token. */
async function sandboxGit(token: string, ...args: string[]): Promise<Ran> {
  const home = join(root, `home-${randomUUID()}`)
  await mkdir(home)
  const place = gitPlace(appUrl())
  if (place === null) throw new Error('no place')
  const through = brokerUrl(address, { ...place, path: 'x' }).replace(/x\.git$/, '')
  await writeFile(
    join(home, '.gitconfig'),
    `[url "${through}"]\n\tinsteadOf = ${git.url}/\n[credential]\n\thelper = "!f() { echo username=ambient; echo password=${token}; }; f"\n[user]\n\tname = A\n\temail = a@localhost\n`,
  )
  const env = { PATH: process.env.PATH, HOME: home, GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0', LC_ALL: 'C' }
  return await new Promise((resolve) => {
    execFile('git', args, { cwd: root, env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), said: stdout + stderr }),
    )
  })
}

/** A clone through the broker, with a new commit on `branch`. */
async function cloneAndCommit(token: string, branch: string): Promise<string> {
  const clone = join(root, `clone-${randomUUID()}`)
  expect(await sandboxGit(token, 'clone', '--quiet', appUrl(), clone)).toEqual({ code: 0, said: '' })
  personalGit(clone, 'checkout', '--quiet', '-b', branch)
  await writeFile(join(clone, 'file'), `${randomUUID()}\n`)
  personalGit(clone, 'commit', '--quiet', '--all', '--message', 'work')
  return clone
}

const branches = () =>
  personalGit(join(root, 'private/app.git'), 'for-each-ref', '--format=%(refname:short)', 'refs/').split('\n').sort()

test('a run clones, fetches and pushes its own branch, and the real token is nowhere in its sandbox', async () => {
  await stored()
  const { runId, token } = await runWith()
  const branch = runBranch(runId)
  const clone = await cloneAndCommit(token, branch)
  await commitFiles(workOf(root, 'private/app.git'), { file: 'two\n' }, 'second')
  const fetched = await sandboxGit(token, '-C', clone, 'fetch', '--quiet', 'origin')
  expect(fetched).toEqual({ code: 0, said: '' })
  expect(personalGit(clone, 'log', '--format=%s', 'origin/main')).toBe('second\nfirst')
  expect((await sandboxGit(token, '-C', clone, 'push', 'origin', branch)).code).toBe(0)
  expect(branches()).toEqual([branch, 'main'])
  expect(personalGit(clone, 'config', 'remote.origin.url')).toBe(appUrl())
  const files = await readFile(join(clone, '.git/config'), 'utf8')
  expect(files).not.toContain(TOKEN)
  expect(files).not.toContain(token)
  // What the server has seen is the real one.
  expect(git.requests.filter((line) => line.includes('receive-pack') && line.endsWith(' x-access-token'))).not.toEqual(
    [],
  )
})

test('all versions of the protocol go through, and what git sends packed', async () => {
  await stored()
  const { token } = await runWith()
  // Whoever wants so many objects asks for them packed.
  const commit = (name: number) =>
    `commit refs/heads/b${name}\ncommitter A <a@localhost> 1 +0000\ndata 2\n${String(name).padStart(2, '0')}\n`
  const input = Array.from({ length: 60 }, (_, name) => commit(name)).join('\n')
  execFileSync('git', ['fast-import', '--quiet'], { cwd: join(root, 'private/app.git'), input })
  for (const version of ['0', '1', '2']) {
    const clone = join(root, `clone-${version}`)
    const flags = ['-c', `protocol.version=${version}`]
    expect(await sandboxGit(token, ...flags, 'clone', '--quiet', appUrl(), clone)).toEqual({ code: 0, said: '' })
    await commitFiles(workOf(root, 'private/app.git'), { file: `${version}\n` }, `version ${version}`)
    const fetched = await sandboxGit(token, ...flags, '-C', clone, 'fetch', '--quiet')
    expect(fetched).toEqual({ code: 0, said: '' })
    expect(personalGit(clone, 'log', '-1', '--format=%s', 'origin/main')).toBe(`version ${version}`)
  }
})

test('a branch that is not the run’s is refused as git understands it, and so is all of a push that has one', async () => {
  await stored()
  const { runId, token } = await runWith([{ url: appUrl(), push_branch: 'agent/work', push_branches: ['try/*'] }])
  const clone = await cloneAndCommit(token, 'agent/work')
  const push = (...refs: string[]) => sandboxGit(token, '-C', clone, 'push', '--porcelain', 'origin', ...refs)

  const refused = await push('HEAD:main')
  expect(refused.code).toBe(1)
  expect(refused.said).toContain('!\tHEAD:refs/heads/main\t[remote rejected] (the run may not push to this branch)')
  expect(refused.said).toContain(
    `remote: Nothing was pushed. This run may push to: ${runBranch(runId)}, agent/work, try/*.`,
  )

  const both = await push('HEAD:agent/work', 'HEAD:someone/else')
  expect(both.code).toBe(1)
  expect(both.said).toContain(
    'refs/heads/agent/work\t[remote rejected] (nothing was pushed, for another branch was refused)',
  )
  for (const [refs, why] of [
    [['HEAD:refs/tags/v1'], 'a run pushes branches, and nothing else'],
    [['HEAD:try/deep/er'], 'the run may not push to this branch'],
  ] as const)
    expect((await push(...refs)).said).toContain(why)
  expect(branches()).toEqual(['main'])

  expect((await push('HEAD:agent/work', 'HEAD:try/one')).code).toBe(0)
  personalGit(join(root, 'private/app.git'), 'config', 'receive.advertisePushOptions', 'true')
  expect((await push('-o', 'merge_request.create', 'HEAD:try/two')).said).toContain('push options are not passed on')
  expect((await push(':try/one')).said).toContain('a run deletes no branches')
  expect(branches()).toEqual(['agent/work', 'main', 'try/one'])
  // Without a report nothing would tell it.
  expect(
    (await sandboxGit(token, '-C', clone, 'push', '--atomic', 'origin', 'HEAD:agent/work', 'HEAD:main')).code,
  ).toBe(1)
})

test('a pattern does not stand for the default branch, a name does', async () => {
  await stored()
  const wide = await runWith([{ url: appUrl(), push_branches: ['**'] }])
  const clone = await cloneAndCommit(wide.token, 'any/thing')
  const refused = await sandboxGit(wide.token, '-C', clone, 'push', 'origin', 'HEAD:main')
  expect(refused.said).toContain('it is the default branch, which has to be named')
  expect((await sandboxGit(wide.token, '-C', clone, 'push', 'origin', 'HEAD:any/thing')).code).toBe(0)
  const named = await runWith([{ url: appUrl(), push_branches: ['main'] }])
  expect((await sandboxGit(named.token, '-C', clone, 'push', 'origin', 'HEAD:main')).code).toBe(0)
})

test('another repository, another run’s token, and a token after its run get nothing', async () => {
  await stored()
  const { runId, token } = await runWith()
  const other = await sandboxGit(token, 'ls-remote', `${git.url}/private/other.git`)
  expect(other.code).not.toBe(0)
  expect(other.said).toContain(`${git.url}/private/other.git is not among the repositories of this run`)

  const stranger = await runWith([{ url: `${git.url}/private/other.git` }])
  expect((await sandboxGit(stranger.token, 'ls-remote', appUrl())).said).toContain('is not among the repositories')
  expect((await sandboxGit('amg_nobody', 'ls-remote', appUrl())).said).toContain('unknown or no longer valid')

  expect((await sandboxGit(token, 'ls-remote', appUrl())).code).toBe(0)
  await api.db.transaction().execute((tx) => revokeCredentials(tx, runId))
  now += 6_000
  expect((await sandboxGit(token, 'ls-remote', appUrl())).said).toContain('unknown or no longer valid')
})

test('a public repository whose name only begins like one of the run’s is fetched without the token', async () => {
  await bareRepository(root, 'open/app.git', { file: 'app\n' })
  await bareRepository(root, 'open/app-docs.git', { file: 'docs\n' })
  await stored({ url: git.url })
  const { token } = await runWith([{ url: `${git.url}/open/app` }])
  const clone = join(root, 'docs')
  const cloned = await sandboxGit(token, 'clone', '--quiet', `${git.url}/open/app-docs`, clone)
  expect(cloned).toEqual({ code: 0, said: '' })
  expect(await readFile(join(clone, 'file'), 'utf8')).toBe('docs\n')
  expect(git.requests.filter((line) => line.includes('app-docs') && !line.endsWith(' -'))).toEqual([])
})

test('a path that leads out of the repository, and the older protocol, are not served', async () => {
  await stored()
  const { token } = await runWith()
  const authorization = `Basic ${Buffer.from(`x:${token}`).toString('base64')}`
  const status = async (path: string) => {
    const at = `${address}/git/http/${git.host}/${path}`
    return (await fetch(at, { headers: { authorization }, redirect: 'manual' })).status
  }
  expect(await status('private/app.git/info/refs?service=git-upload-pack')).toBe(200)
  expect(await status('private/app.git/HEAD')).toBe(404)
  expect(await status('private/app.git/info/refs')).toBe(404)
  // The client makes another path of it by itself.
  expect(await status('private/app.git/%2e%2e/other.git/info/refs?service=git-upload-pack')).toBe(403)
  expect(await status('private/app.git%2f..%2fother.git/info/refs?service=git-upload-pack')).toBe(404)
})

test('a credential for reading pushes nothing, and the one for the most exact path counts', async () => {
  await stored({ access: 'read' })
  const { runId, token } = await runWith()
  const clone = await cloneAndCommit(token, runBranch(runId))
  const push = () => sandboxGit(token, '-C', clone, 'push', 'origin', 'HEAD')
  expect((await push()).said).toContain('its credential is for reading alone')
  const exact = await stored({ name: 'exact', url: appUrl() })
  expect((await push()).code).toBe(0)
  expect((await api.call('GET', `/agent/git-credentials/${exact.uid}`)).body.last_used_at).not.toBeNull()
})

test('a token that the server does not take is said to be that, and is asked for by nobody', async () => {
  await stored({ token: 'revoked-by-somebody' })
  const { token } = await runWith()
  const { said } = await sandboxGit(token, 'ls-remote', appUrl())
  expect(said).toContain(`${git.host} does not accept the git credential "The team’s"`)
  expect(said).toContain('403')
})

test('a GitHub App gets a token for each repository alone, and another one before that ends', async () => {
  const github = (key = app.privateKey) => ({ app_id: app.appId, private_key: key })
  const { uid } = await stored({ type: 'github_app', token: undefined, github_app: github() })
  const { runId, token } = await runWith()
  expect((await sandboxGit(token, 'ls-remote', appUrl())).said).toContain('The GitHub App 4711 is not installed there.')

  app.installed.add('private/app')
  const clone = await cloneAndCommit(token, runBranch(runId))
  expect((await sandboxGit(token, '-C', clone, 'push', 'origin', 'HEAD')).code).toBe(0)
  const asked = { repositories: ['app'], permissions: { contents: 'write', pull_requests: 'write' } }
  expect(app.asked).toEqual([asked])
  now += 51 * 60_000
  expect((await sandboxGit(token, 'ls-remote', appUrl())).code).toBe(0)
  expect(app.asked).toEqual([asked, asked])

  // With another key it is another App's, and what was made with the former one is not used any more.
  const { privateKey } = testApp(() => {})
  const config = { name: 'app', url: `${git.url}/private`, type: 'github_app', access: 'read' }
  await api.call('PUT', `/agent/git-credentials/${uid}`, { ...config, github_app: github(privateKey) })
  expect((await sandboxGit(token, 'ls-remote', appUrl())).said).toContain('GitHub does not know the App 4711')
  await api.call('PUT', `/agent/git-credentials/${uid}`, { ...config, github_app: github() })
  expect((await sandboxGit(token, 'ls-remote', appUrl())).code).toBe(0)
  expect(app.asked.at(-1)).toEqual({ repositories: ['app'], permissions: { contents: 'read' } })
})

test('what is in the URL of the request is used for its run, and is in no sandbox', async () => {
  const url = `http://x-access-token:${TOKEN}@${git.host}/private/app.git`
  const { runId, token } = await runWith([{ url }])
  const clone = await cloneAndCommit(token, runBranch(runId))
  expect((await sandboxGit(token, '-C', clone, 'push', 'origin', 'HEAD')).code).toBe(0)
})

test('servers on private addresses are reached only where the operator has opened them', async () => {
  await stored()
  const { token } = await runWith()
  await gateway.close(0)
  upstream.close()
  await startGateway([])
  const { said } = await sandboxGit(token, 'ls-remote', appUrl())
  expect(said).toContain('127.0.0.1 is not an address of the internet')
  expect(git.requests).toEqual([])
})

test('a renamed repository is followed on its own server, and to no other one', async () => {
  let to = ''
  const seen: string[] = []
  const forge = createServer((request, response) => {
    seen.push(`${request.url} ${request.headers.authorization === undefined ? 'open' : 'known'}`)
    if (request.url?.startsWith('/private/old.git')) response.writeHead(301, { location: to }).end()
    else response.writeHead(200, { 'content-type': 'text/plain' }).end('here')
  })
  await new Promise<void>((resolve) => forge.listen(0, '127.0.0.1', resolve))
  const server = `http://127.0.0.1:${(forge.address() as AddressInfo).port}`
  try {
    await stored({ url: `${server}/private` })
    const { token } = await runWith([{ url: `${server}/private/old.git` }])
    const authorization = `Basic ${Buffer.from(`x:${token}`).toString('base64')}`
    const ask = async () => {
      const at = brokerUrl(address, { scheme: 'http', host: server.slice('http://'.length), path: 'private/old' })
      return await fetch(`${at}/info/refs?service=git-upload-pack`, { headers: { authorization }, redirect: 'manual' })
    }
    to = `${git.url}/private/app.git/info/refs?service=git-upload-pack`
    expect((await ask()).status).toBe(502)
    to = `${server}/public/new.git/info/refs?service=git-upload-pack`
    expect((await ask()).status).toBe(502)
    expect(git.requests).toEqual([])
    to = '/private/new.git/info/refs?service=git-upload-pack'
    expect(await (await ask()).text()).toBe('here')
    expect(seen.at(-1)).toBe('/private/new.git/info/refs?service=git-upload-pack known')
    // And another one later.
    to = '/private/newer.git/info/refs?service=git-upload-pack'
    expect((await ask()).status).toBe(200)
    expect(seen.at(-1)).toBe('/private/newer.git/info/refs?service=git-upload-pack known')
  } finally {
    forge.closeAllConnections()
    forge.close()
  }
})

/** Keeps a file for Git LFS, and asks the broker where it is. */
async function addressOfFile(token: string, content: string): Promise<{ oid: string; href: string; answered: string }> {
  const oid = /sha256:(\w+)/.exec(git.lfs.keep(content))?.[1] ?? ''
  const authorization = `Basic ${Buffer.from(`x:${token}`).toString('base64')}`
  const place = gitPlace(appUrl())
  const batch = await fetch(`${brokerUrl(address, place as NonNullable<typeof place>)}/info/lfs/objects/batch`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/vnd.git-lfs+json' },
    body: JSON.stringify({ operation: 'download', objects: [{ oid, size: content.length }] }),
  })
  const answered = await batch.text()
  return { oid, href: JSON.parse(answered).objects[0].actions.download.href, answered }
}

test('large files come through addresses of the broker that hold no token, for the run alone', async () => {
  await stored()
  const { runId, token } = await runWith()
  const { href, answered } = await addressOfFile(token, 'a large file\n')
  expect(href.startsWith(`${address}/git/objects/`)).toBe(true)
  expect(answered).not.toContain(Buffer.from(`x-access-token:${TOKEN}`).toString('base64'))
  expect(await (await fetch(href)).text()).toBe('a large file\n')
  // What reads a file does not write one.
  expect((await fetch(href, { method: 'PUT', body: 'another one' })).status).toBe(404)
  await api.db.transaction().execute((tx) => revokeCredentials(tx, runId))
  now += 6_000
  expect((await fetch(href)).status).toBe(403)
})

/** A clone with git-lfs at work in it, whose large files are there. */
async function largeClone(token: string): Promise<string> {
  const clone = join(root, `clone-${randomUUID()}`)
  expect((await sandboxGit(token, 'clone', '--quiet', appUrl(), clone)).code).toBe(0)
  personalGit(clone, 'lfs', 'install', '--local')
  expect(await sandboxGit(token, '-C', clone, 'lfs', 'pull')).toMatchObject({ code: 0 })
  return clone
}

test('git-lfs downloads large files, and uploads those of branches that the run may push to', async () => {
  const { uid } = await stored()
  await commitFiles(
    workOf(root, 'private/app.git'),
    { '.gitattributes': '*.bin filter=lfs diff=lfs merge=lfs -text\n', 'a.bin': git.lfs.keep('a large file\n') },
    'large',
  )
  const { runId, token } = await runWith()
  const branch = runBranch(runId)
  const clone = await largeClone(token)
  expect(await readFile(join(clone, 'a.bin'), 'utf8')).toBe('a large file\n')

  await writeFile(join(clone, 'b.bin'), 'made by the run\n')
  personalGit(clone, 'add', 'b.bin')
  personalGit(clone, 'commit', '--quiet', '--message', 'another large one')
  const push = (...args: string[]) => sandboxGit(token, '-C', clone, 'push', 'origin', ...args)
  const refused = await push('HEAD:main')
  expect(refused.code).not.toBe(0)
  expect(refused.said).toContain('Nothing is uploaded from here: the run may not push to this branch.')
  expect(git.lfs.files.size).toBe(1)

  const pushed = await push(`HEAD:${branch}`)
  expect(pushed, pushed.said).toMatchObject({ code: 0 })
  expect([...git.lfs.files.values()].map(String)).toContain('made by the run\n')
  expect(git.lfs.asked.at(-1)).toEqual({ operation: 'upload', ref: `refs/heads/${branch}` })
  expect(git.requests.filter((line) => /lfs/.test(line) && !line.endsWith(' x-access-token'))).toEqual([])
  personalGit(clone, 'checkout', '--quiet', 'main')
  const other = await runWith()
  const again = await largeClone(other.token)
  expect((await sandboxGit(other.token, '-C', again, 'checkout', '--quiet', branch)).code).toBe(0)
  expect(await readFile(join(again, 'b.bin'), 'utf8')).toBe('made by the run\n')

  // By a credential for reading nothing is written, and of another repository nothing is had.
  await api.call('PUT', `/agent/git-credentials/${uid}`, { name: 'r', url: `${git.url}/private`, access: 'read' })
  await writeFile(join(clone, 'c.bin'), 'one more\n')
  personalGit(clone, 'add', 'c.bin')
  personalGit(clone, 'commit', '--quiet', '--message', 'one more')
  const reading = await sandboxGit(token, '-C', clone, 'lfs', 'push', '--all', 'origin')
  expect(reading.code).not.toBe(0)
  expect(reading.said).toContain('Nothing is uploaded from here: this run may only read.')
  await rm(join(clone, '.git/lfs/objects'), { recursive: true })
  const stranger = await runWith([{ url: `${git.url}/private/other.git` }])
  const strange = await sandboxGit(stranger.token, '-C', clone, 'lfs', 'fetch', 'origin')
  expect(strange.code).not.toBe(0)
  expect(strange.said).toContain('is not among the repositories of this run')
  expect(git.lfs.files.size).toBe(2)
})

test('a large file that its server has elsewhere is followed there, without what lets in here', async () => {
  await stored()
  const { token } = await runWith()
  const seen: (string | undefined)[] = []
  const elsewhere = createServer((request, response) => {
    seen.push(request.headers.authorization)
    response.end('from elsewhere\n')
  })
  await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve))
  try {
    const { oid, href } = await addressOfFile(token, 'kept elsewhere\n')
    git.lfs.moved.set(oid, `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/x`)
    expect(await (await fetch(href, { redirect: 'manual' })).text()).toBe('from elsewhere\n')
    expect(seen).toEqual([undefined])
  } finally {
    elsewhere.closeAllConnections()
    elsewhere.close()
  }
})

test('a push that would drop commits is refused but on the run’s own branch, and where the repository allows it', async () => {
  await stored()
  const { runId, token } = await runWith([{ url: appUrl(), push_branches: ['agent/*', 'main'] }])
  const clone = await cloneAndCommit(token, 'agent/work')
  const push = (...args: string[]) => sandboxGit(token, '-C', clone, 'push', '--porcelain', 'origin', ...args)
  const commit = (message: string) => personalGit(clone, 'commit', '--quiet', '--allow-empty', '--message', message)
  const tip = (branch: string) => personalGit(join(root, 'private/app.git'), 'rev-parse', branch)
  expect((await push('agent/work')).code).toBe(0)
  for (let name = 0; name < 5; name++) commit(`more ${name}`)
  expect((await push('agent/work', `agent/work:${runBranch(runId)}`)).code).toBe(0)
  const before = tip('agent/work')

  personalGit(clone, 'commit', '--quiet', '--amend', '--allow-empty', '--message', 'other words')
  const refused = await push('--force', 'agent/work')
  expect(refused.code).toBe(1)
  expect(refused.said).toContain(
    '[remote rejected] (non-fast-forward: the branch has commits that this one is not made from)',
  )
  // Back to an older one nothing is sent: what the server has decides.
  expect((await push('--force', 'agent/work~2:agent/work')).said).toContain('non-fast-forward')
  expect(tip('agent/work')).toBe(before)
  expect((await push('--force', `agent/work:${runBranch(runId)}`)).code).toBe(0)

  // The branch was merged; what is pushed next rests on the merge, of which it sends nothing.
  const work = workOf(root, 'private/app.git')
  personalGit(work, 'fetch', '--quiet', 'origin')
  personalGit(work, 'merge', '--quiet', '--no-ff', '--message', 'merged', 'origin/agent/work')
  personalGit(work, 'push', '--quiet', 'origin', 'HEAD')
  await commitFiles(work, { file: 'later\n' }, 'later')
  expect((await sandboxGit(token, '-C', clone, 'fetch', '--quiet')).code).toBe(0)
  personalGit(clone, 'reset', '--quiet', '--hard', 'origin/main')
  commit('after the merge')
  const pushed = await push('agent/work')
  expect(pushed, pushed.said).toMatchObject({ code: 0 })
  expect(tip('agent/work')).toBe(personalGit(clone, 'rev-parse', 'HEAD'))

  // Of much that the server has at once, the newest commits come last; it can leave out the rest.
  const bare = join(root, 'private/app.git')
  personalGit(work, 'pull', '--quiet', '--no-rebase', 'origin', 'agent/work')
  await writeFile(join(work, 'large'), randomBytes(9 * 1024 * 1024))
  await commitFiles(work, {}, 'large')
  personalGit(bare, 'repack', '-adb', '--quiet')
  await commitFiles(work, { file: 'last\n' }, 'last')
  expect((await sandboxGit(token, '-C', clone, 'fetch', '--quiet')).code).toBe(0)
  personalGit(clone, 'reset', '--quiet', '--hard', 'origin/main')
  commit('after much')
  expect((await push('agent/work')).said).toContain('whether it keeps the commits of the branch cannot be told')
  personalGit(bare, 'config', 'uploadpack.allowFilter', 'true')
  const much = await push('agent/work')
  expect(much, much.said).toMatchObject({ code: 0 })

  const forcing = await runWith([{ url: appUrl(), push_branches: ['agent/*', 'main'], push_force: true }])
  personalGit(clone, 'reset', '--quiet', '--hard', 'HEAD~2')
  commit('instead')
  const force = (ref: string) => sandboxGit(forcing.token, '-C', clone, 'push', '--force', 'origin', ref)
  expect((await force('HEAD:main')).said).toContain('commits of the default branch are not replaced')
  expect((await force('HEAD:agent/work')).code).toBe(0)
  expect(tip('agent/work')).toBe(personalGit(clone, 'rev-parse', 'HEAD'))
})
