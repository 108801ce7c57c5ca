// Very many runs at once: what the control plane holds in memory while they wait, work and end.
import { setTimeout as delay } from 'node:timers/promises'
import type { RunItem } from '../domain/run.ts'
import type { Stack } from '../test/support/stack.ts'
import { startAmbient } from './ambient.ts'
import { enginesOf, memoryOf, memoryOfTree, partsOf } from './processes.ts'
import { format, heading, print, quantile, write } from './report.ts'

const RUNS = 2_000
const TARGET_MIB = 1_024
const SAMPLE_MS = 500
/** Between two looks at whether all have ended, and for how long this may take. */
const LOOK_MS = 2_000
const LIMIT_MS = 30 * 60_000

/** In MiB, by whose it is. */
type Memory = ReadonlyMap<string, number>

export async function measureBurst(cleanUp: AsyncDisposableStack): Promise<void> {
  const stack = await startAmbient('direct', cleanUp)
  const atRest = await memoryNow(stack)
  const watch = watchMemory(stack)
  cleanUp.defer(async () => void (await watch.stop()))

  const began = performance.now()
  const submits: number[] = []
  const submit = async () => {
    await stack.start({
      prompt: 'Do nothing.',
      config: { harness: { type: 'command', command: ['true'] }, idle_timeout_minutes: 0 },
    })
    submits.push(performance.now() - began)
  }
  await Promise.all(Array.from({ length: RUNS }, submit))
  await allSucceed(stack)
  const took = (performance.now() - began) / 1000
  const samples = await watch.stop()

  heading(`${RUNS} runs with a light agent (the command \`true\`, direct host), submitted at once`)
  print({
    name: 'accepted: the last one',
    value: Math.max(...submits) / 1000,
    unit: 's',
    target: null,
    note: `median ${format(quantile(submits, 0.5) / 1000)}`,
  })
  print({
    name: 'ended, all as SUCCEEDED: the last one',
    value: took,
    unit: 's',
    target: null,
    note: `${format(RUNS / took)} per s`,
  })
  write('  Memory (proportional set size): at rest, and the highest of each')
  const peakOf = (name: string) => Math.max(...samples.map((sample) => sample.get(name) ?? 0))
  for (const [name, mib] of atRest)
    write(`    ${name.padEnd(60)} ${format(mib).padStart(9)} ${format(peakOf(name)).padStart(9)} MiB`)
  const ours = (memory: Memory) => [...memory].reduce((sum, [name, mib]) => (isEngine(name) ? sum : sum + mib), 0)
  print({ name: 'baseline: the control plane at rest', value: ours(atRest), unit: 'MiB', target: null })
  print({
    name: 'the control plane at its highest',
    value: Math.max(...samples.map(ours)),
    unit: 'MiB',
    target: TARGET_MIB,
    note: `without Temporal and Postgres, ${samples.length} samples`,
  })
}

const isEngine = (name: string) => name === 'temporal' || name === 'postgres'

/** What is submitted and has not succeeded keeps it waiting; what has ended in another way is an error. */
async function allSucceed({ call }: Stack): Promise<void> {
  const deadline = performance.now() + LIMIT_MS
  const anyIn = async (query: string) =>
    (await call<{ runs: RunItem[] }>('GET', `/api/v1/agent/runs?limit=1&${query}`)).body.runs[0]
  const open = ['QUEUED', 'PENDING', 'CLAIMED', 'INPROGRESS', 'BLOCKED'].map((state) => `state=${state}`).join('&')
  const failed = ['FAILED', 'ERROR', 'CANCELLED'].map((state) => `state=${state}`).join('&')
  while (await anyIn(open)) {
    if (performance.now() > deadline) throw new Error(`not all have ended after ${LIMIT_MS / 1000} s`)
    await delay(LOOK_MS)
  }
  const other = await anyIn(failed)
  if (other) throw new Error(`run ${other.run_id} is ${other.state}`)
}

async function memoryNow({ data }: Stack): Promise<Memory> {
  const [parts, engines] = await Promise.all([partsOf(data), enginesOf(data)])
  const memory = new Map<string, number>()
  for (const [name, pid] of parts) memory.set(name, (await memoryOf(pid)).mib)
  for (const [name, pid] of engines)
    memory.set(
      name,
      (await memoryOfTree(pid)).reduce((sum, { mib }) => sum + mib, 0),
    )
  return memory
}

function watchMemory(stack: Stack) {
  const stopped = new AbortController()
  const samples: Memory[] = []
  const watching = (async () => {
    while (!stopped.signal.aborted) {
      samples.push(await memoryNow(stack))
      await delay(SAMPLE_MS, undefined, { signal: stopped.signal }).catch(() => {}) // Stopped in between.
    }
  })()
  watching.catch(() => {}) // Heard by whoever stops it.
  return {
    async stop(): Promise<Memory[]> {
      stopped.abort()
      await watching
      return samples
    },
  }
}
