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
import { createDirectHost } from '../../environments/direct/host.ts'
import { createHostMetrics } from '../../telemetry/host-metrics.ts'
import { type SampleRepository, sampleRepository } from '../../test/support/repository.ts'
import { checkpoint } from './checkpoint.ts'
import { type HostDeps, openRunState } from './deps.ts'
import type { Execution } from './execution.ts'
import { prepare } from './prepare.ts'
import { restoreWorkspace } from './restore.ts'
import { usableSandbox } from './sandbox.ts'
import { type HostServer, ServerRefusal } from './server.ts'
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
let said: { journal: string; code: unknown; data: Record<string, unknown> }[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-keep-'))
  repository = await sampleRepository()
  runId = randomUUID()
  hosts = []
  kept = join(directory, 'kept')
  saved = 0
  refuses = null
  said = []
})
afterEach(async () => {
  for (const host of hosts) await host.remove(runId)
  await repository.remove()
  await rm(directory, { recursive: true, force: true })
})

const server = {
  async saveCheckpoint(_runId, _execution, file) {
    if (refuses !== null) throw new ServerRefusal(refuses, 'no')
    await copyFile(file, kept)
    saved += 1
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
  const metrics = createHostMetrics(new Registry(), async () => ({ capacity: 1, held: 0, draining: false }))
  return { hostId, host, server, log, metrics, runsDirectory, checkpointBytes: 1024 * 1024 } as HostDeps
}

async function at(
  deps: HostDeps,
  { execution = 1, agent = 'command' as AgentName, ...order }: Partial<ExecutionOrder> = {},
): Promise<Execution> {
  return {
    deps,
    ref: { runId, execution },
    order: {
      run_id: runId,
      execution,
      agent,
      model: null,
      reasoning_level: null,
      command: ['true'],
      policy: null,
      base_prompt: null,
      environment: { repos: [{ url: repository.url, path: 'project' }], setup_commands: [], env: {} },
      prepared: null,
      former: null,
      has_checkpoint: saved > 0,
      transcript_bytes: null,
      disk_bytes: null,
      ...order,
    },
    agent: agents[agent],
    policy: 'allow',
    state: await openRunState(deps.runsDirectory, runId),
    transcript: {
      storedLine: async () => 0,
      record: async () => {},
      notes: (journal) => ({
        async add(kind, data) {
          // As the server does: the same line of a journal is stored once.
          if (kind === 'warning' && !said.some((each) => each.journal === journal)) {
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
  await expect(checkpoint(await at({ ...deps, host: losing }))).rejects.toThrow('exit code 137')
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
      data: { repositories: ['project'], files: true, session: false, message: expect.stringContaining('git ignores') },
    },
  ])
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
