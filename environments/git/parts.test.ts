import { randomUUID } from 'node:crypto'
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Repository } from '../../domain/run.ts'
import { testGitAccess } from '../../test/support/git-access.ts'
import {
  bareRepository,
  commitFiles,
  type HttpGitServer,
  httpGitServer,
  personalGit,
  workOf,
} from '../../test/support/git-server.ts'
import { createRunDirectory, type Owner } from '../run-directory.ts'
import type { GitAccess } from './access.ts'
import { type CloneWarning, cloneRepositories } from './repositories.ts'
import { readSubmodules, resolveUrl } from './submodules.ts'

// As in a container: what the host makes is given to another user.
const owner: Owner =
  process.getuid?.() === 0 ? { uid: 1000, gid: 1000 } : { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
const TOKEN = 'parts-token'

let directory: string
let root: string
let http: HttpGitServer
let access: GitAccess

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-parts-'))
  // The sandbox's user looks into it.
  await chmod(directory, 0o755)
  root = join(directory, 'served')
  http = await httpGitServer(root, { robot: TOKEN })
  access = await testGitAccess(directory)
  await bareRepository(root, 'private/inner.git', { deep: 'inner\n' })
  await bareRepository(root, 'private/lib.git', { code: 'lib\n' })
  await addSubmodule('private/lib.git', 'inner', '../inner.git', 'private/inner.git')
  await bareRepository(root, 'private/app.git', { file: 'app\n' })
  await addSubmodule('private/app.git', 'vendor/lib', '../lib.git', 'private/lib.git')
})
afterAll(async () => {
  await http?.stop()
  await rm(directory, { recursive: true, force: true })
})

/** What `git submodule add` would leave, without asking whether the URL leads anywhere. @returns the commit. */
async function addSubmodule(name: string, path: string, url: string, target: string | null): Promise<string> {
  const work = workOf(root, name)
  personalGit(work, 'config', '--file', '.gitmodules', `submodule.${path}.path`, path)
  personalGit(work, 'config', '--file', '.gitmodules', `submodule.${path}.url`, url)
  const commit = target === null ? '1'.repeat(40) : personalGit(workOf(root, target), 'rev-parse', 'HEAD')
  personalGit(work, 'update-index', '--add', '--cacheinfo', `160000,${commit},${path}`)
  await mkdir(join(work, path), { recursive: true })
  return await commitFiles(work, {}, `with ${path}`)
}

let warnings: CloneWarning[]
beforeEach(() => {
  warnings = []
})

async function clone(name: string, repository: Partial<Repository> = {}): Promise<string> {
  const paths = await createRunDirectory(join(directory, 'runs'), randomUUID(), owner)
  await cloneRepositories({
    repositories: [{ url: `http://robot:${TOKEN}@${http.host}/${name}`, path: 'app', ...repository }],
    paths,
    owner,
    access,
    team: 'default',
    signal: AbortSignal.timeout(60_000),
    onWarning: (warning) => warnings.push(warning),
  })
  return join(paths.workspace, 'app')
}

