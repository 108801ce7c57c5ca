// What it takes to keep the work of a turn off its host, and to begin another run from there.
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { checkpoint } from '../activities/host/checkpoint.ts'
import type { HostDeps } from '../activities/host/deps.ts'
import { openExecution } from '../activities/host/execution.ts'
import { prepare } from '../activities/host/prepare.ts'
import { createHostServer } from '../activities/host/server.ts'
import { createDirectHost } from '../environments/direct/host.ts'
import { createDockerHost } from '../environments/docker/host.ts'
import type { Host } from '../environments/host.ts'
import { createHostMetrics } from '../telemetry/host-metrics.ts'
import { HOST, startTestApi, type TestApi } from '../test/support/api.ts'
import { testGitAccess } from '../test/support/git-access.ts'
import { startOwnPostgres } from '../test/support/postgres-cluster.ts'
import { testPrepared } from '../test/support/prepared.ts'
import { heading, median, print, spread } from './report.ts'

interface Size {
  name: string
  files: number
  changed: number
  /** In milliseconds: for a checkpoint, and for a fork. */
  targets: { checkpoint: number; fork: number }
}

const sizes: readonly Size[] = [
  { name: '20 files, 5 changed', files: 20, changed: 5, targets: { checkpoint: 1_000, fork: 2_000 } },
  { name: '5,000 files, 100 changed', files: 5_000, changed: 100, targets: { checkpoint: 2_000, fork: 5_000 } },
]

const log = pino({ level: 'silent' })
const signals = { interrupt: new AbortController().signal, detach: new AbortController().signal }

export async function measureCheckpoint(
  kind: Host['kind'],
  samples: number,
  cleanUp: AsyncDisposableStack,
): Promise<void> {
  const postgres = await startOwnPostgres()
  cleanUp.defer(() => postgres.stop())
  const api = await startTestApi({ databaseUrl: await postgres.databaseUrl() })
  cleanUp.defer(() => api.close())
  for (const size of sizes) await measureSize(kind, size, samples, api, cleanUp)
}

async function measureSize(
  kind: Host['kind'],
  size: Size,
  samples: number,
  api: TestApi,
  cleanUp: AsyncDisposableStack,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'ambient-bench-'))
  cleanUp.defer(() => rm(directory, { recursive: true, force: true }))
  const source = await makeRepository(join(directory, 'project'), size.files)
  const deps = await machine(kind, directory, api)
  const runs: string[] = []
  cleanUp.defer(async () => {
    for (const runId of runs) await deps.host.remove(runId)
  })
  const begin = async (body: object): Promise<{ runId: string; ms: number }> => {
    const begun = performance.now()
    const runId = await start(api, body)
    runs.push(runId)
    await api.hold(runId, { as: { id: deps.hostId } })
    await prepare(await openExecution(deps, { runId, execution: 1 }, signals))
    return { runId, ms: performance.now() - begun }
  }

  const environment = { repos: [{ url: `file://${source}`, path: 'project' }] }
  const config = { harness: { type: 'command', command: ['true'] } }
  const { runId } = await begin({ prompt: 'x', config, environment })
  const worked = join(deps.runsDirectory, runId, 'workspace/project')
  const bare = join(directory, 'bare')
  git(directory, 'clone', '-q', source, bare)
  const keep = async () => void (await checkpoint(await openExecution(deps, { runId, execution: 1 }, signals)))
  const times = { checkpoint: [], stash: [], unchanged: [], fork: [], clone: [] } as Record<string, number[]>
  // The first round warms up, and is not counted.
  for (let round = 0; round <= samples; round++) {
    for (const place of [worked, bare]) await change(place, size.changed, round)
    const measured = {
      stash: await timed(() => stashByHand(bare, directory)),
      checkpoint: await timed(keep),
      unchanged: await timed(keep),
      clone: await timed(() => cloneByHand(source, directory, round)),
      fork: (await begin({ prompt: 'x', fork_from: { run_id: runId } })).ms,
    }
    if (round > 0) for (const [name, ms] of Object.entries(measured)) times[name]?.push(ms)
  }
  report(kind, size, times)
}

