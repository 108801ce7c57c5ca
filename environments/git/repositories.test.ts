import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Repository } from '../../domain/run.ts'
import { testGitAccess } from '../../test/support/git-access.ts'
import { createRunDirectory, type RunPaths } from '../run-directory.ts'
import type { GitAccess } from './access.ts'
import { clonedCommits, cloneRepositories, repositoryPath } from './repositories.ts'

const identity = ['-c', 'user.name=T', '-c', 'user.email=t@localhost', '-c', 'init.defaultBranch=main']
const git = (cwd: string, ...args: string[]) =>
  execFileSync('git', [...identity, ...args], { cwd, encoding: 'utf8' }).trim()
const owner =
  process.getuid?.() === 0 ? { uid: 1000, gid: 1000 } : { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }

let directory: string
let source: string
let firstCommit: string
let paths: RunPaths
let access: GitAccess

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-repositories-'))
  access = await testGitAccess(directory)
  source = join(directory, 'source/project.git')
  await mkdir(source, { recursive: true })
  git(source, 'init', '-q')
  await writeFile(join(source, 'file'), 'one\n')
  git(source, 'add', '.')
  git(source, 'commit', '-q', '-m', 'one')
  firstCommit = git(source, 'rev-parse', 'HEAD')
  git(source, 'tag', 'v1')
  git(source, 'commit', '-q', '--allow-empty', '-m', 'two')
  git(source, 'branch', 'feature/x', 'v1')
  // A commit that no branch or tag reaches, as of a pull request.
  git(source, 'update-ref', 'refs/pull/7/head', git(source, 'commit-tree', 'HEAD^{tree}', '-m', 'of a pull request'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))
beforeEach(async () => {
  paths = await createRunDirectory(join(directory, 'runs'), randomUUID(), owner)
})

function clone(...repositories: Repository[]) {
  return cloneRepositories({ repositories, paths, owner, access, team: 'default', signal: AbortSignal.timeout(60_000) })
}
const url = () => `file://${source}`
const cloned = (path: string, ...args: string[]) => git(join(paths.workspace, path), '-c', 'safe.directory=*', ...args)

test('clones the default branch under its own name, owned by the user of the sandbox', async () => {
  const lines: string[] = []
  const repositories = await cloneRepositories({
    repositories: [{ url: url() }],
    paths,
    owner,
    access,
    team: 'default',
    signal: AbortSignal.timeout(60_000),
    onProgress: (line) => lines.push(line),
  })
  expect(repositories).toEqual([{ path: 'project', url: url() }])
  expect(await readFile(join(paths.workspace, 'project/file'), 'utf8')).toBe('one\n')
  expect(cloned('project', 'status', '--short', '--branch')).toBe('## main...origin/main')
  expect(await readdir(join(paths.workspace, 'project/.git/hooks'))).toEqual([])
  expect(lines[0]).toBe(`git clone ${url()}`)
  for (const path of ['project', 'project/file', 'project/.git/config']) {
    expect((await stat(join(paths.workspace, path))).uid).toBe(owner.uid)
  }
  expect(await readdir(paths.staging)).toEqual([])
})

test.each([
  ['a branch', 'feature/x', 'feature/x', 'one'],
  ['a tag', 'v1', 'HEAD', 'one'],
  ['a ref that a clone does not bring', 'refs/pull/7/head', 'HEAD', 'of a pull request'],
])('checks out %s', async (_, ref, branch, subject) => {
  await clone({ url: url(), ref })
  expect(cloned('project', 'rev-parse', '--abbrev-ref', 'HEAD')).toBe(branch)
  expect(cloned('project', 'log', '-1', '--format=%s')).toBe(subject)
})

test('checks out a commit, whole or abbreviated', async () => {
  await clone({ url: url(), ref: firstCommit, path: 'a/b' }, { url: url(), ref: firstCommit.slice(0, 10), path: 'a/c' })
  expect(cloned('a/b', 'rev-parse', 'HEAD')).toBe(firstCommit)
  expect(cloned('a/c', 'rev-parse', 'HEAD')).toBe(firstCommit)
})

