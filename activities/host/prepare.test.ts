import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { agents } from '../../agents/index.ts'
import { installLightAgent, LIGHT_AGENT } from '../../chaos/light-agent/install.ts'
import type { ExecutionOrder, PushResult } from '../../domain/host-api.ts'
import { createRedactor } from '../../domain/vault/redaction.ts'
import { createDirectHost } from '../../environments/direct/host.ts'
import { commitIdentity } from '../../environments/git/repositories.ts'
import type { Host, Sandbox } from '../../environments/host.ts'
import { markedProcesses } from '../../environments/processes.ts'
import { createHostMetrics } from '../../telemetry/host-metrics.ts'
import { executionOrder } from '../../test/support/execution-order.ts'
import { testGitAccess } from '../../test/support/git-access.ts'
import { type SampleRepository, sampleRepository } from '../../test/support/repository.ts'
import { collect } from './collect.ts'
import { type HostDeps, openRunState } from './deps.ts'
import type { Execution } from './execution.ts'
import { prepare } from './prepare.ts'
import type { HostServer } from './server.ts'
import { settle } from './settle.ts'
import { carryOutTurn } from './turn.ts'

const log = pino({ level: 'silent' })
const never = new AbortController().signal
/** Nobody is there. */
const gatewayUrl = 'http://127.0.0.1:9'

let directory: string
let repository: SampleRepository
let host: Host
let runId: string
let warned: unknown[]
let patch: string
let pushed: PushResult | null | undefined
let change: Partial<ExecutionOrder>

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-prepare-'))
  repository = await sampleRepository()
  const runsDirectory = join(directory, 'runs')
  host = await createDirectHost({ runsDirectory, nodePath: process.execPath, log, path: process.env.PATH })
  await installLightAgent(join(directory, 'agents'))
  runId = randomUUID()
  warned = []
  patch = ''
  pushed = undefined
  change = {}
})
afterEach(async () => {
  await host.remove(runId)
  await repository.remove()
  await rm(directory, { recursive: true, force: true })
})

const server = {
  credential: async () => ({ token: 'token', tool_token: null, bound: true }),
  toolCredential: async () => null,
  asked: async () => ({ question: null, stopped: null, files: [], max_file_bytes: 0 }),
  message: async (_runId, id) => ({ message_id: id, text: 'go', decision: null }),
  async result(_runId, _execution, { repositories }) {
    patch = Buffer.from(repositories[0]?.patch ?? '', 'base64').toString()
    pushed = repositories[0]?.push
  },
} as Partial<HostServer> as HostServer

/** A worker comes to the run, with this host or what stands for it. */
async function worker(
  agent: 'command' | typeof LIGHT_AGENT,
  execution = 1,
  by: Host = host,
  interrupt = never,
): Promise<Execution> {
  const metrics = createHostMetrics(new Registry(), async () => ({ capacity: 1, held: 0, draining: false }))
  const runsDirectory = join(directory, 'runs')
  const agentsDirectory = join(directory, 'agents')
  const deps = {
    hostId: 'one',
    host: by,
    server,
    log,
    metrics,
    runsDirectory,
    agentsDirectory,
    resultBytes: 1e6,
    gatewayUrl,
    git: await testGitAccess(directory),
  }
  return {
    deps: deps as Partial<HostDeps> as HostDeps,
    ref: { runId, execution },
    order: executionOrder({
      ...{ run_id: runId, execution, agent },
      environment: { repos: [{ url: repository.url, path: 'project' }] },
      ...change,
    }),
    agent: agents[agent],
    policy: 'allow',
    redactor: createRedactor([]),
    state: openRunState(runsDirectory, runId),
    transcript: {
      storedLine: async () => 0,
      record: async () => {},
      notes: () => ({
        async add(kind, data) {
          if (kind === 'warning') warned.push(data.code)
        },
      }),
    },
    signals: { interrupt, detach: never },
    stop: interrupt,
  }
}

/** The host, as far as a worker gets with it that dies when it comes to this. */
function dyingAt(dies: (sandbox: Sandbox) => Sandbox): Host {
  return {
    ...host,
    open: async (spec) => dies(await host.open(spec)),
    find: async (id, generation) => {
      const sandbox = await host.find(id, generation)
      return sandbox && dies(sandbox)
    },
  }
}

const dead = () => Promise.reject(new Error('the worker is dead'))

const dyingAtSession = () =>
  dyingAt((sandbox) => ({
    ...sandbox,
    startAgent: async (program) => ({ ...(await sandbox.startAgent(program)), write: dead }),
  }))

test('what a command changes is told, although a worker died before it had noted how the repositories were', async () => {
  const dying = dyingAt((sandbox) => ({
    ...sandbox,
    job: (spec) => (spec.id.startsWith('start-snapshot') ? dead() : sandbox.job(spec)),
  }))
  await expect(prepare(await worker('command', 1, dying))).rejects.toThrow('dead')
  await prepare(await worker('command'))
  await writeFile(join(directory, 'runs', runId, 'workspace/project/README.md'), 'changed\n')
  await collect(await worker('command'), false)
  expect(patch).toContain('+changed')
})

