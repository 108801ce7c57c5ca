// How soon everything is up again, and what it holds while it has nothing to do.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { root } from '../config.ts'
import { AGENT_CACHE } from '../test/support/caches.ts'
import { temporalBinary } from '../test/support/temporal.ts'
import { freePort } from '../workers/start/ports.ts'
import { memoryOf, memoryOfTree, partsOf } from './processes.ts'
import { format, heading, median, print, spread, write } from './report.ts'

const TARGET_START_MS = 10_000
const TARGET_MIB = 900
const STARTS = 3
const START_LIMIT_MS = 300_000
const IDLE_MS = 10_000

interface Started {
  pid: number
  /** From its start to /healthz answering 200. */
  milliseconds: number
  stop(): Promise<void>
}

export async function measureIdle(cleanUp: AsyncDisposableStack): Promise<void> {
  const data = await mkdtemp(join(tmpdir(), 'ambient-bench-'))
  cleanUp.defer(() => rm(data, { recursive: true, force: true }))
  await mkdir(AGENT_CACHE, { recursive: true })
  await symlink(AGENT_CACHE, join(data, 'agents'))

  let ambient = await startSupervisor(data, cleanUp)
  const first = ambient.milliseconds
  const later: number[] = []
  while (later.length < STARTS) {
    await ambient.stop()
    ambient = await startSupervisor(data, cleanUp)
    later.push(ambient.milliseconds)
  }
  heading('Start of everything to /healthz answering 200')
  const baseline = 'baseline: the first start, image and agent at hand'
  print({ name: baseline, value: first, unit: 'ms', target: null })
  print({ name: 'a later start', value: median(later), unit: 'ms', target: TARGET_START_MS, note: spread(later) })

  await delay(IDLE_MS)
  await showMemory(data, ambient.pid)
  await ambient.stop()
}

async function startSupervisor(data: string, cleanUp: AsyncDisposableStack): Promise<Started> {
  if (cleanUp.disposed) throw new Error('the measure was broken off')
  const port = await freePort()
  const anyPort = ['AMBIENT_GATEWAY_PORT', 'AMBIENT_POSTGRES_PORT', 'AMBIENT_TEMPORAL_PORT', 'AMBIENT_TEMPORAL_UI_PORT']
  const env = {
    PATH: `${dirname(temporalBinary())}:${process.env.PATH ?? ''}`,
    HOME: process.env.HOME ?? '',
    AMBIENT_DATA: data,
    AMBIENT_PORT: String(port),
    ...Object.fromEntries(anyPort.map((name) => [name, '0'])),
  }
  const began = performance.now()
  const supervisor = spawn(join(root, 'bin', 'ambient'), ['start'], { env, stdio: ['ignore', 'ignore', 'inherit'] })
  const ended = once(supervisor, 'exit')
  const stop = async () => {
    supervisor.kill('SIGTERM')
    await ended
  }
  cleanUp.defer(stop)
  const early = ended.then(() => Promise.reject(new Error('Ambient ended while it was starting')))
  early.catch(() => {}) // Its end later on is wanted.
  await Promise.race([healthy(`http://127.0.0.1:${port}/healthz`), early])
  return { pid: supervisor.pid ?? 0, milliseconds: performance.now() - began, stop }
}

async function healthy(url: string): Promise<void> {
  const limit = AbortSignal.timeout(START_LIMIT_MS)
  while (!limit.aborted) {
    const response = await fetch(url).catch(() => null) // It does not listen yet.
    await response?.body?.cancel()
    if (response?.status === 200) return
    await delay(20)
  }
  throw new Error(`no health within ${START_LIMIT_MS / 1000} s`)
}

async function showMemory(data: string, supervisor: number): Promise<void> {
  const [tree, parts] = await Promise.all([memoryOfTree(supervisor), partsOf(data)])
  const names = new Map([...parts].map(([name, pid]) => [pid, name]))
  const strays = [...names.keys()].filter((pid) => !tree.some((process) => process.pid === pid))
  if (strays.length > 0) throw new Error(`parts that are not below the supervisor: ${strays}`)
  const bare = await bareNode()

  heading(`Memory ${IDLE_MS / 1000} s after the start, with nothing to do (proportional set size)`)
  for (const { pid, command, mib } of tree) {
    const name = names.get(pid) ?? command.replace(/^\S*\//, '')
    write(`  ${name.slice(0, 62).padEnd(62)} ${format(mib).padStart(9)} MiB`)
  }
  print({ name: 'baseline: a Node.js process that does nothing', value: bare, unit: 'MiB', target: null })
  const total = tree.reduce((sum, { mib }) => sum + mib, 0)
  print({ name: `all ${tree.length} processes`, value: total, unit: 'MiB', target: TARGET_MIB })
}

async function bareNode(): Promise<number> {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e9); process.stdout.write("up")'])
  await once(child.stdout, 'data')
  const { mib } = await memoryOf(child.pid ?? 0)
  child.kill()
  return mib
}
