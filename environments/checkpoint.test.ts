import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { lstatSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CheckpointMark, type Taken, takeCheckpoint } from './checkpoint.ts'
import { createDirectHost } from './direct/host.ts'
import { createDockerHost } from './docker/host.ts'
import type { Host, Sandbox } from './host.ts'
import { cloneRepositories, commitIdentity } from './repositories.ts'
import { readManifest, restoreHome, restoreWork } from './restore.ts'
import { createRunDirectory, type RunPaths } from './run-directory.ts'
import { startSnapshot } from './work-product.ts'

const identity = ['-c', 'user.name=T', '-c', 'user.email=t@localhost', '-c', 'init.defaultBranch=main']
const git = (cwd: string, ...args: string[]) =>
  execFileSync('git', [...identity, '-c', 'safe.directory=*', ...args], { cwd, encoding: 'utf8' }).trim()
const signal = () => AbortSignal.timeout(60_000)
const MIB = 1024 * 1024

const makers = {
  direct: (common: Common) => createDirectHost(common),
  docker: (common: Common) =>
    createDockerHost({ ...common, image: 'ambient-base:latest', limits: { memoryMb: 512, cpus: 2, pids: 256 } }),
}
type Common = Parameters<typeof createDirectHost>[0]

/** One run on one host. */
interface Place {
  host: Host
  sandbox: Sandbox
  paths: RunPaths
  /** The workspace, as this machine sees it. */
  workspace: string
}

