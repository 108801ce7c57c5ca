import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { RepositoryResult } from '../../domain/host-api.ts'
import { testGitAccess } from '../../test/support/git-access.ts'
import { createDirectHost } from '../direct/host.ts'
import { createDockerHost } from '../docker/host.ts'
import { cloneRepositories, commitIdentity } from '../git/repositories.ts'
import type { Host, Sandbox } from '../host.ts'
import { jobPaths } from '../job-directory.ts'
import { type RunPaths, runPaths } from '../run-directory.ts'
import { collectResult, startSnapshot } from './work-product.ts'

const identity = ['-c', 'user.name=T', '-c', 'user.email=t@localhost', '-c', 'init.defaultBranch=main']
const git = (cwd: string, ...args: string[]) =>
  execFileSync('git', [...identity, ...args], { cwd, encoding: 'utf8' }).trim()
const signal = () => AbortSignal.timeout(60_000)
const MIB = 1024 * 1024

const makers = {
  direct: (common: Common) => createDirectHost(common),
  docker: (common: Common) =>
    createDockerHost({ ...common, image: 'ambient-base:latest', limits: { memoryMb: 512, cpus: 2, pids: 256 } }),
}
type Common = Parameters<typeof createDirectHost>[0]

describe.each(Object.keys(makers) as (keyof typeof makers)[])('%s', (kind) => {
  let directory: string
  let source: string
  let host: Host
  let sandbox: Sandbox
  let paths: RunPaths
  let step = 0
  const runs: string[] = []

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ambient-work-'))
    host = await makers[kind]({ runsDirectory: directory, nodePath: process.execPath, log: pino({ level: 'silent' }) })
    source = join(directory, 'project')
    await mkdir(source)
    git(source, 'init', '-q')
    for (const name of ['kept', 'gone', 'setup', 'both']) await writeFile(join(source, name), `${name}\n1\n2\n3\n4\n`)
    await writeFile(join(source, '.gitignore'), 'ignored\n')
    git(source, 'add', '.')
    git(source, 'commit', '-q', '-m', 'first')
  })
  beforeEach(async () => {
    const runId = randomUUID()
    runs.push(runId)
    paths = runPaths(directory, runId)
    sandbox = await host.open({ runId, generation: 1, image: null, toolkit: null })
  })
  afterAll(async () => {
    for (const runId of runs) await host.remove(runId)
    await rm(directory, { recursive: true, force: true })
  })

  const workspace = () => host.paths(sandbox.runId, null).workspace
  const look = () => ({ sandbox, paths, workspace: workspace(), signal: signal() })

  async function begin(setup = 'true') {
    const repositories = await cloneRepositories({
      repositories: [{ url: `file://${source}` }],
      paths,
      owner: host.owner,
      access: await testGitAccess(directory),
      team: 'default',
      signal: signal(),
    })
    await work(setup)
    return startSnapshot({ ...look(), repositories })
  }

  /** What an agent does in the repository. */
  async function work(script: string) {
    const command = ['/bin/sh', '-ec', script]
    const job = await sandbox.job({
      id: `work-${++step}`,
      command,
      env: commitIdentity(null),
      cwd: `${workspace()}/project`,
    })
    let output = ''
    for await (const lines of job.read(0, signal())) output += lines.map(({ text }) => `${text}\n`).join('')
    expect((await job.exit())?.code, output).toBe(0)
  }

  async function collect(maxBytes = MIB): Promise<RepositoryResult> {
    const [result] = await collectResult({ ...look(), id: `collect-${++step}`, maxBytes })
    if (result === undefined) throw new Error('nothing was collected')
    return result
  }

  const text = (base64: string | null) => Buffer.from(base64 ?? '', 'base64').toString()

  /** A fresh clone of the source with the bundle's result checked out: what a person gets. */
  async function broughtHome({ bundle }: RepositoryResult): Promise<string> {
    const home = join(directory, `home-${++step}`)
    git(directory, 'clone', '-q', source, home)
    await writeFile(join(home, '.git/run.bundle'), Buffer.from(bundle ?? '', 'base64'))
    git(home, 'fetch', '-q', join(home, '.git/run.bundle'), 'refs/ambient/result:refs/heads/run')
    git(home, 'checkout', '-q', 'run')
    return home
  }

  test('nothing done gives nothing', async () => {
    const [start] = await begin()
    expect(await collect()).toEqual({
      path: 'project',
      url: `file://${source}`,
      base_commit: start?.base,
      head_commit: start?.base,
      branch: 'main',
      commits: [],
      files_changed: 0,
      insertions: 0,
      deletions: 0,
      patch: '',
      bundle: null,
      note: null,
      push: null,
    })
  })

  test('a change of as many bytes in the very second in which git noted the file is not overlooked', async () => {
    await begin()
    await work(`
      git config core.trustctime false
      printf 'one\\n' >kept
      touch -d '2020-01-01 00:00:00' kept
      git commit -q -am 'One'
      touch -d '2020-01-01 00:00:00' .git/index
      printf 'two\\n' >kept
      touch -d '2020-01-01 00:00:00' kept
    `)
    expect(text((await collect()).patch)).toContain('+two')
  })

  test('commits, uncommitted and untracked work come home as a patch and as a bundle', async () => {
    const [start] = await begin('echo from-setup >>setup; echo from-setup >>both')
    await work(`
      git checkout -q -b work
      echo new >added; git add added; git commit -q -m 'Add a file'
      echo more >>kept; rm gone; printf '\\0\\1binary' >untracked; echo no >ignored; echo from-agent >>both`)
    const result = await collect()
    expect(result).toMatchObject({
      branch: 'work',
      base_commit: start?.base,
      commits: [{ subject: 'Add a file', author: 'Ambient' }],
      files_changed: 5,
      insertions: 3,
      note: null,
      push: null,
    })
    const patch = text(result.patch)
    expect(patch).toContain('GIT binary patch')
    expect(patch).not.toContain('ignored')
    expect(patch).not.toContain('+from-setup')

    const home = await broughtHome(result)
    expect(git(home, 'log', '--format=%s by %an', 'origin/main..run').split('\n')).toEqual([
      'Work that was not committed by Ambient',
      'Add a file by Ambient',
    ])
    // What only the set-up changed stays out; a file that the agent changed too comes as it is at the end.
    expect(git(home, 'diff', '--name-status', 'origin/main', 'run').split('\n')).toEqual([
      'A\tadded',
      'M\tboth',
      'D\tgone',
      'M\tkept',
      'A\tuntracked',
    ])
    // The repository that the agent works in is left as it was.
    await work(
      'test -z "$(git for-each-ref refs/ambient)"; git diff --cached --quiet; git status --short | grep -q "?? untracked"',
    )
  })

  test('the start is noted once, and the same collection is the same', async () => {
    const start = await begin()
    await work('echo x >x')
    expect(await startSnapshot({ ...look(), repositories: [] })).toEqual(start)
    const first = await collectResult({ ...look(), id: 'same', maxBytes: MIB })
    await work('echo y >y')
    expect(await collectResult({ ...look(), id: 'same', maxBytes: MIB })).toEqual(first)
    expect(await collect()).toMatchObject({ files_changed: 2 })
  })

  test('what is too large is left out, and it is said', async () => {
    await begin()
    await work('head -c 300000 /dev/urandom >large')
    expect(await collect(100_000)).toMatchObject({
      files_changed: 1,
      patch: null,
      bundle: null,
      note: expect.stringMatching(/diff is larger.*commits are larger/),
    })
  })

  test('commits with subjects of any length are listed', async () => {
    await begin()
    const subject = 'x'.repeat(20_000)
    await work(`cd ${workspace()}/project; echo ${subject} >../subject
      for i in $(seq 230); do git commit -q --allow-empty -F ../subject; done`)
    const [result] = await collectResult({ ...look(), id: 'long', maxBytes: MIB })
    expect(result?.commits).toHaveLength(230)
    expect(result?.commits[0]?.subject).toBe(`${'x'.repeat(1_000)}…`)
  })

  test('a list of commits that was made too large is not read, and it is said', async () => {
    await begin()
    const id = 'forged'
    await collectResult({ ...look(), id, maxBytes: MIB })
    await writeFile(join(jobPaths(paths, id).own, '0.log'), Buffer.alloc(5 * MIB, 'x'))
    const [result] = await collectResult({ ...look(), id, maxBytes: MIB })
    expect([result?.commits, result?.note]).toEqual([[], expect.stringContaining('list of commits')])
  })

  test('commits in a submodule are told of: they are in no diff, and nobody pushes them', async () => {
    await begin(`git clone -q "$PWD" ../part; git -c protocol.file.allow=always submodule add -q "$PWD/../part" part
      git commit -q -m part`)
    await work('cd part; echo mine >mine; git add mine; git commit -q -m mine')
    const { note, patch } = await collect()
    expect(note).toMatch(/^commits in submodules are neither pushed nor in the diff, and .*: part at [0-9a-f]{12}$/)
    expect(text(patch)).toContain('Subproject commit')
    // Once the server has them there is nothing to tell.
    await work('cd part; git push -q origin HEAD:refs/heads/pushed')
    expect((await collect()).note).toBeNull()
  })

  test('a repository that is gone, and one whose history was thrown away, are still told of', async () => {
    await begin()
    await work('rm -rf .git; git init -q; echo a >fresh; git add fresh; git commit -q -m again')
    const fresh = await collect()
    expect(fresh).toMatchObject({ commits: [{ subject: 'again' }], note: expect.stringContaining('is gone') })
    expect(fresh.bundle).not.toBeNull()
    await work('rm -rf ../project')
    expect(await collect()).toMatchObject({ head_commit: null, patch: null, note: 'it is not there any more' })
  })

  test('a repository without a commit can be begun', async () => {
    git(directory, 'init', '-q', join(directory, `empty-${kind}`))
    const url = `file://${directory}/empty-${kind}`
    const repositories = await cloneRepositories({
      repositories: [{ url, path: 'project' }],
      paths,
      owner: host.owner,
      access: await testGitAccess(directory),
      team: 'default',
      signal: signal(),
    })
    await startSnapshot({ ...look(), repositories })
    await work('echo a >a')
    const result = await collect()
    expect(result).toMatchObject({ base_commit: null, head_commit: null, files_changed: 1, commits: [], note: null })
    expect(result.bundle).not.toBeNull()
  })

  test('configuration that an agent leaves in the repository changes nothing', async () => {
    await begin()
    await work(`
      echo x >x
      git config core.fsmonitor 'touch /tmp/never; false'; git config diff.external false; git config diff.noprefix true
      git config core.hooksPath .; git config color.ui always; echo '* diff=odd' >.git/info/attributes; git config diff.odd.textconv false`)
    const patch = text((await collect()).patch)
    expect(patch).toContain('diff --git a/x b/x')
    expect(patch).toContain('+x')
  })

  // A pipe in the place of a file, a program that filters what is added: git waits for them.
  test.each([
    'rm .git/HEAD; mkfifo .git/HEAD',
    'echo "* filter=slow" >.gitattributes; git config filter.slow.clean "sleep 987"',
  ])('a repository that keeps git busy for ever is given up: %s', async (trap) => {
    await begin()
    await work(`echo x >kept; ${trap}`)
    const [result] = await collectResult({ ...look(), id: `collect-${++step}`, maxBytes: MIB, seconds: 1 })
    expect(result).toMatchObject({ patch: null, note: 'git was asked for 1 s what has become of it, and did not say' })
  })

  test('a link in place of what was collected is not read', async () => {
    await begin()
    const secret = join(directory, 'secret')
    await writeFile(secret, 'not for the agent')
    await work('echo x >x')
    const id = `collect-${++step}`
    await collectResult({ ...look(), id, maxBytes: MIB })
    const patch = join(paths.jobs, id, 'own/0.patch')
    await unlink(patch)
    await symlink(secret, patch)
    const [result] = await collectResult({ ...look(), id, maxBytes: MIB })
    expect(result?.patch).toBeNull()
  })
})

test('an image without git says so', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ambient-nogit-'))
  const host = await makers.direct({
    runsDirectory: directory,
    nodePath: process.execPath,
    log: pino({ level: 'silent' }),
    path: join(directory, 'bin'),
  })
  const runId = randomUUID()
  try {
    await mkdir(join(directory, 'bin'))
    for (const tool of ['mkfifo', 'nsenter', 'unshare', 'sleep']) {
      await symlink(execFileSync('which', [tool], { encoding: 'utf8' }).trim(), join(directory, 'bin', tool))
    }
    const sandbox = await host.open({ runId, generation: 1, image: null, toolkit: null })
    const look = {
      sandbox,
      paths: runPaths(directory, runId),
      workspace: host.paths(runId, null).workspace,
      signal: signal(),
    }
    await startSnapshot({ ...look, repositories: [{ path: 'project', url: 'file:///x' }] })
    expect(await collectResult({ ...look, id: 'collect', maxBytes: MIB })).toMatchObject([
      { path: 'project', patch: null, note: 'the image has no git to ask' },
    ])
  } finally {
    await host.remove(runId)
    await rm(directory, { recursive: true, force: true })
  }
})