describe('submodules', () => {
  test('are there, theirs too, as git itself lays them out', async () => {
    const app = await clone('private/app.git')
    expect(await readFile(join(app, 'vendor/lib/code'), 'utf8')).toBe('lib\n')
    expect(await readFile(join(app, 'vendor/lib/inner/deep'), 'utf8')).toBe('inner\n')
    expect(personalGit(app, 'status', '--short')).toBe('')
    // A blank, and neither - nor +: there, and at its commit.
    expect(personalGit(app, '-c', 'core.pager=', 'submodule', 'status', '--recursive')).toMatch(
      /^[0-9a-f]{40} vendor\/lib .*\n [0-9a-f]{40} vendor\/lib\/inner /,
    )
    expect(personalGit(join(app, 'vendor/lib'), 'rev-parse', '--absolute-git-dir')).toBe(
      join(app, '.git/modules/vendor/lib'),
    )
    expect(personalGit(app, 'config', 'submodule.vendor/lib.url')).toBe(`${http.url}/private/lib.git`)
    expect((await lstat(join(app, 'vendor/lib/inner/deep'))).uid).toBe(owner.uid)
    expect(warnings).toEqual([])
    const { stdout } = await execa({ reject: false })('grep', ['-rl', TOKEN, app])
    expect(stdout).toBe('')
  })

  test('are left out where they are not wanted, and shallow with their repository', async () => {
    expect(await readdir(join(await clone('private/app.git', { submodules: false }), 'vendor/lib'))).toEqual([])
    const app = await clone('private/app.git', { depth: 1 })
    for (const path of [app, join(app, 'vendor/lib')]) {
      expect(personalGit(path, 'rev-list', '--count', 'HEAD')).toBe('1')
    }
  })

  test('one that cannot be had is told and left out; where it was asked for, the run fails', async () => {
    await bareRepository(root, 'private/broken.git', { file: 'x\n' })
    await addSubmodule('private/broken.git', 'gone', '../gone.git', null)
    await addSubmodule('private/broken.git', 'lib', '../lib.git', 'private/lib.git')
    const app = await clone('private/broken.git')
    expect(await readFile(join(app, 'lib/code'), 'utf8')).toBe('lib\n')
    expect(warnings).toEqual([
      { code: 'submodule_missing', message: expect.stringContaining('The submodule gone is missing.') },
    ])
    await expect(clone('private/broken.git', { submodules: true })).rejects.toMatchObject({
      failure: { code: 'repository_unreachable', message: expect.stringContaining('The submodule gone is missing.') },
    })
  })

  test('one that names a repository of the host is not cloned', async () => {
    await bareRepository(root, 'private/hostile.git', { file: 'x\n' })
    await addSubmodule('private/hostile.git', 'stolen', `file://${root}/private/lib.git`, 'private/lib.git')
    const app = await clone('private/hostile.git')
    expect(await readdir(join(app, 'stolen'))).toEqual([])
    expect(warnings).toEqual([
      { code: 'submodule_missing', message: expect.stringContaining('its URL is a path of this machine') },
    ])
  })

  test('a repository that has itself as its part comes to an end', async () => {
    await bareRepository(root, 'private/again.git', { file: 'x\n' })
    const first = personalGit(workOf(root, 'private/again.git'), 'rev-parse', 'HEAD')
    await addSubmodule('private/again.git', 'again', '../again.git', 'private/again.git')
    // Its own next commit cannot be known beforehand, so each level goes one back: two levels.
    const app = await clone('private/again.git')
    expect(personalGit(join(app, 'again'), 'rev-parse', 'HEAD')).toBe(first)
  })
})

const commit = '1'.repeat(40)
const settings = (name: string, path: string, url: string) =>
  `submodule.${name}.path\n${path}\0submodule.${name}.url\n${url}\0`

test.each([
  ['ext::sh -c id', 'lib', 'lib', 'none that a repository may have'],
  ['file:///etc', 'lib', 'lib', 'a path of this machine'],
  ['/etc', 'lib', 'lib', 'none that a repository may have'],
  ['-u./payload', 'lib', 'lib', 'none that a repository may have'],
  ['../../../../x', 'lib', 'lib', 'leads nowhere'],
  ['https://example.com/x', '../../hooks', 'lib', 'its name'],
  ['https://example.com/x', 'a\r', 'lib', 'its name'],
  ['https://example.com/x', 'lib', '../outside', 'its path'],
  ['https://example.com/x', 'lib', '.git/hooks', 'its path'],
  ['https://example.com/x', 'lib', 'sub/.GIT', 'its path'],
  ['https://example.com/x', 'lib', 'sub/git~1', 'its path'],
  ['https://example.com/x', 'lib', '-x', 'its path'],
  ['https://example.com/x', 'lib', 'sub\r', 'its path'],
])('a submodule with the URL %j, the name %j and the path %j is refused', (url, name, path, why) => {
  const found = readSubmodules(settings(name, path, url), new Map([[path, commit]]), 'https://example.com/group/app')
  expect(found).toEqual([{ path: expect.any(String), trouble: expect.stringContaining(why) }])
})

test('a submodule whose history would lie in that of another one is refused', () => {
  const both = settings('a', 'a', 'https://example.com/a') + settings('a/hooks', 'b', 'https://example.com/b')
  const links = new Map(['a', 'b'].map((path) => [path, commit]))
  expect(readSubmodules(both, links, 'https://example.com/app')).toEqual([
    { path: 'a', trouble: 'its name is not safe to use' },
    { path: 'b', trouble: 'its name is not safe to use' },
  ])
})

test.each([
  ['https://example.com/group/app.git', '../lib.git', 'https://example.com/group/lib.git'],
  ['https://example.com/group/app/', './lib', 'https://example.com/group/app/lib'],
  ['git@example.com:group/app.git', '../../other/lib', 'git@example.com:other/lib'],
  ['ssh://git@example.com:22/srv/app', '../lib', 'ssh://git@example.com:22/srv/lib'],
  ['https://example.com/app', '../../lib', null],
  ['https://example.com/app', 'https://other.com/lib', 'https://other.com/lib'],
])('from %s, %s is %s', (parent, url, resolved) => {
  expect(resolveUrl(parent, url)).toBe(resolved)
})

