import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { agents } from '../../agents/index.ts'
import type { BuildOrder, ExecutionOrder } from '../../domain/host-api.ts'
import type { InlineEnvironment } from '../../domain/run.ts'
import { createRedactor } from '../../domain/vault/redaction.ts'
import type { GivenSecret } from '../../domain/vault/secret.ts'
import { createDirectHost } from '../../environments/direct/host.ts'
import { createDockerHost } from '../../environments/docker/host.ts'
import type { Host } from '../../environments/host.ts'
import { createBeginner } from '../../environments/prepared/begin-from.ts'
import { createRunDirectory } from '../../environments/run-directory.ts'
import { createHostMetrics } from '../../telemetry/host-metrics.ts'
import { executionOrder } from '../../test/support/execution-order.ts'
import { testGitAccess } from '../../test/support/git-access.ts'
import { testPrepared } from '../../test/support/prepared.ts'
import { type SampleRepository, sampleRepository } from '../../test/support/repository.ts'
import { buildEnvironment, createBuilds } from './build.ts'
import { checkpoint } from './checkpoint.ts'
import { collect } from './collect.ts'
import { type HostDeps, openRunState } from './deps.ts'
import type { Execution } from './execution.ts'
import { prepare } from './prepare.ts'
import { createPushWatch } from './pushes.ts'
import { type HostServer, ServerRefusal } from './server.ts'

const run = promisify(execFile)
const log = pino({ level: 'silent' })
const never = new AbortController().signal
const limits = { memoryMb: 512, cpus: 2, pids: 256 }

const makers = {
  direct: (runsDirectory: string) =>
    createDirectHost({ runsDirectory, nodePath: process.execPath, log, path: process.env.PATH }),
  docker: (runsDirectory: string) =>
    createDockerHost({ runsDirectory, nodePath: process.execPath, image: 'ambient-base:latest', limits, log }),
}

/** Each one leaves a line in the home, a file that git ignores, and one beside the repository. */
const SETUP =
  'echo made >>"$HOME/made"; echo built >built; mkdir -p lib/old && echo lib >lib/old/file; echo beside >../beside'

