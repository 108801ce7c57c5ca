// One Ambient with hosts of both kinds: the supervisor's, with containers, and one that joined it, with processes.
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from '../../config.ts'
import type { WorkerItem } from '../../domain/worker.ts'
import { startProgram } from '../../workers/start/running.ts'
import { supervise } from '../../workers/start/supervise.ts'
import { AGENT_CACHE } from './caches.ts'
import { endKeptSandboxes, type Part, type Stack, startStack } from './stack.ts'

export const hostKinds = ['direct', 'docker'] as const
export type HostKind = (typeof hostKinds)[number]

/** The `worker_host` of runs in each kind of sandbox. */
export const poolOf: Readonly<Record<HostKind, string>> = { direct: 'direct', docker: 'default' }

/** A host, and where it keeps its runs. */
export interface Place {
  kind: HostKind
  pool: string
  /** The host's data directory. */
  data: string
  pid(): Promise<number>
}

export interface BothHosts {
  stack: Stack
  places: Record<HostKind, Place>
  /** Kills a part with -9, `host` both of them, and waits until there is another one in its place. */
  kill(part: Part): Promise<void>
  stop(): Promise<void>
}

/** Ready when runs of both kinds would be carried out at once. */
export async function startBothHosts(given: Record<string, string> = {}): Promise<BothHosts> {
  // The supervisor's is the one with containers: it has the gateway listen where they find it.
  const env = { ...given, AMBIENT_WORKER_KEY: randomBytes(24).toString('base64url') }
  const stack = await startStack({ host: 'docker', env })
  const scratch = await mkdtemp(join(tmpdir(), 'ambient-joined-'))
  const joined = await joinHost(stack, { kind: 'direct', agents: AGENT_CACHE, data: scratch, env: given }).catch(
    async (error: unknown) => {
      await stack.stop()
      throw error
    },
  )
  const docker: Place = { kind: 'docker', pool: poolOf.docker, data: stack.data, pid: () => stack.pid('host') }
  return {
    stack,
    places: { direct: joined.place, docker },
    async kill(part) {
      await Promise.all([stack.kill(part), part === 'host' ? joined.kill() : null])
    },
    async stop() {
      await joined.stop()
      await stack.stop()
      await rm(scratch, { recursive: true, force: true })
    },
  }
}

export interface JoinedHost {
  place: Place
  /** With -9; resolves once there is another one in its place. */
  kill(): Promise<void>
  stop(): Promise<void>
}

export interface NewHost {
  kind: HostKind
  /** Absent: named as its kind. */
  pool?: string
  /** Where agents' programs are. */
  agents: string
  /** A data directory of its own. */
  data: string
  /** Settings beside those by which it joins. */
  env?: Record<string, string>
}

/**
 * A host for a pool of its own, kept running as the supervisor keeps its parts. Resolves once it takes runs.
 * The stack has AMBIENT_WORKER_KEY among its settings.
 */
export async function joinHost(stack: Stack, { kind, pool = kind, agents, data, env }: NewHost): Promise<JoinedHost> {
  await mkdir(join(data, 'logs'), { recursive: true })
  await symlink(agents, join(data, 'agents'))
  const settings = {
    PATH: process.env.PATH ?? '',
    HOME: process.env.HOME ?? '',
    NODE_COMPILE_CACHE: join(stack.data, 'cache', 'node'),
    AMBIENT_DATA: data,
    AMBIENT_HOST: kind,
    AMBIENT_URL: stack.url,
    AMBIENT_WORKER_KEY: stack.env.AMBIENT_WORKER_KEY ?? '',
    TEMPORAL_ADDRESS: `127.0.0.1:${stack.env.AMBIENT_TEMPORAL_PORT}`,
    AMBIENT_METRICS_PORT: '0',
    ...env,
  }
  const pidFile = join(data, 'host.json')
  const start = () =>
    startProgram({
      command: [join(root, 'bin', 'ambient'), 'host', '--pool', pool],
      env: settings,
      logFile: join(data, 'logs', 'host.log'),
      pidFile,
      graceMs: 6_000,
    })
  const supervised = await supervise({ name: 'joined host', start, onDeath: () => {}, givesUp: () => false })
  const pid = async () => (JSON.parse(await readFile(pidFile, 'utf8')) as { pid: number }).pid
  const isLive = async () => {
    const { body } = await stack.call<{ workers: WorkerItem[] }>('GET', '/api/v1/agent/workers')
    return body.workers.some((worker) => worker.pool === pool && worker.state === 'live')
  }
  await until(isLive).catch(async (error: unknown) => {
    await supervised.stop()
    throw error
  })
  return {
    place: { kind, pool, data, pid },
    async kill() {
      const before = await pid()
      process.kill(before, 'SIGKILL')
      await until(async () => (await pid().catch(() => before)) !== before)
    },
    async stop() {
      await supervised.stop()
      await endKeptSandboxes(data)
    },
  }
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 120_000
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error('the joined host does not come up')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