test('begins again at the commit that a run began with, whatever has become of the branch', async () => {
  const from = (at: string) =>
    cloneRepositories({
      repositories: [{ url: url() }],
      at: { project: at },
      paths,
      owner,
      access,
      team: 'default',
      signal: AbortSignal.timeout(60_000),
    })
  await from(firstCommit)
  expect(cloned('project', 'rev-parse', 'HEAD')).toBe(firstCommit)
  expect(cloned('project', 'status', '--short', '--branch')).toBe('## main...origin/main [behind 1]')
  expect(
    await clonedCommits(paths, [{ path: 'project', url: url() }], { access, signal: AbortSignal.timeout(10_000) }),
  ).toEqual({
    project: firstCommit,
  })
  await rm(join(paths.workspace, 'project'), { recursive: true })
  await expect(from('1'.repeat(40))).rejects.toMatchObject({
    failure: { code: 'ref_not_found', message: expect.stringContaining('no longer has the commit 1111') },
  })
})

test('a second call leaves what is there and clones what is missing', async () => {
  await clone({ url: url() })
  await writeFile(join(paths.workspace, 'project/file'), 'changed\n')
  await clone({ url: url() }, { url: url(), path: 'other' })
  expect(await readFile(join(paths.workspace, 'project/file'), 'utf8')).toBe('changed\n')
  expect(await readFile(join(paths.workspace, 'other/file'), 'utf8')).toBe('one\n')
})

test('an empty repository can be worked in', async () => {
  const empty = join(directory, 'empty')
  git(directory, 'init', '-q', empty)
  await clone({ url: `file://${empty}` })
  expect(cloned('empty', 'status', '--short')).toBe('')
})

test('a repository that is not there fails with what git said and what to do', async () => {
  const missing = `file://${directory}/nowhere`
  await expect(clone({ url: missing })).rejects.toMatchObject({
    failure: {
      code: 'repository_unreachable',
      phase: 'workspace',
      command: `git clone ${missing}`,
      exitCode: 128,
      logTail: expect.stringContaining('does not appear to be a git repository'),
      nextStep: expect.any(String),
    },
  })
  expect(await readdir(paths.workspace)).toEqual([])
})

test('a ref that is not there fails and names those that are', async () => {
  await expect(clone({ url: url(), ref: 'nope' })).rejects.toMatchObject({
    failure: { code: 'ref_not_found', logTail: expect.stringContaining('feature/x') },
  })
  expect(await readdir(paths.workspace)).toEqual([])
})

test('two repositories for one place are refused', async () => {
  await expect(clone({ url: url() }, { url: 'https://example.com/other/project' })).rejects.toMatchObject({
    failure: { code: 'invalid_run', message: expect.stringContaining('project') },
  })
  await expect(clone({ url: url(), path: 'a' }, { url: url(), path: 'a/b' })).rejects.toMatchObject({
    failure: { code: 'invalid_run' },
  })
})

test('a link that an agent put into the workspace is not followed', async () => {
  const outside = join(directory, 'outside')
  await mkdir(outside, { recursive: true })
  await symlink(outside, join(paths.workspace, 'a'))
  await expect(clone({ url: url(), path: 'a/b' })).rejects.toThrow()
  expect(await readdir(outside)).toEqual([])
})

test('an abort ends the clone with its reason', async () => {
  const reason = new Error('not wanted any more')
  const stop = new AbortController()
  const silent = createServer(() => stop.abort(reason)).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  const repositories = [{ url: `http://127.0.0.1:${port}/x` }]
  await expect(
    cloneRepositories({ repositories, paths, owner, access, team: 'default', signal: stop.signal }),
  ).rejects.toBe(reason)
  silent.closeAllConnections()
  silent.close()
})

test('a server that hangs ends the attempt when its time is up, as one that is in trouble', async () => {
  const left = Promise.withResolvers<void>()
  const silent = createServer((request) => request.socket.once('close', () => left.resolve())).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  const impatient = { ...access, cloneMinutes: 0.01 }
  const repositories = [{ url: `http://127.0.0.1:${port}/x` }]
  const signal = AbortSignal.timeout(60_000)
  const attempt = cloneRepositories({ repositories, paths, owner, access: impatient, team: 'default', signal })
  await expect(attempt).rejects.toMatchObject({
    failure: {
      code: 'repository_unavailable',
      phase: 'workspace',
      message: `Cloning http://127.0.0.1:${port}/x took longer than 0.01 minutes.`,
      nextStep: expect.stringContaining('AMBIENT_CLONE_MINUTES'),
    },
  })
  await left.promise
  expect(await readdir(paths.staging)).toEqual([])
  silent.close()
})

