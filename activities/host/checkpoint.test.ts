import { randomUUID } from 'node:crypto'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { agents } from '../../agents/index.ts'
import type { AgentName } from '../../domain/harness.ts'
import type { ExecutionOrder } from '../../domain/host-api.ts'
import { createRedactor } from '../../domain/vault/redaction.ts'
import { createDirectHost } from '../../environments/direct/host.ts'
import { createHostMetrics } from '../../telemetry/host-metrics.ts'
import { executionOrder } from '../../test/support/execution-order.ts'
import { testGitAccess } from '../../test/support/git-access.ts'
import { type SampleRepository, sampleRepository } from '../../test/support/repository.ts'
import { checkpoint } from './checkpoint.ts'
import { type HostDeps, openRunState } from './deps.ts'
import { checkpointBeforeEnd } from './dispose.ts'
import type { Execution } from './execution.ts'
import { handOverLateRun } from './late.ts'
import { prepare } from './prepare.ts'
import { restoreWorkspace } from './restore.ts'
import { usableSandbox } from './sandbox.ts'
import { type HostServer, ServerRefusal } from './server.ts'
import { carryOutTurn } from './turn.ts'
import { prepareWorkspace } from './workspace.ts'

const log = pino({ level: 'silent' })
const never = new AbortController().signal

let directory: string
let repository: SampleRepository
let runId: string
let hosts: HostDeps['host'][]
/** What the server holds, and what it has been sent. */
let kept: string
let saved: number
let refuses: number | null
let cameLate: object[]
let said: { journal: string; code: unknown; data: Record<string, unknown> }[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-keep-'))
  repository = await sampleRepository()
  runId = randomUUID()
  hosts = []
  kept = join(directory, 'kept')
  saved = 0
  refuses = null
  cameLate = []
  said = []
})
afterEach(async () => {
  for (const host of hosts) await host.remove(runId)
  await repository.remove()
  await rm(directory, { recursive: true, force: true })
})

const server = {
  async saveCheckpoint(_runId, execution, { file, late, summary }) {
    if (refuses !== null) throw new ServerRefusal(refuses, 'no')
    if (late) cameLate.push({ execution, files_changed: summary.repositories[0]?.files_changed })
    else {
      await copyFile(file, kept)
      saved += 1
    }
  },
  async loadCheckpoint(_runId, _execution, file) {
    await copyFile(kept, file)
    return true
  },
} as Partial<HostServer> as HostServer

async function machine(hostId: string): Promise<HostDeps> {
  const runsDirectory = join(directory, hostId)
  await mkdir(runsDirectory)
  const host = await createDirectHost({ runsDirectory, nodePath: process.execPath, log, path: process.env.PATH })
  hosts.push(host)
  const git = await testGitAccess(runsDirectory)
  const metrics = createHostMetrics(new Registry(), async () => ({ capacity: 1, held: 0, draining: false }))
  return { hostId, host, server, log, metrics, runsDirectory, checkpointBytes: 1024 * 1024, git } as HostDeps
}

async function at(
  deps: HostDeps,
  { execution = 1, agent = 'command' as AgentName, ...order }: Partial<ExecutionOrder> = {},
): Promise<Execution> {
  return {
    deps,
    ref: { runId, execution },
    order: executionOrder({
      ...{ run_id: runId, execution, agent },
      environment: { repos: [{ url: repository.url, path: 'project' }] },
      has_checkpoint: saved > 0,
      ...order,
    }),
    agent: agents[agent],
    policy: 'allow',
    redactor: createRedactor([]),
    state: openRunState(deps.runsDirectory, runId),
    transcript: {
      storedLine: async () => 0,
      record: async () => {},
      notes: (journal) => ({
        async add(kind, data) {
          // As the server does: the same line of a journal is stored once.
          if ((kind === 'warning' || data.step === 'fork') && !said.some((each) => each.journal === journal)) {
            said.push({ journal, code: data.code, data })
          }
        },
      }),
    },
    signals: { interrupt: never, detach: never },
    stop: never,
  }
}

const file = (deps: HostDeps, path: string) => join(deps.runsDirectory, runId, 'workspace', path)
const codes = () => said.map(({ code }) => code)

