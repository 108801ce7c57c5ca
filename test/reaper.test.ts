// What a host has and should not have, by the word of a real server: ended and removed, whatever it is.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Docker from 'dockerode'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createHoldings } from '../activities/host/holdings.ts'
import { createHostServer, type HostServer } from '../activities/host/server.ts'
import { createDirectHost } from '../environments/direct/host.ts'
import { createDockerHost } from '../environments/docker/host.ts'
import type { Host, Sandbox } from '../environments/host.ts'
import { endOtherKind } from '../environments/other-kind.ts'
import { sweepOnce } from '../workers/host-attendance.ts'
import { HOST, startTestApi, type TestApi } from './support/api.ts'
import { leftovers } from './support/leftovers.ts'
import { startTestPostgres, type TestPostgres } from './support/postgres.ts'
import { givenRun } from './support/runs.ts'

const log = pino({ level: 'silent' })
const docker = new Docker()
const never = new AbortController().signal
/** An image that makes a volume for every container. */
const IMAGE = 'ambient-test-volume'
/** An agent whose children leave its session and do not heed a SIGTERM. */
const AGENT = ['/bin/sh', '-c', `(setsid sh -c 'trap "" TERM; sleep 987654 & wait' &); echo up; exec sleep 987654`]

let postgres: TestPostgres
let api: TestApi
let server: HostServer

beforeAll(async () => {
  const build = spawn('docker', ['build', '-q', '-t', IMAGE, '-'], {
    stdio: ['pipe', 'ignore', 'ignore'],
    env: { ...process.env, DOCKER_BUILDKIT: '0' },
  })
  build.stdin.end('FROM ambient-base\nVOLUME /data\n')
  await once(build, 'exit')
  postgres = await startTestPostgres()
  api = await startTestApi({ databaseUrl: await postgres.databaseUrl() })
  server = createHostServer({ url: api.url, key: HOST.key, hostId: HOST.id, secret: HOST.secret, log })
  await server.report(
    {
      pool: 'default',
      kind: 'docker',
      version: '1',
      capacity: 1,
      in_use: 0,
      egress: null,
      cpus: null,
      memory_mb: null,
    },
    never,
  )
})
afterAll(async () => {
  await api?.close()
  await postgres?.stop()
  await docker.getImage(IMAGE).remove({ force: true })
})

const makers: Record<Host['kind'], (runsDirectory: string) => Promise<Host>> = {
  direct: (runsDirectory) => createDirectHost({ runsDirectory, nodePath: process.execPath, log }),
  docker: (runsDirectory) =>
    createDockerHost({
      runsDirectory,
      nodePath: process.execPath,
      image: IMAGE,
      limits: { memoryMb: 512, cpus: 2, pids: 256 },
      log,
    }),
}

async function atWork(host: Host, runId: string = randomUUID()): Promise<Sandbox> {
  const sandbox = await host.open({ runId, generation: 1, image: null, toolkit: null })
  const journal = await sandbox.startAgent({ command: AGENT, env: {}, cwd: '/' })
  for await (const lines of journal.read(0, AbortSignal.timeout(20_000))) if (lines.length > 0) break
  return sandbox
}

/** Volumes that were made for containers over this directory. */
async function volumes(runsDirectory: string): Promise<string[]> {
  const filters = { label: [`ambient.directory=${runsDirectory}`] }
  const containers = await docker.listContainers({ all: true, filters })
  return containers.flatMap(({ Mounts }) =>
    Mounts.flatMap(({ Type, Name }) => (Type === 'volume' && Name ? [Name] : [])),
  )
}