describe.each(Object.keys(makers) as (keyof typeof makers)[])('%s', (kind) => {
  let directory: string
  let source: string
  let hosts: [Host, Host]
  let directories: [string, string]
  let runId: string
  let here: Place
  let cloned: string | null
  let step = 0
  const runs: string[] = []

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ambient-checkpoint-'))
    directories = [join(directory, 'one'), join(directory, 'other')]
    const make = (runsDirectory: string) =>
      makers[kind]({ runsDirectory, nodePath: process.execPath, log: pino({ level: 'silent' }) })
    hosts = [await make(directories[0]), await make(directories[1])]
    source = join(directory, 'project')
    await mkdir(source)
    git(source, 'init', '-q')
    for (const name of ['kept', 'gone', 'staged', 'both', 'tool'])
      await writeFile(join(source, name), `${name}\n1\n2\n`)
    await writeFile(join(source, '.gitignore'), 'ignored\n')
    git(source, 'add', '.')
    git(source, 'commit', '-q', '-m', 'first')
  })
  beforeEach(async () => {
    runId = randomUUID()
    runs.push(runId)
    here = await arrive(0, 1)
  })
  afterAll(async () => {
    for (const id of runs) for (const host of hosts) await host.remove(id)
    await rm(directory, { recursive: true, force: true })
  })

  async function arrive(at: 0 | 1, generation: number): Promise<Place> {
    const host = hosts[at]
    const paths = await createRunDirectory(directories[at], runId, host.owner)
    const sandbox = await host.open({ runId, generation, image: null, toolkit: null })
    return { host, sandbox, paths, workspace: paths.workspace }
  }

  const inside = ({ host }: Place) => host.paths(runId, null)
  const look = (place: Place) => ({
    sandbox: place.sandbox,
    paths: place.paths,
    workspace: inside(place).workspace,
    signal: signal(),
  })

  async function clone({ paths, host }: Place) {
    const repositories = [{ url: `file://${source}` }]
    return cloneRepositories({ repositories, paths, owner: host.owner, signal: signal() })
  }

  async function begin(setup = 'true') {
    const repositories = await clone(here)
    cloned = git(join(here.workspace, 'project'), 'rev-parse', 'HEAD')
    await work(here, setup)
    await startSnapshot({ ...look(here), repositories })
  }

  /** What an agent or a set-up command does in the repository. */
  async function work(place: Place, script: string, cwd = 'project') {
    const job = await place.sandbox.job({
      id: `work-${++step}`,
      command: ['/bin/sh', '-ec', script],
      env: commitIdentity(),
      cwd: `${inside(place).workspace}/${cwd}`,
    })
    let output = ''
    for await (const lines of job.read(0, signal())) output += lines.map(({ text }) => `${text}\n`).join('')
    expect((await job.exit())?.code, output).toBe(0)
    return output
  }

  function take(
    options: { known?: CheckpointMark; maxBytes?: number; repositories?: string[]; statePaths?: string[] } = {},
  ) {
    return takeCheckpoint({
      paths: here.paths,
      workspace: inside(here).workspace,
      home: inside(here).home,
      repositories: (options.repositories ?? ['project']).map((path) => ({ path, cloned })),
      statePaths: options.statePaths ?? ['.agent/sessions', '.agent/state.db'],
      execution: 1,
      record: { noted: 'by the caller' },
      known: options.known ?? null,
      maxBytes: options.maxBytes ?? 10 * MIB,
      sandbox: async () => here.sandbox,
      id: `checkpoint-${++step}`,
      signal: signal(),
    })
  }

  async function taken(options?: Parameters<typeof take>[0]): Promise<Extract<Taken, { kind: 'taken' }>> {
    const checkpoint = await take(options)
    if (checkpoint.kind !== 'taken') throw new Error(`it is ${checkpoint.kind}`)
    return checkpoint
  }

  /** What another host makes of a checkpoint, with nothing else to go by. */
  async function goOn(file: string, options: { setup?: string; statePaths?: string[]; repositories?: false } = {}) {
    const manifest = await readManifest(file, signal())
    const there = await arrive(1, 1001)
    const common = { file, manifest, paths: there.paths, owner: there.host.owner, signal: signal() }
    await restoreHome({
      ...common,
      statePaths: options.statePaths ?? ['.agent/sessions', '.agent/state.db'],
      moved: [],
    })
    if (options.repositories !== false) {
      await clone(there)
      await work(there, options.setup ?? 'true')
    } else await work(there, options.setup ?? 'true', '')
    await restoreWork({ ...common, sandbox: there.sandbox, workspace: inside(there).workspace, id: 'restore' })
    return { there, manifest, repository: join(there.workspace, 'project') }
  }

  const read = (place: Place, path: string) => readFile(join(place.workspace, path), 'utf8')
  /** Everything about the state of a repository that an agent can see. */
  const stateOf = (repository: string) => ({
    status: git(repository, 'status', '--porcelain=v2', '--branch', '--untracked-files=all'),
    log: git(repository, 'log', '--format=%H %s', '--branches'),
    staged: git(repository, 'diff', '--cached', '--binary'),
    unstaged: git(repository, 'diff', '--binary'),
    stash: git(repository, 'stash', 'list', '--format=%H %gs'),
  })

  test('commits, staged, unstaged, untracked, deleted and binary files come back as they were', async () => {
    await begin()
    await work(
      here,
      `git checkout -q -b fix
       echo committed >new; git add new; git commit -q -m 'a commit of the run'
       echo on the stash >>kept; git stash -q
       echo in the index >>staged; git add staged
       echo in the index >>both; git add both; echo and on top >>both
       echo only here >>kept
       rm gone
       chmod +x tool
       printf '\\000\\001\\377' >binary
       mkdir -p deep/er; echo untracked >'deep/er/a file with a näme'
       ln -s ../elsewhere link
       git branch side HEAD~1
       echo ignored >ignored`,
    )
    const before = stateOf(join(here.workspace, 'project'))
    const { there, repository } = await goOn((await taken()).file)
    expect(stateOf(repository)).toEqual(before)
    expect(before.status).toContain('# branch.head fix')
    expect(before.status.split('\n').filter((line) => !line.startsWith('#'))).toHaveLength(8)
    expect(await readFile(join(repository, 'binary'))).toEqual(Buffer.from([0, 1, 255]))
    expect(await readlink(join(repository, 'link'))).toBe('../elsewhere')
    expect((await stat(join(repository, 'tool'))).mode & 0o111).not.toBe(0)
    expect((await stat(join(repository, 'binary'))).uid).toBe(there.host.owner.uid)
    expect(() => lstatSync(join(repository, 'ignored'))).toThrow()
    // Whoever goes on can commit.
    await work(there, 'git add -A; git commit -q -m next; git fsck --strict --no-dangling')
  })

  test('what the set-up made and the agent changed is as the agent left it, and what it deleted stays away', async () => {
    const setup = 'echo made >made; echo made >unwanted; echo made >ignored; echo setup >>kept; git commit -q -am setup'
    await begin(setup)
    await work(here, 'echo agent >>made; rm unwanted; git mv staged moved; git commit -q -m moved')
    const before = stateOf(join(here.workspace, 'project'))
    const { repository } = await goOn((await taken()).file, { setup })
    expect(stateOf(repository)).toEqual(before)
    expect(await readFile(join(repository, 'made'), 'utf8')).toBe('made\nagent\n')
    expect(await readFile(join(repository, 'ignored'), 'utf8')).toBe('made\n')
  })

  test('the diff of the run is the same as if it had stayed', async () => {
    await begin('echo by the set-up >>kept')
    await work(here, 'echo by the agent >>both')
    const start = await readFile(join(here.paths.root, 'start.json'), 'utf8')
    const { there, repository } = await goOn((await taken()).file)
    expect(await readFile(join(there.paths.root, 'start.json'), 'utf8')).toBe(start)
    const [{ tree }] = JSON.parse(start)
    expect(git(repository, 'diff', '--stat', tree)).toContain('1 file changed, 1 insertion(+)')
  })

  test('a detached HEAD, a branch without a commit, and a merge in progress come back as far as they can', async () => {
    await begin()
    await work(here, 'git checkout -q --detach; git commit -q --allow-empty -m detached')
    expect(stateOf((await goOn((await taken()).file)).repository)).toEqual(stateOf(join(here.workspace, 'project')))
    await hosts[1].remove(runId)

    await work(here, 'git checkout -q --orphan empty; git rm -rq --cached .')
    expect(stateOf((await goOn((await taken()).file)).repository)).toEqual(stateOf(join(here.workspace, 'project')))
    await hosts[1].remove(runId)

    await work(
      here,
      `git checkout -qf main; git checkout -q -b a; echo a >kept; git commit -qam a
       git checkout -q -b b main; echo b >kept; git commit -qam b; ! git merge -q a`,
    )
    const { repository, manifest } = await goOn((await taken()).file)
    expect(await readFile(join(repository, 'kept'), 'utf8')).toContain('<<<<<<<')
    expect(manifest.repositories).toMatchObject([{ staged: null, unfinished: ['MERGE_HEAD'] }])
  })

  test('a submodule that was never fetched, a repository in the repository and one without a commit come along', async () => {
    git(source, 'checkout', '-q', '-b', 'with-submodule')
    git(source, 'update-index', '--add', '--cacheinfo', `160000,${'1'.repeat(40)},module`)
    git(source, 'commit', '-q', '-m', 'a submodule')
    try {
      await begin()
      await work(
        here,
        `git init -q inner; cd inner; echo inner >file; git add file; git commit -q -m inner; echo changed >>file; cd ..
         git init -q bare-ly; echo x >bare-ly/file`,
      )
      const { repository } = await goOn((await taken()).file)
      expect(git(join(repository, 'inner'), 'status', '--porcelain')).toBe('M file')
      expect(git(join(repository, 'inner'), 'log', '--format=%s')).toBe('inner')
      expect(await readFile(join(repository, 'bare-ly/file'), 'utf8')).toBe('x\n')
      expect(git(repository, 'ls-files', '--stage', 'module')).toContain('1'.repeat(40))
    } finally {
      git(source, 'checkout', '-q', 'main')
    }
  })

  test('a repository that was empty keeps what was begun in it', async () => {
    const full = source
    source = join(directory, 'empty/project')
    git(directory, 'init', '-q', source)
    try {
      const repositories = await clone(here)
      cloned = null
      await startSnapshot({ ...look(here), repositories })
      await work(here, 'echo one >one; git add one; git commit -q -m one; echo two >two')
      const before = stateOf(join(here.workspace, 'project'))
      expect(stateOf((await goOn((await taken()).file)).repository)).toEqual(before)
    } finally {
      source = full
    }
  })

  test('files beside the repositories come along, and a repository that was thrown away stays away', async () => {
    await begin()
    await work(here, 'mkdir -p notes/deep; echo note >notes/deep/file; ln -s /etc/passwd away; chmod 500 notes', '')
    const beside = await goOn((await taken()).file, { setup: 'echo leftover >../leftover' })
    expect(await read(beside.there, 'notes/deep/file')).toBe('note\n')
    expect(await readlink(join(beside.there.workspace, 'away'))).toBe('/etc/passwd')
    expect((await stat(join(beside.there.workspace, 'notes'))).mode & 0o777).toBe(0o500)
    expect(() => lstatSync(join(beside.there.workspace, 'leftover'))).toThrow()
    expect(git(beside.repository, 'status', '--porcelain')).toBe('')
    await hosts[1].remove(runId)

    await work(here, 'rm -rf project; mkdir project; echo anew >project/file', '')
    const { there } = await goOn((await taken()).file)
    expect(await read(there, 'project/file')).toBe('anew\n')
    expect(() => lstatSync(join(there.workspace, 'project/.git'))).toThrow()
  })

  test('a workspace without a repository is kept as files', async () => {
    await work(here, 'mkdir a; echo b >a/b; echo old >changed; rm -f made', '')
    const { there } = await goOn((await taken({ repositories: [] })).file, {
      repositories: false,
      setup: 'echo new >changed; echo made >made',
    })
    expect(await read(there, 'a/b')).toBe('b\n')
    expect(await read(there, 'changed')).toBe('old\n')
    expect(() => lstatSync(join(there.workspace, 'made'))).toThrow()
  })

  test("the agent's own state comes along, and nothing else of its home", async () => {
    await work(
      here,
      `mkdir -p "$HOME/.agent/sessions/2026"; echo said >"$HOME/.agent/sessions/2026/one"; echo db >"$HOME/.agent/state.db"
       echo credential >"$HOME/.agent/auth.json"; ln -s auth.json "$HOME/.agent/sessions/stolen"`,
      '',
    )
    const checkpoint = await taken({ repositories: [] })
    const { there, manifest } = await goOn(checkpoint.file, {
      repositories: false,
      statePaths: ['.agent/moved', '.agent/state.db'],
    })
    expect(await readFile(join(there.paths.home, '.agent/moved/2026/one'), 'utf8')).toBe('said\n')
    expect(await readFile(join(there.paths.home, '.agent/state.db'), 'utf8')).toBe('db\n')
    expect(() => lstatSync(join(there.paths.home, '.agent/auth.json'))).toThrow()
    expect(manifest.record).toEqual({ noted: 'by the caller' })
    const content = execFileSync('sh', ['-c', 'gunzip -c "$1"', 'sh', checkpoint.file], { encoding: 'latin1' })
    expect(content).not.toContain('credential')
  })

  test('nothing is taken when nothing has changed', async () => {
    await begin()
    await work(
      here,
      'echo x >>kept; echo y >../beside; mkdir -p "$HOME/.agent/sessions"; echo z >"$HOME/.agent/sessions/s"',
    )
    const { mark } = await taken()
    expect(await take({ known: mark })).toEqual({ kind: 'unchanged' })
    const changes = [
      'echo x >>kept',
      'git add kept',
      'git commit -q -m x',
      'git checkout -q -b another',
      'echo y >>../beside',
      'echo z >>"$HOME/.agent/sessions/s"',
      'rm ../beside',
    ]
    let known = mark
    for (const change of changes) {
      await work(here, change)
      const next = await take({ known })
      expect(next.kind, change).toBe('taken')
      if (next.kind === 'taken') known = next.mark
    }
    await work(here, 'echo seen by nobody >ignored; echo x >"$HOME/other"')
    expect(await take({ known })).toEqual({ kind: 'unchanged' })
  })

  test('what is too large is not kept, and files beside the repositories are done without first', async () => {
    await begin()
    await work(here, 'echo work >>kept; head -c 3000000 /dev/urandom >../large')
    const { file, withoutBeside } = await taken({ maxBytes: 2 * MIB })
    expect(withoutBeside).toBe(true)
    const { there, repository } = await goOn(file, { setup: 'echo by the set-up >../made' })
    expect(await readFile(join(repository, 'kept'), 'utf8')).toContain('work\n')
    expect(await read(there, 'made')).toBe('by the set-up\n')
    expect(() => lstatSync(join(there.workspace, 'large'))).toThrow()
    await work(here, 'head -c 3000000 /dev/urandom >large')
    expect(await take({ maxBytes: 2 * MIB })).toEqual({ kind: 'too_large' })
    expect(await take({ maxBytes: 2 * MIB, repositories: [] })).toEqual({ kind: 'too_large' })
  })

  test('settings and links that an agent left for git and for the host lead nowhere', async () => {
    await begin()
    const secret = join(directory, `secret-${step}`)
    await writeFile(secret, 'of the host', { mode: 0o600 })
    await work(
      here,
      `git config filter.evil.clean 'touch "$HOME/ran"; cat'
       git config core.fsmonitor 'touch "$HOME/ran"'
       git config diff.external 'touch "$HOME/ran"'
       mkdir "$HOME/.agent"; ln -s / "$HOME/.agent/sessions"; mkfifo ../pipe; ln -s ${secret} ../stolen; echo x >>kept`,
    )
    const { file } = await taken()
    const content = execFileSync('sh', ['-c', 'gunzip -c "$1"', 'sh', file], { encoding: 'latin1' })
    expect(content).not.toContain('of the host')
    const { there } = await goOn(file)
    expect(await readlink(join(there.workspace, 'stolen'))).toBe(secret)
    expect(await readFile(secret, 'utf8')).toBe('of the host')
  })
})