function report(kind: Host['kind'], { name, targets }: Size, times: Record<string, number[]>): void {
  const of = (what: string) => times[what] ?? []
  const line = (text: string, what: string, target: number | null) =>
    print({ name: text, value: median(of(what)), unit: 'ms', target, note: spread(of(what)) })
  heading(`A checkpoint and a fork, ${name}, ${kind} host`)
  line('baseline: git stash create, and a tar of what changed', 'stash', null)
  line('a checkpoint, stored: median', 'checkpoint', targets.checkpoint)
  line('one of which nothing has changed: median', 'unchanged', null)
  line('baseline: git clone, and that tar unpacked', 'clone', null)
  line('a fork, from its request to its sandbox: median', 'fork', targets.fork)
}

async function machine(kind: Host['kind'], directory: string, api: TestApi): Promise<HostDeps> {
  const runsDirectory = join(directory, 'runs')
  await mkdir(runsDirectory)
  const common = { runsDirectory, nodePath: process.execPath, log, path: process.env.PATH }
  const limits = { memoryMb: 2048, cpus: 2, pids: 512 }
  const host =
    kind === 'docker'
      ? await createDockerHost({ ...common, image: 'ambient-base:latest', limits })
      : await createDirectHost(common)
  return {
    hostId: HOST.id,
    host,
    server: createHostServer({ url: api.url, key: HOST.key, hostId: HOST.id, secret: HOST.secret, log }),
    log,
    runsDirectory,
    agentsDirectory: join(directory, 'agents'),
    gatewayUrl: '',
    brokerUrl: '',
    bindsCredentials: false,
    git: await testGitAccess(directory),
    ...testPrepared(runsDirectory, host),
    capacity: 100,
    metrics: createHostMetrics(new Registry(), async () => ({ capacity: 100, held: 0, draining: false })),
    onDraining: () => {},
    diskBytes: 1024 ** 3,
    resultBytes: 1024 ** 2,
    checkpointBytes: 100 * 1024 ** 2,
  }
}

async function start(api: TestApi, body: object): Promise<string> {
  const { status, body: answer } = await api.call('POST', '/agent/runs', body)
  if (status !== 200) throw new Error(`the run was refused: ${status} ${JSON.stringify(answer)}`)
  return answer.run_id
}

async function timed(work: () => void | Promise<void>): Promise<number> {
  const begun = performance.now()
  await work()
  return performance.now() - begun
}

const identity = ['-c', 'user.name=Bench', '-c', 'user.email=bench@localhost']
const git = (cwd: string, ...args: string[]) =>
  execFileSync('git', [...identity, '-c', 'safe.directory=*', ...args], { cwd, encoding: 'utf8' })

const nameOf = (index: number) => `directory-${index % 50}/file-${index}.txt`
const content = (index: number, round: number) => `${index} ${round}\n`.repeat(100)

async function makeRepository(path: string, files: number): Promise<string> {
  for (let index = 0; index < files; index++) {
    const file = join(path, nameOf(index))
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, content(index, -1))
  }
  git(path, 'init', '-q', '-b', 'main')
  git(path, 'add', '.')
  git(path, 'commit', '-q', '-m', 'all')
  return path
}

async function change(path: string, files: number, round: number): Promise<void> {
  for (let index = 0; index < files; index++) await writeFile(join(path, nameOf(index)), content(index, round))
}

function stashByHand(path: string, directory: string): void {
  const script = 'git stash create >/dev/null && git diff --name-only | tar -czf "$0" -T -'
  execFileSync('sh', ['-ec', script, join(directory, 'changes.tar.gz')], {
    cwd: path,
    env: {
      ...process.env,
      GIT_AUTHOR_NAME: 'b',
      GIT_AUTHOR_EMAIL: 'b',
      GIT_COMMITTER_NAME: 'b',
      GIT_COMMITTER_EMAIL: 'b',
    },
  })
}

function cloneByHand(source: string, directory: string, round: number): void {
  const clone = join(directory, `clone-${round}`)
  git(directory, 'clone', '-q', '--no-hardlinks', source, clone)
  execFileSync('tar', ['-xzf', join(directory, 'changes.tar.gz')], { cwd: clone })
}