describe.each(Object.keys(makers) as Host['kind'][])('a %s host', (kind) => {
  let runsDirectory: string
  let host: Host

  beforeAll(async () => {
    runsDirectory = await mkdtemp(join(tmpdir(), `ambient-reaper-${kind}-`))
    host = await makers[kind](runsDirectory)
  })
  afterAll(async () => {
    for (const { runId } of await host.list()) await host.remove(runId)
    await rm(runsDirectory, { recursive: true, force: true })
  })

  async function given(change: object): Promise<string> {
    const { runId } = await givenRun(api.db)
    const over = { state: 'SUCCEEDED', host_id: HOST.id, finished_at: new Date(Date.now() - 3_600_000) } as const
    await api.db
      .updateTable('runs')
      .set({ ...over, ...change })
      .where('id', '=', runId)
      .execute()
    await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '=', runId).execute()
    return runId
  }

  test('ends and removes what it should not have: processes, containers, volumes and directories', async () => {
    const kept = { workspace_kept: true, workspace_until: new Date(Date.now() + 3_600_000) }
    const gone = await given({})
    // As when the host could not be told to give it up: recorded as gone, and still at work.
    const givenUp = await given({ ...kept, sandbox_running: false })
    const busy = await given({ state: 'INPROGRESS', finished_at: null, sandbox_running: true })
    const unknown = randomUUID()
    for (const runId of [gone, givenUp, busy, unknown]) await atWork(host, runId)
    // Nothing but what runs is left of it.
    await rm(join(runsDirectory, unknown), { recursive: true })
    const made = await volumes(runsDirectory)
    expect(made).toHaveLength(kind === 'docker' ? 4 : 0)

    const holdings = createHoldings({ host, capacity: 10 })
    await sweepOnce({ host, server, log, handOver: async () => {} }, holdings, never)

    for (const runId of [gone, givenUp, unknown]) expect(await leftovers(runId)).toEqual([])
    expect(await leftovers(busy)).not.toEqual([])
    expect((await readdir(runsDirectory)).filter((name) => !name.endsWith('.json')).toSorted()).toEqual(
      [givenUp, busy].toSorted(),
    )
    const left = await volumes(runsDirectory)
    expect(left).toHaveLength(kind === 'docker' ? 1 : 0)
    const { Volumes } = await docker.listVolumes()
    expect(Volumes.map(({ Name }) => Name).filter((name) => made.includes(name))).toEqual(left)
    // What was given back counts no more.
    expect(await holdings.count()).toBe(1)
  })

  test('ends what the other kind has left, keeps the files, and goes on over them', async () => {
    const otherKind = kind === 'docker' ? 'direct' : 'docker'
    const other = await makers[otherKind](runsDirectory)
    const former = await atWork(other)
    const { runId } = former
    const job = await former.job({
      id: 'note',
      command: ['/bin/sh', '-c', 'echo kept >"$HOME/note"'],
      env: {},
      cwd: '/',
    })
    for await (const _ of job.read(0, AbortSignal.timeout(20_000)));
    const own = await atWork(host)

    expect(await endOtherKind(kind, { runsDirectory, image: 'ambient-base:latest' })).toEqual([runId])
    expect(await leftovers(runId)).toEqual([])
    expect(await own.isRunning()).toBe(true)

    expect(await host.find(runId, 1)).toBeNull()
    const next = await host.open({ runId, generation: 2, image: null, toolkit: null })
    const script = 'cat "$HOME/note" && echo more >>"$HOME/note"'
    const again = await next.job({ id: 'read', command: ['/bin/sh', '-c', script], env: {}, cwd: '/' })
    const lines: string[] = []
    for await (const batch of again.read(0, AbortSignal.timeout(20_000))) lines.push(...batch.map(({ text }) => text))
    expect([lines, (await again.exit())?.code]).toEqual([['kept'], 0])
    // Processes in containers are not the bare machine's, though it sees them.
    expect(await endOtherKind(kind, { runsDirectory, image: 'ambient-base:latest' })).toEqual([])
    expect(await next.isRunning()).toBe(true)
  })
})

test('a host with more runs than one request names asks for all of them', async () => {
  const { runId } = await givenRun(api.db)
  await api.db.updateTable('runs').set({ state: 'SUCCEEDED' }).where('id', '=', runId).execute()
  await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '=', runId).execute()
  const strangers = Array.from({ length: 10_000 }, () => randomUUID())
  const { remove, stop } = await server.sweep([...strangers, runId], never)
  expect(remove).toEqual([runId])
  expect(stop).toHaveLength(10_000)
})