test('what is too large is said once, and kept again when it is small enough', async () => {
  const deps = await machine('one')
  await prepare(await at(deps))
  await checkpoint(await at(deps))
  expect(saved).toBe(1)
  await writeFile(file(deps, 'project/large'), Buffer.from(Array.from({ length: 2e6 }, () => Math.random() * 256)))
  await checkpoint(await at(deps))
  await checkpoint(await at(deps))
  expect(saved).toBe(1)
  expect(codes()).toEqual(['checkpoint_too_large'])
  expect(String(said[0]?.data.message)).toContain('1 MiB (AMBIENT_CHECKPOINT_MB)')
  await rm(file(deps, 'project/large'))
  await checkpoint(await at(deps))
  expect(saved).toBe(2)
  expect(codes()).toEqual(['checkpoint_too_large'])
  expect(await readdir(join(deps.runsDirectory, runId))).not.toContain('checkpoint.archive')
})

test('a server that takes less than this host is no trouble for the run', async () => {
  const deps = await machine('one')
  await prepare(await at(deps))
  refuses = 413
  await checkpoint(await at(deps))
  expect(codes()).toEqual(['checkpoint_too_large'])
  refuses = 400
  await expect(checkpoint(await at(deps))).rejects.toThrow(ServerRefusal)
})

test('one that the server has lost is sent again, though nothing has changed', async () => {
  const deps = await machine('one')
  await prepare(await at(deps))
  await checkpoint(await at(deps))
  await checkpoint(await at(deps))
  expect(saved).toBe(1)
  await checkpoint(await at(deps, { has_checkpoint: false }))
  expect(saved).toBe(2)
})

test('one that loses its sandbox says nothing, and is made by the next one', async () => {
  const deps = await machine('one')
  await prepare(await at(deps))
  const { host } = deps
  const losing: typeof host = {
    ...host,
    async find(id, generation) {
      const sandbox = await host.find(id, generation)
      return (
        sandbox && {
          ...sandbox,
          async job(spec) {
            const journal = await sandbox.job({ ...spec, command: ['sleep', '987654'] })
            await host.stop(id)
            return journal
          },
        }
      )
    },
  }
  await expect(checkpoint(await at({ ...deps, host: losing }))).rejects.toThrow('git could not be asked')
  expect(saved).toBe(0)
  await checkpoint(await at(deps))
  expect(saved).toBe(1)
  expect(codes()).toEqual([])
})

test('nothing is kept of a workspace that is still being made', async () => {
  const deps = await machine('one')
  await prepareWorkspace(await at(deps))
  await checkpoint(await at(deps))
  expect(saved).toBe(0)
})

test('a run that comes without a checkpoint begins anew, and says so', async () => {
  const deps = await machine('two')
  const order = { execution: 2, former: { execution: 1, host_id: 'one' }, has_checkpoint: false }
  expect(await prepare(await at(deps, order))).toBe('fresh')
  expect(codes()).toEqual(['workspace_lost'])
})

test('a checkpoint is put back once, by whoever comes to it, and says what is not in it', async () => {
  const [one, two] = [await machine('one'), await machine('two')]
  await prepare(await at(one))
  await writeFile(file(one, 'project/README.md'), 'changed\n')
  await checkpoint(await at(one))
  const order = { execution: 2, former: { execution: 1, host_id: 'one' } }
  // A predecessor that died after each step but the last.
  await prepareWorkspace(await at(two, order))
  const execution = await at(two, order)
  await execution.state.set({ setupDone: true })
  const sandbox = await usableSandbox(execution)
  await restoreWorkspace(await at(two, order), sandbox)
  await writeFile(file(two, 'project/README.md'), 'changed again\n')
  await restoreWorkspace(await at(two, order), sandbox)
  expect(await readFile(file(two, 'project/README.md'), 'utf8')).toBe('changed again\n')
  expect(said).toMatchObject([
    {
      code: 'workspace_restored',
      data: {
        repositories: ['project'],
        files: true,
        session: false,
        message: expect.stringContaining('Not in it: what was done after'),
      },
    },
  ])
})

