// A run on one of two hosts with nothing in common, for the tests of checkpoints: what it does here, and how it goes on there.
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, expect } from 'vitest'
import { testGitAccess } from '../../test/support/git-access.ts'
import { createDirectHost } from '../direct/host.ts'
import { createDockerHost } from '../docker/host.ts'
import { cloneRepositories, commitIdentity } from '../git/repositories.ts'
import type { Host, Sandbox } from '../host.ts'
import { createRunDirectory, type RunPaths } from '../run-directory.ts'
import { startSnapshot } from '../work-product/work-product.ts'
import { type CheckpointMark, type Taken, takeCheckpoint } from './checkpoint.ts'
import { readManifest, restoreHome, restoreWork } from './restore.ts'

const identity = ['-c', 'user.name=T', '-c', 'user.email=t@localhost', '-c', 'init.defaultBranch=main']
export const git = (cwd: string, ...args: string[]) =>
  execFileSync('git', [...identity, '-c', 'safe.directory=*', ...args], { cwd, encoding: 'utf8' }).trim()
const signal = () => AbortSignal.timeout(60_000)
export const MIB = 1024 * 1024

const makers = {
  direct: (common: Common) => createDirectHost(common),
  docker: (common: Common) =>
    createDockerHost({ ...common, image: 'ambient-base:latest', limits: { memoryMb: 512, cpus: 2, pids: 256 } }),
}
type Common = Parameters<typeof createDirectHost>[0]
export const kinds = ['direct', 'docker'] as const

/** One run on one host. */
export interface Place {
  host: Host
  sandbox: Sandbox
  paths: RunPaths
  /** The workspace, as this machine sees it. */
  workspace: string
}

/** To be called within `describe`: each test gets a run of its own. */
export function useCheckpoints(kind: keyof typeof makers) {
  const t = { step: 0 } as {
    directory: string
    /** Where the repository is cloned from. */
    source: string
    hosts: [Host, Host]
    runId: string
    here: Place
    cloned: string | null
    step: number
  }
  let directories: [string, string]
  const runs: string[] = []

  beforeAll(async () => {
    t.directory = await mkdtemp(join(tmpdir(), 'ambient-checkpoint-'))
    directories = [join(t.directory, 'one'), join(t.directory, 'other')]
    const make = (runsDirectory: string) =>
      makers[kind]({ runsDirectory, nodePath: process.execPath, log: pino({ level: 'silent' }) })
    t.hosts = [await make(directories[0]), await make(directories[1])]
    t.source = join(t.directory, 'project')
    await mkdir(t.source)
    git(t.source, 'init', '-q')
    for (const name of ['kept', 'gone', 'staged', 'both', 'tool'])
      await writeFile(join(t.source, name), `${name}\n1\n2\n`)
    await writeFile(join(t.source, '.gitignore'), 'ignored\n')
    git(t.source, 'add', '.')
    git(t.source, 'commit', '-q', '-m', 'first')
  })
  beforeEach(async () => {
    t.runId = randomUUID()
    runs.push(t.runId)
    t.here = await arrive(0, 1)
  })
  afterAll(async () => {
    for (const id of runs) for (const host of t.hosts) await host.remove(id)
    await rm(t.directory, { recursive: true, force: true })
  })

  async function arrive(at: 0 | 1, generation: number): Promise<Place> {
    const host = t.hosts[at]
    const paths = await createRunDirectory(directories[at], t.runId, host.owner)
    const sandbox = await host.open({ runId: t.runId, generation, image: null, toolkit: null })
    return { host, sandbox, paths, workspace: paths.workspace }
  }

  const inside = ({ host }: Place) => host.paths(t.runId, null)
  const look = (place: Place) => ({
    sandbox: place.sandbox,
    paths: place.paths,
    workspace: inside(place).workspace,
    signal: signal(),
  })

  async function clone({ paths, host }: Place) {
    const repositories = [{ url: `file://${t.source}` }]
    const access = await testGitAccess(t.directory)
    return cloneRepositories({ repositories, paths, owner: host.owner, access, team: 'default', signal: signal() })
  }

  async function begin(setup = 'true') {
    const repositories = await clone(t.here)
    t.cloned = git(join(t.here.workspace, 'project'), 'rev-parse', 'HEAD')
    await work(t.here, setup)
    await startSnapshot({ ...look(t.here), repositories })
  }

  /** What an agent or a set-up command does in the repository. */
  async function work(place: Place, script: string, cwd = 'project') {
    const job = await place.sandbox.job({
      id: `work-${++t.step}`,
      command: ['/bin/sh', '-ec', script],
      env: commitIdentity(null),
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
      paths: t.here.paths,
      workspace: inside(t.here).workspace,
      home: inside(t.here).home,
      repositories: (options.repositories ?? ['project']).map((path) => ({ path, cloned: t.cloned })),
      statePaths: options.statePaths ?? ['.agent/sessions', '.agent/state.db'],
      execution: 1,
      record: { noted: 'by the caller' },
      known: options.known ?? null,
      maxBytes: options.maxBytes ?? 10 * MIB,
      sandbox: async () => t.here.sandbox,
      id: `checkpoint-${++t.step}`,
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

  return Object.assign(t, { begin, clone, work, look, take, taken, goOn, read, stateOf })
}
