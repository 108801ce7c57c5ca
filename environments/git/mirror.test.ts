import { spawn } from 'node:child_process'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { appendFile, cp, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Repository } from '../../domain/run.ts'
import { testGitAccess } from '../../test/support/git-access.ts'
import { bareRepository, commitFiles, personalGit, workOf } from '../../test/support/git-server.ts'
import { directorySize } from '../disk-usage.ts'
import { createRunDirectory, type Owner, type RunPaths } from '../run-directory.ts'
import { type GitAccess, gitOptions, remoteOf } from './access.ts'
import { lockFile } from './file-lock.ts'
import { tidyMirrors } from './mirror-upkeep.ts'
import { commitIn, listRemote } from './remote-refs.ts'
import { cloneRepositories } from './repositories.ts'

const owner: Owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
const signal = () => AbortSignal.timeout(60_000)

let directory: string
let access: GitAccess
let work: string
let url: string

let template: string

beforeAll(async () => {
  template = await mkdtemp(join(tmpdir(), 'ambient-mirror-'))
  await bareRepository(template, 'app.git', { file: 'one\n', 'sub/other': 'x\n' })
  const made = workOf(template, 'app.git')
  personalGit(made, 'tag', '-a', '-m', 'a tag', 'v1')
  personalGit(made, 'push', '-q', 'origin', 'v1', 'HEAD:refs/heads/feature/x')
})
afterAll(() => rm(template, { recursive: true, force: true }))
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-mirror-'))
  await cp(template, directory, { recursive: true })
  access = await testGitAccess(directory)
  url = `file://${join(directory, 'app.git')}`
  work = workOf(directory, 'app.git')
})
afterEach(() => rm(directory, { recursive: true, force: true }))

async function cloned(
  repository: Partial<Repository> = {},
  options: { access?: GitAccess; team?: string } = {},
): Promise<{ paths: RunPaths; path: string; git: (...args: string[]) => string }> {
  const paths = await createRunDirectory(join(directory, 'runs'), randomUUID(), owner)
  const repositories = [{ url, path: 'app', ...repository }]
  await cloneRepositories({ repositories, paths, owner, access, team: 'default', signal: signal(), ...options })
  const path = join(paths.workspace, 'app')
  return { paths, path, git: (...args) => personalGit(path, ...args) }
}

const mirrorNames = () => readdir(access.mirrors ?? '')
async function mirrorDirectory(): Promise<string> {
  const [name = ''] = await mirrorNames()
  return join(access.mirrors ?? '', name)
}
const repositoryOf = async () => join(await mirrorDirectory(), 'repository.git')

test('a clone from the mirror is what a clone from the server is', async () => {
  const direct = await cloned({}, { access: { ...access, mirrors: null } })
  await cloned()
  const second = await cloned()
  for (const args of [
    ['config', '--local', '--list'],
    ['for-each-ref', '--format=%(refname) %(objectname) %(symref)'],
    ['status', '--short', '--branch'],
    ['remote', 'get-url', 'origin'],
  ]) {
    expect(second.git(...args), args.join(' ')).toBe(direct.git(...args))
  }
  expect(second.git('fsck', '--full')).toBe('')
  expect(await mirrorNames()).toHaveLength(1)
})

test('nothing in a clone leads to the mirror, or shares a file with it', async () => {
  const { path } = await cloned()
  const { stdout } = await execa({ reject: false })('grep', ['-rlF', access.mirrors ?? '', path])
  expect(stdout).toBe('')
  for (const name of await readdir(path, { recursive: true, withFileTypes: true })) {
    if (name.isFile()) expect((await stat(join(name.parentPath, name.name))).nlink).toBe(1)
  }
  await expect(stat(join(path, '.git/objects/info/alternates'))).rejects.toMatchObject({ code: 'ENOENT' })
})

test('what an agent does to its clone reaches nobody else', async () => {
  const first = await cloned()
  const packs = join(first.path, '.git/objects/pack')
  for (const name of await readdir(packs)) await writeFile(join(packs, name), 'broken')
  const second = await cloned()
  expect(second.git('fsck', '--full')).toBe('')
})

