// From a line that an agent writes to the reader of its event stream, beside the same program read through a pipe.
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Stack } from '../test/support/stack.ts'
import { startAmbient } from './ambient.ts'
import { format, heading, median, print, quantile } from './report.ts'
import { linesOfRun, startCommand } from './run-lines.ts'

const TARGET_MEDIAN_MS = 25
const TARGET_P99_MS = 150
const EVERY_MS = 50
/** A single run has to speak longer for a 99th percentile that means something. */
const SETTINGS = [
  { runs: 1, forMs: 20_000 },
  { runs: 20, forMs: 10_000 },
] as const
/** At both ends not all of them speak yet, or any more. */
const EDGE_MS = 1_000

/** Starts the command and gives its lines. */
type Reader = (command: string[]) => AsyncIterable<string>

export async function measureStream(cleanUp: AsyncDisposableStack): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'ambient-bench-'))
  cleanUp.defer(() => rm(directory, { recursive: true, force: true }))
  const stack = await startAmbient('direct', cleanUp)

  for (const { runs, forMs } of SETTINGS) {
    const through = async (read: Reader, name: string) => delays(read, runs, forMs, join(directory, `${name}-${runs}`))
    const pipe = await through(readPipe, 'pipe')
    const ambient = await through(readRun(stack), 'ambient')
    heading(`An agent's line to the reader of its event stream, ${runs === 1 ? 'one run' : `${runs} runs at once`}`)
    show('baseline: the same program read through a pipe', pipe, null)
    show('Ambient', ambient, { median: TARGET_MEDIAN_MS, p99: TARGET_P99_MS })
  }
}

/** In milliseconds, of every line that was written while all of them were writing. */
async function delays(read: Reader, count: number, forMs: number, go: string): Promise<number[]> {
  const ticker = fileURLToPath(new URL('ticker.ts', import.meta.url))
  const command = [process.execPath, ticker, go, String(EVERY_MS), String(forMs)]
  const seen: { written: number; delay: number }[] = []
  const began = Promise.withResolvers<number>()
  let ready = 0
  const follow = async () => {
    for await (const line of read(command)) {
      const now = Date.now()
      if (line !== 'ready') seen.push({ written: Number(line), delay: now - Number(line) })
      else if (++ready === count) began.resolve(writeFile(go, '').then(() => now))
    }
  }
  const all = Promise.all(Array.from({ length: count }, follow))
  const start = await Promise.race([began.promise, all.then(() => Promise.reject(new Error('not all began')))])
  await all
  return seen
    .filter(({ written }) => written > start + EDGE_MS && written < start + forMs - EDGE_MS)
    .map(({ delay }) => delay)
}

async function* readPipe([program = '', ...args]: string[]): AsyncGenerator<string> {
  yield* createInterface(spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] }).stdout)
}

const readRun = (stack: Stack): Reader =>
  async function* (command) {
    yield* linesOfRun(stack, await startCommand(stack, command))
  }

function show(name: string, values: number[], target: { median: number; p99: number } | null): void {
  const note = `${values.length} lines, longest ${format(Math.max(...values))} ms`
  print({ name: `${name}: median`, value: median(values), unit: 'ms', target: target?.median ?? null })
  print({ name: `${name}: p99`, value: quantile(values, 0.99), unit: 'ms', target: target?.p99 ?? null, note })
}