test('a checkpoint that a host fetched for an earlier execution, and came to nothing with, is not taken for the newest', async () => {
  const [one, two] = [await machine('one'), await machine('two')]
  await prepare(await at(one))
  await writeFile(file(one, 'project/README.md'), 'changed\n')
  await checkpoint(await at(one))
  // Killed while it cloned.
  await mkdir(join(two.runsDirectory, runId))
  await copyFile(kept, join(two.runsDirectory, runId, 'restore.archive'))
  const third = { execution: 3, former: { execution: 2, host_id: 'one' } }
  await writeFile(file(one, 'project/README.md'), 'changed again\n')
  await checkpoint(await at(one, { execution: 2 }))
  await prepare(await at(two, third))
  expect(await readFile(file(two, 'project/README.md'), 'utf8')).toBe('changed again\n')
})

test("a database of an agent does not go to another directory: the agent's session is missing then, and that is said", async () => {
  const [one, two] = [await machine('one'), await machine('two')]
  const agent = 'opencode'
  await prepareWorkspace(await at(one, { agent }))
  const execution = await at(one, { agent })
  await execution.state.set({ setupDone: true, sessionId: 'ses_1', greetedSession: 'ses_1', messageId: randomUUID() })
  const database = join(one.runsDirectory, runId, 'home/.local/share/opencode')
  await mkdir(database, { recursive: true })
  await writeFile(join(database, 'opencode.db'), 'a database')
  // One that was there before: the sandbox needs no toolkit.
  const generation = 1
  await one.host.open({ runId, generation, image: null, toolkit: null })
  await execution.state.set({ generation })
  await checkpoint(await at(one, { agent }))
  expect(saved).toBe(1)

  const order = { agent, execution: 2, former: { execution: 1, host_id: 'one' } } as const
  await prepareWorkspace(await at(two, order))
  expect((await at(two, order)).state.get()).toMatchObject({ sessionId: null, messageId: null, restoring: true })
  const sandbox = await two.host.open({ runId, generation: 1001, image: null, toolkit: null })
  await restoreWorkspace(await at(two, order), sandbox)
  expect(said).toMatchObject([{ code: 'workspace_restored', data: { session: false } }])
  expect(String(said[0]?.data.message)).toContain('it does not know what was said before')
  expect(await readdir(join(two.runsDirectory, runId, 'home'))).toEqual([])
})

test('no turn begins before what the former one did is kept, however that ended', async () => {
  const deps = await machine('one')
  const talking: HostServer = {
    ...server,
    message: async (_runId, id) => ({ message_id: id, text: 'go on', decision: null }),
    credential: async () => ({ token: 'a token', tool_token: null, bound: true }),
    asked: async () => ({ question: null, stopped: null, files: [], max_file_bytes: 0 }),
  }
  const execution = () =>
    at({ ...deps, server: talking }, { command: ['sh', '-c', 'echo x >>README.md; echo $0', 'x'] })
  await prepare(await execution())
  const turn = async () => carryOutTurn(await execution(), { kind: 'prompt', messageId: randomUUID() })
  await turn()
  expect(saved).toBe(0)
  // The first one's end was an interrupt: the workflow has asked for no checkpoint.
  await turn()
  expect(saved).toBe(1)
  await checkpoint(await execution())
  expect(saved).toBe(2)
  await turn()
  expect(saved).toBe(2)
})

test('a sandbox is not given up before there is a checkpoint of what it has done meanwhile', async () => {
  const deps = await machine('one')
  const order = (await at(deps)).order
  const asked = { ...deps, server: { ...server, order: async () => ({ ...order, has_checkpoint: saved > 0 }) } }
  const end = () => checkpointBeforeEnd(asked, { runId, execution: 1 }, { interrupt: never, detach: never })
  await prepare(await at(deps))
  await checkpoint(await at(deps))
  await end()
  expect(saved).toBe(1)
  await writeFile(file(deps, 'project/README.md'), 'by a program that went on\n')
  await end()
  expect(saved).toBe(2)
  // One that cannot be made is no reason to keep a sandbox.
  refuses = 400
  await writeFile(file(deps, 'project/README.md'), 'and on\n')
  await end()
  expect(saved).toBe(2)
})