test('credentials in a URL open the repository and are found nowhere afterwards', async () => {
  git(source, 'update-server-info')
  const seen: (string | undefined)[] = []
  const server = createServer(async (request, response) => {
    seen.push(request.headers.authorization)
    if (request.headers.authorization !== `Basic ${Buffer.from('me:t@ken').toString('base64')}`) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
      return
    }
    const file = (request.url ?? '').replace(/^\/project\.git\//, '').replace(/\?.*/, '')
    const content = await readFile(join(source, '.git', file)).catch(() => null)
    response.writeHead(content ? 200 : 404).end(content)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const lines: string[] = []
  const repositories = await cloneRepositories({
    repositories: [{ url: `http://me:t%40ken@127.0.0.1:${port}/project.git` }],
    paths,
    owner,
    access,
    team: 'default',
    signal: AbortSignal.timeout(60_000),
    onProgress: (line) => lines.push(line),
  })
  expect(repositories).toEqual([{ path: 'project', url: `http://127.0.0.1:${port}/project.git` }])
  expect(execFileSync('sh', ['-c', 'grep -rlE "t@ken|t%40ken" . || true'], { cwd: paths.root, encoding: 'utf8' })).toBe(
    '',
  )
  expect(lines.join()).not.toMatch(/t@ken|t%40ken/)

  await expect(clone({ url: `http://me:wrong@127.0.0.1:${port}/project.git`, path: 'denied' })).rejects.toMatchObject({
    failure: { code: 'repository_unreachable', nextStep: expect.stringContaining('access') },
  })
  await clone({ url: `http://me:wrong@127.0.0.1:${port}/project.git`, path: 'denied' }).catch((error) => {
    expect(JSON.stringify(error.failure)).not.toContain('wrong')
  })
  server.close()
})

test('a server that is away, overloaded or hangs up is told apart from a repository that is not there', async () => {
  let respond: (response: ServerResponse) => void = () => {}
  const server = createServer((_, response) => respond(response)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}/project.git`
  const codeOf = () =>
    clone({ url }).then(
      () => expect.unreachable(),
      (error) => error.failure.code,
    )
  const answer = (how: typeof respond) => {
    respond = how
    return codeOf()
  }
  expect(await answer((response) => response.writeHead(503).end())).toBe('repository_unavailable')
  expect(await answer((response) => response.writeHead(429).end())).toBe('repository_unavailable')
  expect(await answer((response) => response.destroy())).toBe('repository_unavailable')
  expect(await answer((response) => response.writeHead(404).end())).toBe('repository_unreachable')
  expect(await answer((response) => response.writeHead(403).end())).toBe('repository_unreachable')
  server.close()
  expect(await codeOf()).toBe('repository_unavailable')
  await expect(clone({ url: 'http://no-such-host.invalid/project.git' })).rejects.toMatchObject({
    failure: { code: 'repository_unreachable' },
  })
})

test('credentials go to the host of the URL, and not to one it redirects to', async () => {
  const seen: (string | undefined)[] = []
  const stranger = createServer((request, response) => {
    seen.push(request.headers.authorization)
    response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
  }).listen(0, '127.0.0.1')
  const asked = createServer((request, response) => {
    const { port } = stranger.address() as AddressInfo
    response.writeHead(302, { location: `http://127.0.0.1:${port}${request.url}` }).end()
  }).listen(0, '127.0.0.1')
  await Promise.all([stranger, asked].map((server) => server.listening || once(server, 'listening')))
  const { port } = asked.address() as AddressInfo
  await expect(clone({ url: `http://me:token@127.0.0.1:${port}/project.git` })).rejects.toMatchObject({
    failure: { code: 'repository_unreachable' },
  })
  expect(new Set(seen)).toEqual(new Set([undefined]))
  stranger.close()
  asked.close()
})

test.each([
  ['https://example.com/group/name.git', 'name'],
  ['https://example.com/group/name/', 'name'],
  ['git@example.com:group/name.git', 'name'],
  ['git@example.com:name', 'name'],
  ['file:///srv/name/.git', 'name'],
])('the name of %s is %s', (address, name) => {
  expect(repositoryPath({ url: address })).toBe(name)
})

test('a URL without a name asks for a path', () => {
  expect(() => repositoryPath({ url: 'https://example.com/%20' })).toThrow('No name')
})