test('a mirror is brought up to date before it serves: new, moved and removed branches and tags', async () => {
  await cloned()
  const commit = await commitFiles(work, { file: 'two\n' }, 'second')
  personalGit(work, 'push', '-q', 'origin', ':refs/heads/feature/x', 'HEAD:refs/heads/feature', ':refs/tags/v1')
  const { git } = await cloned()
  expect(git('rev-parse', 'HEAD')).toBe(commit)
  expect(git('branch', '--remotes', '--format=%(refname)')).toBe(
    'refs/remotes/origin/HEAD\nrefs/remotes/origin/feature\nrefs/remotes/origin/main',
  )
  expect(git('tag')).toBe('')
})

test('a default branch with another name is the one that is checked out', async () => {
  await cloned()
  personalGit(work, 'push', '-q', 'origin', 'HEAD:refs/heads/trunk')
  personalGit(join(directory, 'app.git'), 'symbolic-ref', 'HEAD', 'refs/heads/trunk')
  expect((await cloned()).git('status', '--short', '--branch')).toBe('## trunk...origin/trunk')
})

test('what was taken back by force is in no later clone, and is gone from the mirror after the tidying', async () => {
  await writeFile(join(work, 'secret'), 'a token\n')
  const commit = await commitFiles(work, {}, 'a secret')
  await cloned()
  personalGit(work, 'reset', '-q', '--hard', 'HEAD~1')
  personalGit(work, 'push', '-q', '--force', 'origin', 'HEAD')
  const has = (git: (...args: string[]) => string) => {
    try {
      git('cat-file', '-e', commit)
      return true
    } catch {
      return false // Git says by its exit code that it has no such object.
    }
  }
  expect(has((await cloned()).git)).toBe(false)
  const mirror = await repositoryOf()
  expect(has((...args) => personalGit(mirror, ...args))).toBe(true)
  await tidyMirrors(access.mirrors ?? '', access, 1e12, signal())
  expect(has((...args) => personalGit(mirror, ...args))).toBe(false)
  expect(has((await cloned()).git)).toBe(false)
})

test('teams share no mirror', async () => {
  await cloned({}, { team: 'one' })
  await cloned({}, { team: 'two' })
  expect(await mirrorNames()).toHaveLength(2)
})

test.each([
  ['a process was killed while it fetched', async (place: string) => writeFile(join(place, 'torn'), '')],
  [
    'its packs are damaged',
    async (place: string) => {
      const packs = join(place, 'repository.git/objects/pack')
      for (const name of await readdir(packs)) await writeFile(join(packs, name), 'broken')
      await commitFiles(work, { file: 'two\n' }, 'second')
    },
  ],
  [
    'nothing can be cloned from it',
    async (place: string) => {
      const packs = join(place, 'repository.git/objects/pack')
      for (const name of await readdir(packs)) await rm(join(packs, name))
      // This one comes from the server, and tells.
      expect((await cloned()).git('fsck', '--full')).toBe('')
    },
  ],
  [
    'a git that was killed left its lock',
    async (place: string) => {
      await writeFile(join(place, 'repository.git/packed-refs.lock'), '')
      personalGit(work, 'push', '-q', 'origin', ':refs/heads/feature/x')
    },
  ],
])('a mirror is thrown away and made again where %s', async (_, tear) => {
  await cloned()
  await appendFile(join(await repositoryOf(), 'description'), 'the first one')
  await tear(await mirrorDirectory())
  const { git } = await cloned()
  expect(git('fsck', '--full')).toBe('')
  expect(git('rev-parse', 'HEAD')).toBe(personalGit(work, 'rev-parse', 'HEAD'))
  await cloned()
  expect(await readdir(await mirrorDirectory())).toEqual(expect.not.arrayContaining(['torn']))
  await expect(readFile(join(await repositoryOf(), 'description'), 'utf8')).rejects.toMatchObject({ code: 'ENOENT' })
})

test('many at once make one mirror, and each gets a whole clone', async () => {
  const clones = await Promise.all(Array.from({ length: 8 }, () => cloned()))
  for (const { git } of clones) expect(git('status', '--short', '--branch')).toBe('## main...origin/main')
  expect(await mirrorNames()).toHaveLength(1)
})

