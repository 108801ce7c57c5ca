// From kill -9 of a host to the first line that it stores again, of an agent that goes on writing meanwhile.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Stack } from '../test/support/stack.ts'
import { startAmbient } from './ambient.ts'
import { heading, median, print, spread } from './report.ts'
import { linesOfRun, startCommand } from './run-lines.ts'

const TARGET_MS = 5_000
const KILLS = 3
/** The supervisor waits longer with each death in a row; one that ran for 10 s has none behind it. */
const BETWEEN_MS = 11_000
/** The agent prints the time this often, in seconds, and this many times. */
const EVERY_S = '0.05'
const TIMES = '12000'
const WRITER = ['sh', '-c', `i=0; while [ $i -lt ${TIMES} ]; do date +%s%3N; sleep ${EVERY_S}; i=$((i+1)); done`]

/** One that follows the agent's lines: what comes of them, and its death. */
interface Follower {
  lines: AsyncIterable<string>
  /** Kills it with -9. Whoever is responsible for it starts it again. */
  kill(): Promise<void>
}

export async function measureRecovery(host: Stack['hostKind'], cleanUp: AsyncDisposableStack): Promise<void> {
  const bare = await measure(await followBare(cleanUp), 0)
  const stack = await startAmbient(host, cleanUp)
  const ambient = await measure(await followRun(stack), BETWEEN_MS)

  heading(`kill -9 of a host worker to the first new event, stored and with its reader, ${host} host`)
  const baseline = 'baseline: a process that follows a file, started again at once'
  print({ name: baseline, value: median(bare), unit: 'ms', target: null, note: spread(bare) })
  print({ name: 'Ambient: median', value: median(ambient), unit: 'ms', target: null, note: spread(ambient) })
  print({ name: 'Ambient: longest', value: Math.max(...ambient), unit: 'ms', target: TARGET_MS })
}

/** In milliseconds. A line that was written after the kill cannot have been stored by the one that was killed. */
async function measure({ lines, kill }: Follower, betweenMs: number): Promise<number[]> {
  const times: number[] = []
  let killedAt: number | null = null
  let killAgainAt = 0
  for await (const line of lines) {
    const now = Date.now()
    if (killedAt !== null && Number(line) > killedAt) {
      times.push(now - killedAt)
      killedAt = null
      killAgainAt = now + betweenMs
      if (times.length === KILLS) break
    } else if (killedAt === null && now >= killAgainAt) {
      killedAt = now
      await kill()
    }
  }
  if (times.length < KILLS) throw new Error('the agent ended before the measure')
  return times
}

async function followRun(stack: Stack): Promise<Follower> {
  const runId = await startCommand(stack, WRITER)
  return {
    lines: linesOfRun(stack, runId),
    kill: async () => void process.kill(await stack.pid('host'), 'SIGKILL'),
  }
}

/** The same program with its output in a file, and the least that follows it. */
async function followBare(cleanUp: AsyncDisposableStack): Promise<Follower> {
  const directory = await mkdtemp(join(tmpdir(), 'ambient-bench-'))
  cleanUp.defer(() => rm(directory, { recursive: true, force: true }))
  const file = join(directory, 'output')
  await using output = await open(file, 'a')
  const [program = '', ...args] = WRITER
  const writer = spawn(program, args, { stdio: ['ignore', output.fd, 'inherit'] })
  cleanUp.defer(() => void writer.kill())

  const script = fileURLToPath(new URL('follower.ts', import.meta.url))
  let follower: ChildProcess | undefined
  async function* lines(): AsyncGenerator<string> {
    try {
      for (;;) {
        const started = spawn(process.execPath, [script, file], { stdio: ['pipe', 'pipe', 'inherit'] })
        follower = started
        yield* createInterface(started.stdout)
      }
    } finally {
      follower?.kill()
    }
  }
  return { lines: lines(), kill: async () => void follower?.kill('SIGKILL') }
}