test('what only this host had of a run is handed over before it makes way for what another one has', async () => {
  const [one, two] = [await machine('one'), await machine('two')]
  await prepare(await at(one))
  await checkpoint(await at(one))
  await writeFile(file(one, 'project/README.md'), 'never kept\n')
  const onTwo = { execution: 2, former: { execution: 1, host_id: 'one' } }
  await prepare(await at(two, onTwo))
  await writeFile(file(two, 'project/other'), 'by the second\n')
  await checkpoint(await at(two, onTwo))
  const backOnOne = { execution: 3, former: { execution: 2, host_id: 'two' } }
  expect(await prepare(await at(one, backOnOne))).toBe('restored')
  expect(cameLate).toEqual([{ execution: 1, files_changed: 1 }])
  expect(await readFile(file(one, 'project/other'), 'utf8')).toBe('by the second\n')
  expect(await readFile(file(one, 'project/README.md'), 'utf8')).not.toBe('never kept\n')

  // The same where the server says that it is to be removed; nothing is handed over that is stored already.
  const order = (await at(two, onTwo)).order
  const swept = { ...two, server: { ...server, lateOrder: async () => order } }
  await handOverLateRun(swept, runId, never)
  expect(cameLate).toHaveLength(1)
  await writeFile(file(two, 'project/other'), 'and more\n')
  await handOverLateRun(swept, runId, never)
  expect(cameLate).toEqual([expect.anything(), { execution: 2, files_changed: 1 }])
})

test('what could not be handed over is said by the execution that takes its place', async () => {
  const [one, two] = [await machine('one'), await machine('two')]
  await prepare(await at(one))
  await checkpoint(await at(one))
  await prepare(await at(two, { execution: 2, former: { execution: 1, host_id: 'one' } }))
  await writeFile(file(one, 'project/README.md'), 'never kept\n')
  refuses = 400
  said = []
  await prepare(await at(one, { execution: 3, former: { execution: 2, host_id: 'two' } }))
  expect(said[0]).toMatchObject({ code: 'checkpoint_failed', journal: 'late-3' })
  expect(String(said[0]?.data.message)).toContain('What execution 1 did on this host after its last checkpoint')
})

test('a fork begins with the files of the other run, and says where it comes from', async () => {
  const [one, two] = [await machine('one'), await machine('two')]
  await prepare(await at(one))
  await writeFile(file(one, 'project/README.md'), 'as it was then\n')
  await checkpoint(await at(one))
  const source = runId
  runId = randomUUID()
  saved = 0
  const forked_from = { run_id: source, checkpoint: 1, session: 'continue' } as const
  const order = { forked_from, begins_forked: true }
  expect(await prepare(await at(two, order))).toBe('restored')
  expect(await readFile(file(two, 'project/README.md'), 'utf8')).toBe('as it was then\n')
  expect(said).toMatchObject([{ data: { step: 'fork', forked_from } }])
  expect(String(said[0]?.data.text)).toContain(`Forked from run ${source}, checkpoint 1 of `)
  // Its own first one is made though nothing has changed: from then on it does without the other run's.
  await checkpoint(await at(two, order))
  expect(saved).toBe(1)
  for (const host of hosts) await host.remove(source)
})

test('a fork has the session of the other run, unless it is to be fresh', async () => {
  const [one, two] = [await machine('one'), await machine('two')]
  const agent = 'claude'
  await prepareWorkspace(await at(one, { agent }))
  const execution = await at(one, { agent })
  await execution.state.set({ setupDone: true, sessionId: 'a-session', greetedSession: 'a-session' })
  const sessions = join(one.runsDirectory, runId, 'home/.claude/projects/here')
  await mkdir(sessions, { recursive: true })
  await writeFile(join(sessions, 'a-session.jsonl'), `{"cwd":"${one.runsDirectory}/${runId}/workspace"}`)
  await one.host.open({ runId, generation: 1, image: null, toolkit: null })
  await execution.state.set({ generation: 1 })
  await checkpoint(await at(one, { agent }))
  const source = runId
  saved = 0
  for (const session of ['continue', 'fresh'] as const) {
    runId = randomUUID()
    const forked_from = { run_id: source, checkpoint: 1, session }
    await prepareWorkspace(await at(two, { agent, forked_from, begins_forked: true }))
    const { sessionId, restoring } = (await at(two, { agent })).state.get()
    expect([sessionId, restoring]).toEqual([session === 'continue' ? 'a-session' : null, true])
    const home = join(two.runsDirectory, runId, 'home')
    expect(await readdir(home)).toEqual(session === 'continue' ? ['.claude'] : [])
    for (const host of hosts) await host.remove(runId)
  }
  for (const host of hosts) await host.remove(source)
})