test('what a command commits is in the name of the person who asked, and is pushed and told at the end', async () => {
  const script =
    'git switch -q --detach; git switch -q agent/work; echo new >new; git add new; git commit -q -m "Add a file"'
  change = {
    command: ['/bin/sh', '-ec', script],
    environment: {
      repos: [{ url: repository.url, path: 'project', push_branch: 'agent/work' }],
      setup_commands: [],
      env: {},
    },
    commit_identity: { name: 'Ada Lovelace', email: 'ada@example.com' },
  }
  await prepare(await worker('command'))
  const turn = { kind: 'prompt', messageId: randomUUID() } as const
  expect(await carryOutTurn(await worker('command'), turn)).toMatchObject({ kind: 'ended' })
  await collect(await worker('command'), false)
  expect(pushed).toBeNull()
  // The worker was killed before it could say what came of it: the next one pushes again, and nothing changes.
  for (let attempt = 0; attempt < 2; attempt++) {
    await collect(await worker('command'), true)
    expect(pushed).toMatchObject({ branch: 'agent/work', outcome: 'pushed', message: null })
    expect(await repository.git('log', '--format=%an %ae %cn %s', 'main..agent/work')).toBe(
      'Ada Lovelace ada@example.com Ada Lovelace Add a file',
    )
  }
  expect(warned).toEqual([])
  // A submodule at a commit that nobody else has: the branch is pushed, and that is told.
  const addPart =
    'git init -q part; git -C part commit -q --allow-empty -m part; git add part; git commit -q -m "With a part"'
  await execa('sh', ['-ec', addPart], {
    cwd: join(directory, 'runs', runId, 'workspace/project'),
    env: commitIdentity(null),
  })
  await collect(await worker('command', 2), true)
  expect(pushed).toMatchObject({ outcome: 'pushed', message: expect.stringMatching(/: part at [0-9a-f]{12}\.$/) })
  expect(warned).toEqual(['push_incomplete'])
  await repository.git('checkout', '-q', 'agent/work')
  await repository.git('reset', '-q', '--hard', 'main')
  await repository.git('commit', '-q', '--allow-empty', '-m', 'theirs')
  await collect(await worker('command'), true)
  expect(pushed).toMatchObject({ outcome: 'rejected' })
  expect(warned).toEqual(['push_incomplete', 'push_rejected'])
})

test('of a run whose sandbox never came up, nothing is collected that would need one', async () => {
  const opened = vi.fn(dead)
  const made = await worker('command', 1, { ...host, open: opened })
  await expect(prepare(made)).rejects.toThrow('the worker is dead')
  const deps = { ...made.deps, server: { ...server, order: async () => made.order } }
  const end = { stop: true, collect: true, sandbox: 'give_up', keepWorkspace: true } as const
  await settle(deps, { ...made.ref, ...end }, made.signals)
  expect(opened).toHaveBeenCalledOnce()
})

test('a restored agent gets its session, although a worker died between its start and that', async () => {
  await prepare(await worker(LIGHT_AGENT))
  const { sessionId } = (await worker(LIGHT_AGENT)).state.get()
  await host.stop(runId)
  await expect(prepare(await worker(LIGHT_AGENT, 2, dyingAtSession()))).rejects.toThrow('dead')
  expect(await prepare(await worker(LIGHT_AGENT, 2))).toBe('restored')
  expect(await prepare(await worker(LIGHT_AGENT, 2))).toBe('kept')
  expect((await worker(LIGHT_AGENT, 2)).state.get().sessionId).toBe(sessionId)
  const journal = await readFile(join(directory, 'runs', runId, 'agents/2/stdout'), 'utf8')
  expect(journal.match(/"id":"load:\d+","result"/g)).toHaveLength(1)
  expect(warned).toEqual([])
})

test('a message waits for its agent to have its session, although a worker died between its start and that', async () => {
  await prepare(await worker(LIGHT_AGENT))
  // It did not stop when its former turn was interrupted.
  await host.stop(runId)
  const turn = { kind: 'prompt', messageId: randomUUID() } as const
  await expect(carryOutTurn(await worker(LIGHT_AGENT, 1, dyingAtSession()), turn)).rejects.toThrow('dead')
  const interrupt = new AbortController()
  const outcome = carryOutTurn(await worker(LIGHT_AGENT, 1, host, interrupt.signal), turn)
  outcome.catch(() => {}) // Looked at below.
  const heard = () => readFile(join(directory, 'runs', runId, 'home/.light/journal.jsonl'), 'utf8')
  await expect.poll(heard, { timeout: 20_000 }).toContain('"what":"prompt"')
  interrupt.abort(new Error('enough'))
  await expect(outcome).rejects.toThrow('enough')
  expect(await heard()).toContain('"stopReason":"cancelled"')
})

test('a message is for another agent when this one does not end the turn of the message before it', async () => {
  await prepare(await worker(LIGHT_AGENT))
  const prompt = () => ({ kind: 'prompt', messageId: randomUUID() }) as const
  const dies = new AbortController()
  const first = await worker(LIGHT_AGENT)
  const died = carryOutTurn(
    { ...first, signals: { interrupt: never, detach: dies.signal }, stop: dies.signal },
    prompt(),
  )
  died.catch(() => {}) // Looked at below.
  const heard = () => readFile(join(directory, 'runs', runId, 'home/.light/journal.jsonl'), 'utf8')
  await expect.poll(heard).toContain('"what":"prompt"')
  dies.abort(new Error('the worker is dead'))
  await expect(died).rejects.toThrow('the worker is dead')

  for (const pid of (await markedProcesses()).get(runId) ?? []) process.kill(pid, 'SIGSTOP')
  const second = await worker(LIGHT_AGENT)
  const saving = { ...server, saveCheckpoint: async () => {} } as HostServer
  const outcome = await carryOutTurn(
    { ...second, deps: { ...second.deps, server: saving, checkpointBytes: 1e6 } },
    prompt(),
  )
  expect(outcome).toMatchObject({ kind: 'failed', failure: { code: 'sandbox_lost' } })
})
