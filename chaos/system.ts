// Everything of Ambient, on both kinds of host: one host of the supervisor's, one that joined it.
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { joinHost, type Place } from '../test/support/both-hosts.ts'
import { AGENT_CACHE } from '../test/support/caches.ts'
import { type Part, type Stack, startStack } from '../test/support/stack.ts'
import type { Target } from './kills.ts'
import { installLightAgent, LIGHT_AGENT } from './light-agent/install.ts'
import type { ChaosOptions } from './options.ts'
import type { Random } from './random.ts'

export interface System {
  stack: Stack
  places: readonly Place[]
  /** Resolves once the signals are out, and for `machine` once it was started again. False where nothing was running. */
  kill(target: Target, random: Random): Promise<boolean>
  /** Until everything that was killed is up again. */
  healthy(): Promise<void>
  /** Ends all of it. The data stay when they are to be looked at. */
  stop(options: { keepData: boolean }): Promise<void>
}

/** Fewer than are under way: some wait in line. */
const CAPACITY = 6

export async function startSystem({ hosts, agent }: Pick<ChaosOptions, 'hosts' | 'agent'>): Promise<System> {
  // The supervisor's is the one with containers: it has the gateway listen where they find it.
  const [first = 'direct', second] = hosts.toSorted((a, b) => b.localeCompare(a))
  const scratch = await mkdtemp(join(tmpdir(), 'ambient-chaos-'))
  const agents = agent === 'light' ? join(scratch, 'agents') : AGENT_CACHE
  if (agent === 'light') await installLightAgent(agents)
  const env = {
    AMBIENT_CAPACITY: String(CAPACITY),
    AMBIENT_AGENT: agent === 'light' ? LIGHT_AGENT : agent,
    // Known to the second host too.
    AMBIENT_WORKER_KEY: randomBytes(24).toString('base64url'),
  }
  const stack = await startStack({ host: first, env, agents })
  const places: Place[] = [{ kind: first, pool: 'default', data: stack.data, pid: () => stack.pid('host') }]
  const joined =
    second === undefined
      ? null
      : await joinHost(stack, {
          kind: second,
          agents,
          data: join(scratch, 'joined'),
          env: { AMBIENT_CAPACITY: String(CAPACITY) },
        })
  if (joined !== null) places.push(joined.place)

  const killPids = async (pids: Promise<number>[]) => {
    const found = await Promise.all(pids.map((pid) => pid.catch(() => null))) // Not up at this moment.
    return found.map((pid) => pid !== null && killProcess(pid)).includes(true)
  }
  const ofParts = (parts: readonly Part[]) => parts.map((part) => stack.pid(part))
  const ofHosts = () => places.map(({ pid }) => pid())
  const everything = () => [...ofParts(['server', 'gateway', 'worker', 'postgres', 'temporal']), ...ofHosts()]

  return {
    stack,
    places,
    async kill(target, random) {
      switch (target) {
        case 'host':
          return killPids([random.pick(places as [Place, ...Place[]]).pid()])
        case 'all':
          return killPids(everything())
        case 'machine':
          await stack.end('SIGKILL')
          await killPids(everything())
          await stack.startAgain()
          return true
        default:
          return killPids(ofParts([target]))
      }
    },
    async healthy() {
      const deadline = Date.now() + 120_000
      const isHealthy = async () => (await stack.call('GET', '/healthz').catch(() => ({ status: 0 }))).status === 200
      while (!(await isHealthy())) {
        if (Date.now() > deadline) throw new Error('not healthy two minutes after the last kill')
        await new Promise((resolve) => setTimeout(resolve, 200))
      }
    },
    async stop({ keepData }) {
      await joined?.stop()
      await stack.stop({ keepData })
      if (!keepData) await rm(scratch, { recursive: true, force: true })
    },
  }
}

function killProcess(pid: number): boolean {
  try {
    process.kill(pid, 'SIGKILL')
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}