describe('large files', () => {
  beforeAll(async () => {
    await bareRepository(root, 'private/large.git', {
      '.gitattributes': '*.bin filter=lfs diff=lfs merge=lfs -text\n',
      'a.bin': http.lfs.keep('one large file\n'),
      'dir/b.bin': http.lfs.keep('another\n'),
    })
  })

  test('are there, and git without git-lfs takes them for unchanged', async () => {
    const app = await clone('private/large.git', { lfs: true })
    expect(await readFile(join(app, 'a.bin'), 'utf8')).toBe('one large file\n')
    expect(await readFile(join(app, 'dir/b.bin'), 'utf8')).toBe('another\n')
    for (const path of ['a.bin', '.git/index']) expect((await lstat(join(app, path))).uid).toBe(owner.uid)
    expect(personalGit(app, 'status', '--short')).toBe('')
    expect(await readdir(join(app, '.git/hooks'))).toEqual([])
    expect(warnings).toEqual([])
    const { stdout } = await execa({ reject: false })('grep', ['-rl', TOKEN, app])
    expect(stdout).toBe('')
  })

  test('stay pointers where they are not wanted', async () => {
    const app = await clone('private/large.git', { lfs: false })
    expect(await readFile(join(app, 'a.bin'), 'utf8')).toMatch(/^version https:\/\/git-lfs/)
    expect(warnings).toEqual([])
  })

  test('one that the server lacks is told; where they were asked for, the run fails', async () => {
    const pointer = http.lfs.keep('lost\n')
    http.lfs.files.delete(/sha256:(\w+)/.exec(pointer)?.[1] ?? '')
    await bareRepository(root, 'private/lost.git', { '.gitattributes': '*.bin filter=lfs\n', 'lost.bin': pointer })
    const app = await clone('private/lost.git')
    expect(await readFile(join(app, 'lost.bin'), 'utf8')).toBe(pointer)
    expect(warnings).toEqual([{ code: 'large_files_missing', message: expect.stringContaining('1 files of') }])
    await expect(clone('private/lost.git', { lfs: true })).rejects.toMatchObject({
      failure: { code: 'repository_unreachable' },
    })
  })

  test('are not fetched from a path of the host', async () => {
    await bareRepository(root, 'private/config.git', {
      '.gitattributes': '*.bin filter=lfs\n',
      '.lfsconfig': `[lfs]\n\turl = file://${root}/private/large.git\n`,
      'a.bin': http.lfs.keep('one large file\n'),
    })
    await clone('private/config.git')
    expect(warnings).toEqual([{ code: 'large_files_missing', message: expect.stringContaining('no web address') }])
  })

  test('of a repository of this machine are copies, and its own stay its own', async () => {
    const pointer = http.lfs.keep('of this machine\n')
    const [, first = '', second = ''] = /sha256:(..)(..)/.exec(pointer) ?? []
    await bareRepository(root, 'private/local.git', { '.gitattributes': '*.bin filter=lfs\n', 'a.bin': pointer })
    const stored = join(root, 'private/local.git/lfs/objects', first, second)
    const name = /sha256:(\w+)/.exec(pointer)?.[1] ?? ''
    await mkdir(stored, { recursive: true })
    await writeFile(join(stored, name), 'of this machine\n')
    const app = await clone('', { url: `file://${root}/private/local.git`, lfs: true })
    expect(await readFile(join(app, 'a.bin'), 'utf8')).toBe('of this machine\n')
    expect((await lstat(join(app, '.git/lfs/objects', first, second, name))).nlink).toBe(1)
    expect((await lstat(join(stored, name))).uid).toBe(process.getuid?.())
  })

  test('are written through no link of the repository', async () => {
    const victim = join(directory, 'victim')
    await writeFile(victim, 'untouched')
    const pointer = http.lfs.keep('written over\n')
    await bareRepository(root, 'private/links.git', { '.gitattributes': '* filter=lfs\n' })
    const work = workOf(root, 'private/links.git')
    // A link whose target reads as a pointer, along a path that ends in another link.
    const [first = '', ...rest] = pointer.split('/')
    const parts = [first, ...rest].filter((part) => part !== '')
    await mkdir(join(work, ...parts.slice(0, -1)), { recursive: true })
    await symlink(victim, join(work, ...parts))
    await symlink(pointer, join(work, 'link'))
    await commitFiles(work, {}, 'links')
    await clone('private/links.git')
    expect(await readFile(victim, 'utf8')).toBe('untouched')
  })
})
