// How many runs with a light agent end in a second, beside a raw workflow of three activities on the same Temporal server.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Client, WorkflowNotFoundError } from '@temporalio/client'
import type { Stack } from '../test/support/stack.ts'
import { startAmbient } from './ambient.ts'
import { enginesOf, partsOf, processorTimeOf, processorTimeOfTree } from './processes.ts'
import { RAW_WORKFLOWS, rawRun } from './raw-workflow.ts'
import { format, heading, median, print, spread, write } from './report.ts'
import { NAMESPACE, temporalAddress, temporalClient } from './temporal.ts'

const TARGET_RATIO = 0.7
/** Of either kind, from its request to its end. */
const IN_FLIGHT = 40
/** Never a limit here: the place of a run that has ended is free a moment later. */
const CAPACITY = IN_FLIGHT * 2
const ROUNDS = 3
/** Not counted: until as many are in flight as shall be, and everything is loaded. */
const WARM_MS = 5_000
const COUNTED_MS = 20_000
/** A run is accepted before its workflow is started. Each look in vain would cost what is measured. */
const START_MS = 250

/** One of either kind, from its request to its end. */
type Way = () => Promise<unknown>

interface Round {
  perSecond: number
  /** Of the processor, in milliseconds for each that ended, by who spent it. */
  spent: Map<string, number>
}

export async function measureThroughput(cleanUp: AsyncDisposableStack): Promise<void> {
  const stack = await startAmbient('direct', cleanUp, { AMBIENT_CAPACITY: String(CAPACITY) })
  const client = temporalClient(stack, cleanUp)
  const raw = await startRawWorkers(stack, cleanUp)
  const runIds: string[] = []
  const ways = { raw: rawWay(client), ambient: ambientWay(stack, client, runIds) }
  const processes = new Map([...(await partsOf(stack.data)), ...(await enginesOf(stack.data)), ...raw])
  processes.set('bench', process.pid)

  const rounds: Record<keyof typeof ways, Round[]> = { raw: [], ambient: [] }
  // In turn, so that what else the machine does falls on both alike.
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of ['raw', 'ambient'] as const) rounds[name].push(await measure(ways[name], processes))
  }
  for (const runId of runIds) {
    const { state } = await stack.item(runId)
    if (state !== 'SUCCEEDED') throw new Error(`run ${runId} is ${state}: what was counted was no success`)
  }
  show(rounds)
}

/** Keeps so many in flight, and counts those that end in the time that counts. */
async function measure(way: Way, processes: ReadonlyMap<string, number>): Promise<Round> {
  let ended = 0
  let isOver = false
  const oneAfterAnother = async () => {
    while (!isOver) {
      await way()
      ended += 1
    }
  }
  const look = async () => ({ ended, at: performance.now(), times: await timesOf(processes) })
  const all = Promise.all(Array.from({ length: IN_FLIGHT }, oneAfterAnother))
  // Before its time it ends by an error alone.
  await Promise.race([delay(WARM_MS), all])
  const before = await look()
  await Promise.race([delay(COUNTED_MS), all])
  const after = await look()
  isOver = true
  await all
  const count = after.ended - before.ended
  const spentBy = ([name, time]: [string, number]) => [name, (time - (before.times.get(name) ?? 0)) / count] as const
  return { perSecond: (count / (after.at - before.at)) * 1000, spent: new Map([...after.times].map(spentBy)) }
}

/** Connections of Postgres are processes, and a host has one that starts programs. */
async function timesOf(processes: ReadonlyMap<string, number>): Promise<Map<string, number>> {
  const times = [...processes].map(async ([name, pid]) => {
    const isSeveral = name === 'postgres' || name === 'host'
    const time = isSeveral ? await processorTimeOfTree(pid) : await processorTimeOf(pid)
    return [name, time] as const
  })
  return new Map(await Promise.all(times))
}

/** As Ambient does it: one process for the workflows, another one for what they have done for them. */
async function startRawWorkers(stack: Stack, cleanUp: AsyncDisposableStack): Promise<Map<string, number>> {
  const script = fileURLToPath(new URL('raw-worker.ts', import.meta.url))
  const pids = new Map<string, number>()
  for (const role of ['workflows', 'activities'] as const) {
    const args = [script, role, temporalAddress(stack), NAMESPACE, String(CAPACITY * 2)]
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    const ended = once(child, 'exit')
    cleanUp.defer(async () => {
      child.stdin.end()
      await ended
    })
    const early = ended.then(() => Promise.reject(new Error(`the baseline's worker of ${role} ended`)))
    early.catch(() => {}) // Its end later on is wanted.
    await Promise.race([once(child.stdout, 'data'), early])
    pids.set(`raw ${role}`, child.pid ?? 0)
  }
  return pids
}

const rawWay = (client: Client): Way => {
  let count = 0
  return async () => {
    const workflowId = `bench-raw-${++count}`
    await client.workflow.execute(rawRun, { taskQueue: RAW_WORKFLOWS, workflowId, args: [{ runId: workflowId }] })
  }
}

/** Its end is waited for as that of the baseline: by the end of its workflow, which comes after the terminal state. */
const ambientWay =
  (stack: Stack, client: Client, runIds: string[]): Way =>
  async () => {
    const runId = await stack.start({
      prompt: 'Do nothing.',
      config: { harness: { type: 'command', command: ['true'] }, idle_timeout_minutes: 0 },
    })
    runIds.push(runId)
    for (;;) {
      await delay(START_MS)
      try {
        return await client.workflow.getHandle(runId).result()
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError)) throw error
      }
    }
  }

function show(rounds: Record<'raw' | 'ambient', Round[]>): void {
  heading(`Runs with a light agent (the command \`true\`, direct host), ${IN_FLIGHT} in flight`)
  const line = (name: string, of: Round[]) => {
    const values = of.map(({ perSecond }) => perSecond)
    print({ name, value: median(values), unit: 'per s', target: null, note: spread(values) })
    return values
  }
  const raw = line('baseline: a raw workflow of three activities that do nothing', rounds.raw)
  const ambient = line('runs of Ambient', rounds.ambient)
  const ratio = median(ambient) / median(raw)
  print({ name: 'Ambient over the baseline', value: ratio, unit: '×', target: { atLeast: TARGET_RATIO } })
  for (const [name, of] of [
    ['the baseline', rounds.raw],
    ['Ambient', rounds.ambient],
  ] as const) {
    const names = [...(of[0]?.spent.keys() ?? [])]
    const times = names.map((each) => [each, median(of.map(({ spent }) => spent.get(each) ?? 0))] as const)
    const shown = times.filter(([, time]) => time >= 1).map(([each, time]) => `${each} ${format(time)}`)
    const sum = times.reduce((total, [, time]) => total + time, 0)
    write(`  processor's time for each, ${name}: ${format(sum)} ms (${shown.join(', ')})`)
  }
}