describe.each(Object.keys(makers) as (keyof typeof makers)[])('%s', (kind) => {
  let directory: string
  let repository: SampleRepository
  let deps: HostDeps
  let host: Host
  let builds: Map<string, BuildOrder>
  let asked: string[]
  let logged: string[]
  let told: string[]
  /** How often a run was said to need nothing but its sandbox. */
  let claimsAnswered: number
  let patch: string
  const turns = createBuilds()
  const used: string[] = []

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), `ambient-prepared-${kind}-`))
    host = await makers[kind](join(directory, 'runs'))
  })
  beforeEach(async () => {
    repository = await sampleRepository()
    await writeFile(join(repository.path, '.gitignore'), 'built\nlib\n')
    await writeFile(join(repository.path, 'package.json'), '{}\n')
    await commit('Second')
    const runsDirectory = join(directory, 'runs')
    await rm(join(directory, 'snapshots'), { recursive: true, force: true })
    builds = new Map()
    asked = []
    logged = []
    told = []
    claimsAnswered = 0
    patch = ''
    deps = {
      hostId: 'one',
      host,
      server,
      log,
      runsDirectory,
      agentsDirectory: join(directory, 'agents'),
      git: await testGitAccess(directory),
      ...testPrepared(runsDirectory, host),
      metrics: createHostMetrics(new Registry(), async () => ({ capacity: 1, held: 0, draining: false })),
      diskBytes: 1e9,
      resultBytes: 1e6,
      checkpointBytes: 1e6,
    } as Partial<HostDeps> as HostDeps
  })
  afterEach(async () => {
    for (const runId of used.splice(0)) await host.remove(runId)
    await repository.remove()
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  const server = {
    async build(id) {
      const order = builds.get(id)
      if (order === undefined) throw new ServerRefusal(404, 'no such build')
      return order
    },
    async buildLog(_id, { lines }) {
      for (const { text } of lines) logged.push(text)
    },
    environmentGit: async () => ({ git_token: null, git: [] }),
    async askForBuild(_environmentId, reason) {
      asked.push(reason)
      return newBuild().build_id
    },
    environmentUsed: async () => {},
    saveCheckpoint: (_runId, _execution, { file }) => copyFile(file, join(directory, 'checkpoint')),
    async loadCheckpoint(_runId, _execution, file) {
      await copyFile(join(directory, 'checkpoint'), file)
      return true
    },
    async result(_runId, _execution, { repositories }) {
      patch = Buffer.from(repositories[0]?.patch ?? '', 'base64').toString()
    },
  } as Partial<HostServer> as HostServer

  const commit = async (message: string) => {
    await repository.git('add', '.')
    await repository.git('commit', '--quiet', '--allow-empty', '--message', message)
    return await repository.git('rev-parse', 'HEAD')
  }

  const environment = (change: Partial<InlineEnvironment> = {}): InlineEnvironment => ({
    repos: [{ url: repository.url, path: 'project' }],
    setup_commands: [SETUP],
    env: {},
    ...change,
  })

  function newBuild(change: Partial<BuildOrder> = {}): BuildOrder {
    const order: BuildOrder = {
      build_id: randomUUID(),
      environment_id: 'e',
      team: 'default',
      environment: environment(),
      git: [],
      secrets: [],
      secrets_trouble: null,
      force: false,
      state: 'QUEUED',
      failure: null,
      ...change,
    }
    builds.set(order.build_id, order)
    used.push(order.build_id)
    return order
  }

  async function build(change: Partial<BuildOrder> = {}, interrupt = never) {
    const { build_id: id } = newBuild(change)
    return await buildEnvironment(deps, id, { interrupt, detach: never }, turns)
  }

  async function built(change: Partial<BuildOrder> = {}) {
    const outcome = await build(change)
    if (outcome.kind === 'failed') throw new Error(JSON.stringify(outcome.failure))
    return outcome.result
  }

  async function execution(
    change: Partial<InlineEnvironment> = {},
    { id = randomUUID() as string, wait = false, order = {} as Partial<ExecutionOrder> } = {},
  ) {
    used.push(id)
    const stored = new Set<string>()
    const made: Execution = {
      deps,
      ref: { runId: id, execution: 1 },
      order: executionOrder({
        run_id: id,
        environment: environment(change),
        prepared: { environment_id: 'e', wait },
        ...order,
      }),
      agent: agents.command,
      policy: 'allow',
      redactor: createRedactor([]),
      state: openRunState(deps.runsDirectory, id),
      transcript: {
        storedLine: async () => 0,
        record: async () => {},
        notes(journal) {
          let line = 0
          return {
            async add(_kind, data) {
              line += 1
              if (!stored.has(`${journal} ${line}`)) told.push(String(data.text ?? data.message))
              stored.add(`${journal} ${line}`)
            },
          }
        },
      },
      signals: { interrupt: never, detach: never },
      stop: never,
    }
    return made
  }

  async function started(change: Partial<InlineEnvironment> = {}, options = {}) {
    const made = await execution(change, options)
    await prepare(made, () => {
      claimsAnswered += 1
    })
    return made
  }

  const snapshotOf = async (key: string) =>
    (await deps.snapshots.list()).find((snapshot) => snapshot.key === key) ?? null

  const inRun = ({ ref }: Execution, ...path: string[]) => join(directory, 'runs', ref.runId, ...path)
  const setUps = async (made: Execution) => (await readFile(inRun(made, 'home/made'), 'utf8')).trim().split('\n').length

  async function inside(made: Execution, command: string): Promise<string[]> {
    const sandbox = await host.find(made.ref.runId, made.state.get().generation)
    const spec = { command: ['/bin/sh', '-c', `${command} 2>&1`], env: {}, cwd: '/' }
    const job = await sandbox?.job({
      id: randomUUID(),
      ...spec,
      cwd: `${host.paths(made.ref.runId, null).workspace}/project`,
    })
    const lines: string[] = []
    for await (const batch of job?.read(0, never) ?? []) for (const { text } of batch) lines.push(text)
    return lines
  }

  /** Names, modes, owners, times and contents. */
  async function fingerprint(path: string): Promise<string> {
    const script =
      'find workspace home -printf "%p %m %U %G %T@ %l\\n" | sort; find workspace home -type f -print0 | sort -z | xargs -0 sha256sum'
    return (await run('/bin/sh', ['-c', script], { cwd: path })).stdout
  }

  test('set-up has secrets, as variables and files; a build that has left one in a file fails, and does not say it', async () => {
    const value = `planted ${randomUUID()}`
    const secrets: GivenSecret[] = [
      { name: 'TOKEN', version: 1, kind: 'env', path: null, value },
      { name: 'KEY_FILE', version: 1, kind: 'file', path: '~/.key', value: `${value}\nsecond line of it\n` },
    ]
    const setup = (command: string) => ({ secrets, environment: environment({ setup_commands: [command] }) })
    await built(
      setup(
        'test "$(stat -c %a "$KEY_FILE")" = 600 && grep -q "$TOKEN" ~/.key && echo "has $TOKEN" && echo done >done',
      ),
    )
    for (const [left, place] of [
      ['"$TOKEN" >left', 'left'],
      ['"$(cat ~/.key)" >~/.left', '~/.left'],
    ] as const) {
      const outcome = await build({ ...setup(`printf "%s" ${left}; echo ${randomUUID()}`), force: true })
      expect(outcome).toMatchObject({ kind: 'failed', failure: { message: expect.stringContaining(place) } })
      expect(JSON.stringify(outcome)).not.toContain(value)
    }
  })

  test('a run starts from what was built, and does not set itself up', async () => {
    const { key, commits, image } = await built()
    expect(key).toMatch(/^[0-9a-f]{64}$/)
    expect(commits).toEqual({ project: await repository.git('rev-parse', 'HEAD') })
    expect(image === null).toBe(kind === 'direct')
    expect(logged).toContain(`$ ${SETUP}`)
    const made = await started()
    expect(await setUps(made)).toBe(1)
    expect(await inside(made, 'cat built ../beside; git status --short; git log --oneline | wc -l')).toEqual([
      'built',
      'beside',
      '2',
    ])
    expect(told).toEqual([expect.stringMatching(/^Started from the prepared environment, built just now/)])
    // While its sandbox was still to come up.
    expect(claimsAnswered).toBe(1)
    await inside(made, 'echo more >>README.md')
    await collect(made, false)
    expect(patch).toContain('+more')
    expect(patch).not.toContain('built')
    // By which checkpoints know what of the ignored files is the agent's.
    expect(await readFile(inRun(made, 'baseline.json'), 'utf8')).toContain('ignored project')
  })

  test('what came to the repository since is fetched, without another set-up', async () => {
    await built()
    await writeFile(join(repository.path, 'README.md'), '# Changed\n')
    const target = await commit('Third')
    const made = await started()
    expect(await setUps(made)).toBe(1)
    expect(told[0]).toContain('1 new commit in project')
    expect(claimsAnswered).toBe(0)
    expect(
      await inside(
        made,
        'cat README.md; git status --short; git rev-parse HEAD origin/main; git branch --show-current',
      ),
    ).toEqual(['# Changed', target, target, 'main'])
    expect(made.state.get().cloned).toEqual({ project: target })
    await inside(made, 'echo more >>README.md')
    await collect(made, false)
    expect(patch).toContain('+more')
    expect(patch).not.toContain('+# Changed')
  })

  test('a snapshot stays as it was, whatever a run does', async () => {
    const { key } = await built()
    const snapshot = await snapshotOf(key)
    const before = await fingerprint(snapshot?.directory ?? '')
    const made = await started()
    await inside(
      made,
      'echo x >>built; mv lib renamed; chmod 700 renamed/old; rm -rf .git README.md ../beside; : >"$HOME/made"; ln -s / out; mkdir lib && echo new >lib/new; chmod 777 ..',
    )
    expect(await inside(made, 'ls renamed/old lib; ls -A ..')).toEqual([
      'lib:',
      'new',
      '',
      'renamed/old:',
      'file',
      'project',
    ])
    expect(await fingerprint(snapshot?.directory ?? '')).toBe(before)
    await host.remove(made.ref.runId)
    expect(await fingerprint(snapshot?.directory ?? '')).toBe(before)
    expect(existsSync(inRun(made))).toBe(false)
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(made.ref.runId)
  })

  test('the mounts of a run that are gone are made again, with what it has written', async () => {
    await built()
    const made = await started()
    await inside(made, 'echo mine >mine')
    await host.stop(made.ref.runId)
    for (const name of ['workspace', 'home']) await run('umount', [inRun(made, name)])
    expect(await readdir(inRun(made, 'workspace'))).toEqual([])
    await prepare(made)
    expect(await inside(made, 'cat mine built')).toEqual(['mine', 'built'])
  })

  test('a build that is cancelled ends within 5 s and leaves nothing', async () => {
    const interrupt = new AbortController()
    const going = build({ environment: environment({ setup_commands: ['echo going; sleep 600'] }) }, interrupt.signal)
    going.catch(() => {}) // Looked at below.
    await expect.poll(() => logged, { timeout: 20_000 }).toContain('going')
    const began = performance.now()
    interrupt.abort(new Error('cancelled'))
    await expect(going).rejects.toThrow('cancelled')
    expect(performance.now() - began).toBeLessThan(5_000)
    expect(await host.list()).toEqual([])
    expect(await deps.snapshots.list()).toEqual([])
  })

  test('a build whose set-up fills the disk ends at the limit of its host, and leaves nothing', async () => {
    deps.diskBytes = 20e6
    const commands = ['head -c 60000000 /dev/zero >all; sleep 987']
    const outcome = await build({ environment: environment({ setup_commands: commands }) })
    expect(outcome).toMatchObject({ kind: 'failed', failure: { code: 'disk_limit', phase: 'setup' } })
    expect(await readdir(join(directory, 'runs'))).not.toContain([...builds.keys()][0])
    expect(await deps.snapshots.list()).toEqual([])
  })

  test('where the container is described in another way since, the run starts anew from nothing', async () => {
    await built()
    await mkdir(join(repository.path, '.devcontainer'))
    await writeFile(
      join(repository.path, '.devcontainer/devcontainer.json'),
      '{"postCreateCommand": "touch ../of-container"}',
    )
    const target = await commit('Third')
    const made = await started()
    expect(await setUps(made)).toBe(1)
    expect(told[0]).toMatch(/^Set up from the start: project.\.devcontainer.devcontainer.json/)
    expect(asked).toEqual(['missing'])
    expect(existsSync(inRun(made, 'layers'))).toBe(false)
    expect(await inside(made, 'git rev-parse HEAD')).toEqual([target])
    expect(existsSync(inRun(made, 'workspace/of-container'))).toBe(kind === 'docker')
  })

  test('of what a build was warned, each run that starts from it is told once, however often either is tried', async () => {
    await writeFile(join(repository.path, '.gitmodules'), '[submodule "gone"]\n\tpath = gone\n\turl = /no/such/place\n')
    await repository.git('update-index', '--add', '--cacheinfo', `160000,${'1'.repeat(40)},gone`)
    await mkdir(join(repository.path, 'gone'))
    await writeFile(join(repository.path, '.devcontainer.json'), '{"mounts": ["source=a,target=/a"]}')
    await commit('Third')
    const { build_id: id } = newBuild()
    const signals = { interrupt: never, detach: never }
    const dying = { ...deps, host: { ...host, open: () => Promise.reject('dead') } }
    await expect(buildEnvironment(dying, id, signals, turns)).rejects.toBe('dead')
    await buildEnvironment(deps, id, signals, turns)
    const warnings = [
      expect.stringMatching(/^The submodule gone is left out/),
      expect.stringMatching(kind === 'docker' ? /mounts/ : /^A devcontainer\.json has no effect/),
    ]

    const made = await execution()
    const { set } = made.state
    made.state.set = (change) => (change.prepared?.kind === 'done' ? Promise.reject('dead') : set(change))
    await expect(prepare(made)).rejects.toBe('dead')
    await prepare({ ...made, state: openRunState(deps.runsDirectory, made.ref.runId) })
    expect(told).toEqual([expect.stringMatching(/^Started from/), ...warnings])

    told = []
    await writeFile(join(repository.path, 'README.md'), '# Changed\n')
    await commit('Fourth')
    await started()
    expect(told).toEqual([expect.stringContaining('1 new commit in project'), ...warnings])

    // As former versions have left it.
    told = []
    const file = join(directory, 'snapshots', id, 'meta.json')
    const { record, ...meta } = JSON.parse(await readFile(file, 'utf8'))
    await writeFile(file, JSON.stringify({ ...meta, record: { ...record, warned: undefined } }))
    await started()
    expect(told).toEqual([expect.stringContaining('1 new commit in project')])
  })

  if (kind === 'docker') {
    test('where the name of the image stands for another one since, no run starts from what was built', async () => {
      await built()
      deps.host = { ...host, imageId: async () => 'another one' }
      const made = await started()
      expect(made.state.get().prepared).toBe(null)
      expect(asked).toEqual(['missing'])
    })
    // What is left is the same on all hosts.
    return
  }

  test('where an input of the set-up has changed, the run is set up again over what was built', async () => {
    await built()
    await writeFile(join(repository.path, 'package.json'), '{"name":"changed"}\n')
    await commit('Third')
    const made = await started()
    expect(await setUps(made)).toBe(2)
    expect(told[0]).toContain('project/package.json')
    expect(claimsAnswered).toBe(0)
  })

  const beCommitless = async () => {
    for (const branch of ['main', 'other']) await repository.git('update-ref', '-d', `refs/heads/${branch}`)
  }
  const merge = async () => {
    await repository.git('checkout', '--quiet', '-B', 'side', 'HEAD~1')
    await commit('Beside')
    await repository.git('checkout', '--quiet', 'main')
    await repository.git('merge', '--quiet', '--no-ff', '--message', 'Merged', 'side')
  }
  const forget = async () => {
    await repository.git('commit', '--quiet', '--amend', '--message', 'Rewritten')
    await rm(deps.git.mirrors ?? '', { recursive: true })
  }
  test.each<{
    when: string
    reason: string | RegExp
    first?: () => Promise<void>
    push: () => Promise<unknown>
    depth?: number
  }>([
    {
      when: 'a merge came to a shallow clone',
      reason: 'what is new in project needs more of its history than was cloned',
      depth: 1,
      push: merge,
    },
    {
      when: 'large files have come',
      reason: 'project has large files, which only a clone brings',
      async push() {
        await writeFile(join(repository.path, '.gitattributes'), '*.bin filter=lfs\n')
        await commit('Third')
      },
    },
    {
      when: 'a submodule has changed',
      reason: 'a submodule of project has changed',
      async push() {
        await repository.git('update-index', '--add', '--cacheinfo', `160000,${'1'.repeat(40)},part`)
        await repository.git('commit', '--quiet', '--message', 'Third')
      },
    },
    {
      when: 'the first commit has come',
      reason: 'project had no commit',
      first: beCommitless,
      push: () => commit('Third'),
    },
    {
      when: 'the commit of then has gone',
      reason: /the commit [0-9a-f]{12} of project is gone/,
      push: forget,
    },
    {
      when: 'mirrors were turned off',
      reason: 'this host keeps no mirrors of repositories',
      async push() {
        deps.git = { ...deps.git, mirrors: null }
        await commit('Third')
      },
    },
  ])('where $when since the build, a run sets itself up and says so', async ({ reason, first, push, depth }) => {
    await first?.()
    const change = { repos: [{ url: repository.url, path: 'project', ...(depth === undefined ? {} : { depth }) }] }
    await built({ environment: environment(change) })
    await push()
    const made = await started(change)
    expect(told[0]).toMatch(/^Set up from the start: /)
    expect(told[0]).toMatch(reason)
    expect(asked).toEqual(['missing'])
    expect(await setUps(made)).toBe(1)
    expect(await inside(made, 'git rev-parse HEAD; cat built')).toEqual([
      await repository.git('rev-parse', 'HEAD'),
      'built',
    ])
  })

  test('where the branch is gone since the build, a run fails as a cold one does', async () => {
    const change = { repos: [{ url: repository.url, path: 'project', ref: 'other' }] }
    await built({ environment: environment(change) })
    await repository.git('branch', '-D', 'other')
    await expect(started(change)).rejects.toMatchObject({ failure: { code: 'ref_not_found' } })
    expect(told[0]).toBe('Set up from the start: only a clone can tell what other of project is.')
  })

  test('where the sandbox has no git and there are new commits, a run sets itself up and says so', async () => {
    const path = join(directory, 'bin')
    await mkdir(path)
    for (const tool of (await readdir('/usr/bin')).filter((name) => !name.startsWith('git')))
      await symlink(join('/usr/bin', tool), join(path, tool))
    const runsDirectory = join(directory, 'runs')
    const bare = await createDirectHost({ runsDirectory, nodePath: process.execPath, log, path })
    Object.assign(deps, { host: bare, ...testPrepared(runsDirectory, bare) })
    await built()
    await commit('Third')
    const made = await started()
    expect(told[0]).toMatch(/^Set up from the start: the image has no git to bring what is new into it/)
    expect(await setUps(made)).toBe(1)
    expect(await run('git', ['-C', inRun(made, 'workspace/project'), 'log', '-1', '--format=%s'])).toMatchObject({
      stdout: 'Third\n',
    })
  })

  test('of several repositories each is brought to what it is now, also one without all of its history', async () => {
    const other = await sampleRepository()
    try {
      const change = {
        repos: [
          { url: repository.url, path: 'project' },
          { url: other.url, path: 'shallow', depth: 1 },
        ],
        setup_commands: [`cd project; ${SETUP}`],
      }
      await built({ environment: environment(change) })
      const target = await commit('Third')
      await other.git('commit', '--quiet', '--allow-empty', '--message', 'Second')
      const made = await started(change)
      expect(told).toEqual([expect.stringMatching(/1 new commit in project, 1 new commit in shallow\.$/)])
      expect(await setUps(made)).toBe(1)
      expect(await inside(made, 'git rev-parse HEAD; cd ../shallow; git log --format=%s; git status --short')).toEqual([
        target,
        'Second',
        'First',
      ])
      expect(made.state.get().cloned.shallow).toBe(await other.git('rev-parse', 'HEAD'))
    } finally {
      await other.remove()
    }
  })

  test('setup_inputs says what the set-up depends on', async () => {
    const change = { setup_inputs: ['docs/**'] }
    await built({ environment: environment(change) })
    await writeFile(join(repository.path, 'package.json'), '{"name":"changed"}\n')
    await commit('Third')
    expect(await setUps(await started(change))).toBe(1)
    await mkdir(join(repository.path, 'docs/deep'), { recursive: true })
    await writeFile(join(repository.path, 'docs/deep/list'), 'new\n')
    await commit('Fourth')
    expect(await setUps(await started(change))).toBe(2)
  })

  test('what the set-up has changed in the files of the repository stays, or is made again', async () => {
    const change = { setup_commands: [`${SETUP}; echo generated >>README.md`] }
    await built({ environment: environment(change) })
    await writeFile(join(repository.path, 'other.md'), 'other\n')
    await commit('Third')
    const kept = await started(change)
    expect(await setUps(kept)).toBe(1)
    expect(await inside(kept, 'tail -n 1 README.md; cat other.md')).toEqual(['generated', 'other'])
    await writeFile(join(repository.path, 'README.md'), '# Another one\n')
    await commit('Fourth')
    const again = await started(change)
    expect(await setUps(again)).toBe(2)
    expect(await inside(again, 'cat README.md')).toEqual(['# Another one', 'generated'])
  })

  test('a run takes of the disk what it has written, and nothing of the snapshot', async () => {
    const { bytes } = await built({
      environment: environment({ setup_commands: ['head -c 20000000 /dev/urandom >built'] }),
    })
    expect(bytes).toBeGreaterThan(20_000_000)
    const made = await started({ setup_commands: ['head -c 20000000 /dev/urandom >built'] })
    expect(await host.diskUsage(made.ref.runId)).toBeLessThan(5_000_000)
  })

  test('what the set-up has noted of its own place is told the place of the run', async () => {
    const change = {
      setup_commands: [
        `printf '#!/bin/sh\\necho from %s\\n' "$PWD" >built; chmod 755 built; ln -s "$PWD/README.md" lib; pwd >place`,
      ],
    }
    await built({ environment: environment(change) })
    const made = await started(change)
    expect(await inside(made, './built; head -n 1 lib')).toEqual([
      `from ${inRun(made, 'workspace/project')}`,
      '# A sample',
    ])
    await collect(made, false)
    expect(patch).toBe('')
  })

  test('a checkpoint is put over a prepared start, at the commit that the run had begun with', async () => {
    await built()
    const lost = await started()
    const began = lost.state.get().cloned.project
    await inside(
      lost,
      'echo agent >>README.md; echo new >new; echo changed >built; git add new; git -c user.name=a -c user.email=a@b commit -q -m Agent',
    )
    await checkpoint(lost)
    const { runId: id } = lost.ref
    await host.remove(id)
    await writeFile(join(repository.path, 'README.md'), '# Changed\n')
    await commit('Third')
    await built()
    told = []
    const order = { execution: 2, has_checkpoint: true, former: { execution: 1, host_id: 'other' } }
    const made = await execution({}, { id, order })
    made.ref.execution = 2
    await prepare(made)
    expect(await setUps(made)).toBe(1)
    expect(told[0]).toMatch(/^Started from the prepared environment/)
    expect(made.state.get().cloned.project).toBe(began)
    expect(await inside(made, 'cat README.md new built; git log --format=%s; git status --short')).toEqual([
      '# A sample',
      'agent',
      'new',
      'changed',
      'Agent',
      'Second',
      'First',
      ' M README.md',
    ])
  })

  test('where nothing can be mounted, a run gets a copy', async () => {
    await built()
    deps.beginner = createBeginner(deps.runsDirectory, { sees: async () => false })
    const made = await started()
    expect(existsSync(inRun(made, 'layers'))).toBe(false)
    expect(await setUps(made)).toBe(1)
    await writeFile(join(repository.path, 'README.md'), '# Changed\n')
    await commit('Third')
    expect(await inside(await started(), 'cat README.md built; git status --short')).toEqual(['# Changed', 'built'])
  })

  test('whoever finds nothing built sets up alone, says so, and has it built', async () => {
    const made = await started()
    expect(await setUps(made)).toBe(1)
    expect(asked).toEqual(['missing'])
    expect(told[0]).toMatch(/^Set up from the start: nothing was built ahead of it/)
  })

  test('a run that waits for its environment starts from it, or fails for what the build failed of', async () => {
    const finish = async (end: (order: BuildOrder) => Promise<void>) => {
      const waiting = started({}, { wait: true })
      waiting.catch(() => {}) // Looked at by the caller.
      await expect.poll(() => told).not.toEqual([])
      const [order] = builds.values()
      expect(told).toEqual([
        `Waiting for the environment to be built (build ${order?.build_id}). Its log: \`ambient environments log e ${order?.build_id}\``,
      ])
      if (order !== undefined) await end(order)
      return waiting
    }
    const failure = { code: 'setup_command_failed', message: 'No.', exitCode: 7, logTail: 'why', nextStep: 'Mend it.' }
    const failed = finish(async (order) => void Object.assign(order, { state: 'FAILED', failure }))
    await expect(failed).rejects.toMatchObject({
      failure: {
        ...failure,
        nextStep: expect.stringMatching(
          /^Mend it\. The log of the build: `ambient environments log e [0-9a-f-]{36}` \(GET /,
        ),
      },
    })
    builds.clear()
    told = []
    const made = await finish(async (order) => {
      await buildEnvironment(deps, order.build_id, { interrupt: never, detach: never }, turns)
      order.state = 'READY'
    })
    expect(await setUps(made)).toBe(1)
    expect(made.state.get().prepared?.kind).toBe('done')
  })

  test('a build that fails says which command it was, how it ended and what it said last', async () => {
    const outcome = await build({ environment: environment({ setup_commands: ['true', 'echo because; exit 3'] }) })
    expect(outcome).toMatchObject({
      kind: 'failed',
      failure: { code: 'setup_command_failed', command: 'echo because; exit 3', exitCode: 3, logTail: 'because' },
    })
    expect(logged).toContain('because')
    expect(await readdir(join(directory, 'runs'))).not.toContain([...builds.keys()][0])
  })

  test('the same is built once, however many ask, and anew when that is wanted', async () => {
    const [one, other] = await Promise.all([built(), built()])
    expect([one.reused, other.reused].sort()).toEqual([false, true])
    expect(other.key).toBe(one.key)
    const forced = await built({ force: true })
    expect(forced).toMatchObject({ key: one.key, reused: false })
    expect(await deps.snapshots.list()).toHaveLength(2)
  })

  test('a build goes on where a killed worker left it', async () => {
    const order = newBuild()
    const detach = new AbortController()
    // Killed when the set-up has run.
    const dying = { ...deps, snapshots: { ...deps.snapshots, keep: () => Promise.reject(new Error('dead')) } }
    const signals = { interrupt: never, detach: detach.signal }
    await expect(buildEnvironment(dying, order.build_id, signals, turns)).rejects.toThrow('dead')
    // And once more when half of it was moved.
    const { root, workspace } = openRunState(deps.runsDirectory, order.build_id).paths
    const aside = join(directory, 'snapshots', `.making-${order.build_id}`)
    await mkdir(aside, { recursive: true })
    await run('mv', [workspace, join(aside, 'workspace')])
    expect(existsSync(root)).toBe(true)
    const outcome = await buildEnvironment(deps, order.build_id, { interrupt: never, detach: never }, turns)
    expect(outcome).toMatchObject({ kind: 'ready', result: { reused: false } })
    expect(await setUps(await started())).toBe(1)
    expect(existsSync(root)).toBe(false)
  })

  test('a prepared start that is given up begins from nothing, also where its worker is killed in the middle', async () => {
    await built()
    await mkdir(join(repository.path, '.devcontainer'))
    await writeFile(join(repository.path, '.devcontainer/devcontainer.json'), '{}')
    await commit('Third')
    const { beginner } = deps
    const made = await execution()
    let clears = 0
    deps.beginner = {
      ...beginner,
      async clear(paths) {
        await beginner.clear(paths)
        clears += 1
        throw new Error('dead')
      },
    }
    await expect(prepare(made)).rejects.toThrow('dead')
    deps.beginner = beginner
    expect(clears).toBe(1)
    // What it was given up for is no more.
    await repository.git('reset', '--quiet', '--hard', 'HEAD~1')
    await prepare({ ...made, state: openRunState(deps.runsDirectory, made.ref.runId) })
    expect(await readdir(inRun(made, 'workspace/project'))).toContain('README.md')
    expect(await setUps(made)).toBe(1)
  })

  test('what a start that was killed has copied from a snapshot is not taken for a clone', async () => {
    await built()
    deps.beginner = createBeginner(deps.runsDirectory, { sees: async () => false })
    const made = await execution()
    const [snapshot] = await deps.snapshots.list()
    if (snapshot === undefined) throw new Error('nothing was built')
    await createRunDirectory(deps.runsDirectory, made.ref.runId, host.owner)
    await deps.beginner.begin(made.state.paths, snapshot, never)
    await writeFile(inRun(made, 'workspace/project/planted'), '')
    await deps.snapshots.trim(0, Date.now() + 3_600_000)
    await prepare(made)
    expect(await readdir(inRun(made, 'workspace/project'))).not.toContain('planted')
    expect(await setUps(made)).toBe(1)
  })

  test('a run that was killed before it knew what is new goes on cold where its snapshot is gone', async () => {
    await built()
    deps.beginner = createBeginner(deps.runsDirectory, { sees: async () => false })
    const made = await execution()
    const ended = {
      ...made,
      deps: { ...deps, snapshots: { ...deps.snapshots, ofBuild: () => Promise.reject('dead') } },
    }
    await expect(prepare(ended)).rejects.toBe('dead')
    // Of such a workspace nothing is kept: its commit is not the one to work on.
    expect(await checkpoint(made)).toBe('unchanged')
    expect(await deps.snapshots.trim(0, Date.now() + 3_600_000)).toHaveLength(1)
    await prepare({ ...made, state: openRunState(deps.runsDirectory, made.ref.runId) })
    expect(await setUps(made)).toBe(1)
    expect(told).toContainEqual(expect.stringMatching(/^Set up from the start: what it was begun from/))
  })

  test('a push that changes an input of the set-up has it built anew, once', async () => {
    await built()
    await started()
    const pushes = createPushWatch(deps)
    await writeFile(join(repository.path, 'README.md'), '# Changed\n')
    await commit('Third')
    await pushes.look(never)
    expect(asked).toEqual([])
    await writeFile(join(repository.path, 'package.json'), '{"name":"changed"}\n')
    await commit('Fourth')
    await pushes.look(never)
    await pushes.look(never)
    expect(asked).toEqual(['push'])
    // The answer was a build that had cloned before the push.
    const [snapshot] = await deps.snapshots.list()
    const former = join(directory, 'snapshots', String(snapshot?.id))
    const late = randomUUID()
    await run('cp', ['-a', former, join(directory, 'snapshots', late)])
    const meta = { ...snapshot, id: late, created_at: new Date().toISOString() }
    await writeFile(join(directory, 'snapshots', late, 'meta.json'), JSON.stringify(meta))
    await pushes.look(never)
    expect(asked).toEqual(['push', 'push'])
  })

  test('a repository whose history was replaced is brought to what it is now', async () => {
    await built()
    await repository.git('commit', '--quiet', '--amend', '--message', 'Rewritten')
    const target = await repository.git('rev-parse', 'HEAD')
    const made = await started()
    expect(await inside(made, 'git rev-parse HEAD; git status --short')).toEqual([target])
  })

  test('snapshots beyond the limit go, those unused longest first, and never one that a run lies over', async () => {
    const later = Date.now() + 3_600_000
    const one = await built()
    const made = await started()
    const other = await built({ environment: environment({ env: { A: '1' } }) })
    expect(other.key).not.toBe(one.key)
    await mkdir(join(directory, 'snapshots', `.making-${randomUUID()}`))
    expect(await deps.snapshots.trim(1e12, later)).toEqual([])
    expect(await readdir(join(directory, 'snapshots'))).toHaveLength(2)
    expect(await deps.snapshots.trim(0, later)).toMatchObject([{ key: other.key }])
    expect(await snapshotOf(one.key)).not.toBe(null)
    await host.remove(made.ref.runId)
    expect(await deps.snapshots.trim(0, later)).toMatchObject([{ key: one.key }])
    expect(await readdir(join(directory, 'snapshots'))).toEqual([])
  })

  test('from a snapshot that cannot be laid under a run, or is damaged, none starts: it sets itself up and says so', async () => {
    const { key } = await built()
    const { beginner } = deps
    deps.beginner = {
      ...beginner,
      async begin(...args) {
        await beginner.begin(...args)
        throw new Error('no more mounts')
      },
    }
    expect(await setUps(await started())).toBe(1)
    expect(told[0]).toContain('cannot be used on this host')
    deps.beginner = beginner
    const snapshot = await snapshotOf(key)
    await rm(join(snapshot?.directory ?? '', 'home'), { recursive: true })
    const made = await started()
    expect(await setUps(made)).toBe(1)
    expect(asked).toEqual(['missing', 'missing'])
    expect((await stat(inRun(made, 'workspace'))).isDirectory()).toBe(true)
  })
})