test('a lock is held by the programs that got it, though the process that took it is killed', async () => {
  const path = join(directory, 'lock')
  const script = `
    import { spawn } from 'node:child_process'
    import { lockFile } from ${JSON.stringify(join(import.meta.dirname, 'file-lock.ts'))}
    const lock = await lockFile(${JSON.stringify(path)}, { kind: 'exclusive', signal: new AbortController().signal, wait: true })
    const child = spawn('sleep', ['60'], { detached: true, stdio: ['ignore', 'ignore', 'ignore', lock.fd] })
    process.stdout.write(String(child.pid))
    setInterval(() => {}, 1000)`
  const holder = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [pid] = await once(holder.stdout, 'data')
  holder.kill('SIGKILL')
  await once(holder, 'exit')
  const tryLock = () => lockFile(path, { kind: 'shared', signal: signal(), wait: false })
  expect(await tryLock()).toBeNull()
  process.kill(Number(pid), 'SIGKILL')
  const lock = await lockFile(path, { kind: 'exclusive', signal: signal(), wait: true })
  expect(await tryLock()).toBeNull()
  await lock?.close()
})

test('beyond their share of the disk, the mirrors that were used longest ago are removed', async () => {
  const other = `file://${await bareRepository(directory, 'other.git', { file: 'one\n' })}`
  await cloned()
  const [old = ''] = await mirrorNames()
  await utimes(join(access.mirrors ?? '', old, 'lock'), new Date(0), new Date(0))
  await cloned({ url: other })
  const before = await mirrorNames()
  const both = await directorySize(access.mirrors ?? '')
  expect(await tidyMirrors(access.mirrors ?? '', access, both, signal())).toEqual([])
  expect(await tidyMirrors(access.mirrors ?? '', access, both * 0.75, signal())).toEqual([url])
  expect(await mirrorNames()).toEqual(before.filter((name) => name !== old))
  expect(await tidyMirrors(access.mirrors ?? '', access, 0, signal())).toEqual([other])
  expect(await mirrorNames()).toEqual([])
  await cloned()
})

test('what a server sends without end is ended, and nothing of it stays', async () => {
  await commitFiles(work, { large: randomBytes(1_500_000).toString('hex') }, 'A large file')
  for (const mirrors of [access.mirrors, null]) {
    const small = await testGitAccess(directory, { mirrors, fileBytes: 1_000_000 })
    await expect(cloned({}, { access: small })).rejects.toMatchObject({
      failure: { code: 'repository_unreachable', message: expect.stringContaining('larger than what a run may take') },
    })
  }
  expect(await readdir(await mirrorDirectory())).not.toContain('repository.git')
  expect((await cloned()).git('status', '--short')).toBe('')
})

test('a mirror in use is not removed', async () => {
  await cloned()
  const lock = await lockFile(join(await mirrorDirectory(), 'lock'), { kind: 'shared', signal: signal(), wait: true })
  expect(await tidyMirrors(access.mirrors ?? '', access, 0, signal())).toEqual([])
  await lock?.close()
  expect(await tidyMirrors(access.mirrors ?? '', access, 0, signal())).toEqual([url])
})

test('the server is asked each time, and a mirror serves nobody whom it turns away', async () => {
  const seen: string[] = []
  const server = createServer((request, response) => {
    seen.push(request.url ?? '')
    response.writeHead(403).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const remote = `http://127.0.0.1:${(server.address() as AddressInfo).port}/app.git`
  // As though the repository had been public until now.
  await cloned()
  const place = await mirrorDirectory()
  const key = createHash('sha256').update(`default\0${remote}`).digest('hex').slice(0, 40)
  personalGit(
    directory,
    'clone',
    '-q',
    '--bare',
    join(place, 'repository.git'),
    join(access.mirrors ?? '', key, 'repository.git'),
  )
  await expect(cloned({ url: remote })).rejects.toMatchObject({ failure: { code: 'repository_unreachable' } })
  expect(seen).toHaveLength(1)
  server.close()
})

const resolved = async (ref?: string) => {
  const remote = await remoteOf(url, access)
  const names = ref === undefined ? [] : [ref]
  return commitIn(
    await listRemote(remote, access, gitOptions(remote, access, { cwd: directory, signal: signal() }), names),
    ref,
  )
}

test.each([
  ['no ref', undefined, 'main'],
  ['a branch', 'feature/x', 'feature/x'],
  ['a tag', 'v1', null],
  ['a whole ref', 'refs/pull/7/head', null],
])('%s is resolved to its commit by a look at the server', async (_, ref, branch) => {
  personalGit(work, 'push', '-q', 'origin', 'HEAD:refs/pull/7/head')
  expect(await resolved(ref)).toEqual({ commit: personalGit(work, 'rev-parse', 'HEAD'), branch })
  expect(await resolved('nope')).toBeNull()
  await expect(mirrorNames()).rejects.toMatchObject({ code: 'ENOENT' })
})
