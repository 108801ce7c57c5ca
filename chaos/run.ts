// The whole of it, in order: start, submit, kill, wait, compare, stop, compare again.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sampleRepository } from '../test/support/repository.ts'
import { check, type Difference } from './checks.ts'
import { drive, StuckError } from './drive.ts'
import { type Evidence, gather } from './evidence.ts'
import { type Kill, killOn, killSchedule, type Target } from './kills.ts'
import { leftInAmbient, leftOnMachine } from './leftovers.ts'
import { LIGHT_AGENT } from './light-agent/install.ts'
import type { ChaosOptions } from './options.ts'
import { type Plan, REPOSITORY } from './plan.ts'
import { createRandom } from './random.ts'
import { countKills, type Report } from './report.ts'
import { makePlans } from './scenarios.ts'
import { type System, startSystem } from './system.ts'

/** Beside the one of the runs, so that neither changes with how much the other draws. */
const KILL_STREAM = 0x9e3779b9

interface Done {
  plan: Plan
  runId: string | null
  /** Why the run did not get to its end; null when it did. */
  stuck: StuckError | null
  seen: Awaited<ReturnType<typeof drive>>['seen']
}

/**
 * Whatever happens, nothing stays running. `progress` is told in one line, now and then.
 * @throws the signal's reason, once everything is stopped and removed.
 */
export async function runChaos(
  options: ChaosOptions,
  progress: (line: string) => void,
  signal: AbortSignal,
): Promise<Report> {
  const { runs, seed, hosts, agent } = options
  const plans = makePlans(runs, createRandom(seed), { hosts, refusals: agent === 'light' })
  const began = Date.now()
  const repository = await sampleRepository()
  const system = await startSystem(options)
  progress(`everything is up after ${seconds(began)} s, data in ${system.stack.data}`)

  const done: Done[] = []
  const underWay: UnderWay = new Map()
  const kills: Kill[] = []
  const compared = noneCompared()
  const ticking = setInterval(() => {
    progress(`${done.length} of ${runs} runs over, ${kills.length} kills, ${seconds(began)} s`)
    for (const [name, { what, since }] of underWay) {
      if (Date.now() - since > LONG_MS) progress(`${name} has waited ${seconds(since)} s for ${what}`)
    }
  }, PROGRESS_MS)
  const over = new AbortController()
  const random = createRandom(seed ^ KILL_STREAM)
  const victims = { kill: (target: Target) => system.kill(target, random), healthy: system.healthy }
  const killing = killOn(
    killSchedule(random, options.every * 1_000),
    victims,
    kills,
    AbortSignal.any([over.signal, signal]),
  )
  const work = async () => {
    // That the killing ends before the runs do can only be by an error of its own.
    await Promise.race([
      killing,
      carryOut(system, options, { plans, repository: repository.url, done, underWay, progress }),
    ])
    signal.throwIfAborted()
    over.abort()
    await killing
    await system.healthy()
    progress(`all runs are over after ${seconds(began)} s; comparing`)
    await compare(system, done, kills, compared)
  }
  let keepData = true
  try {
    await Promise.race([work(), rejection(signal)])
    keepData = options.keep || compared.differences.length > 0
  } finally {
    clearInterval(ticking)
    over.abort()
    // What it is starting again can only be stopped once it was started.
    await killing.catch(() => {})
    if (signal.aborted) keepData = options.keep
    if (keepData) await keepRecord(system.stack.data, { options, kills, done, suspicious: compared.suspicious })
    await system.stop({ keepData })
    await repository.remove()
  }
  return {
    seed,
    runs: Object.fromEntries(hosts.map((host) => [host, plans.filter((plan) => plan.host === host).length])),
    kills: countKills(kills),
    ...compared.figures,
    seconds: Number(seconds(began)),
    differences: [...compared.differences, ...(await leftOnMachine(system))],
    data: keepData ? system.stack.data : null,
  }
}

const PROGRESS_MS = 10_000

/** What takes longer is told, for whoever looks into a run that does not get to its end. */
const LONG_MS = 30_000

/** By the plan's name: what it waits for, and since when. */
type UnderWay = Map<string, { what: string; since: number }>

/** Submits the runs, so many at a time, and steers each of them to its end. */
async function carryOut(
  system: System,
  { agent, atOnce }: ChaosOptions,
  given: { plans: readonly Plan[]; repository: string; done: Done[]; underWay: UnderWay; progress(line: string): void },
): Promise<void> {
  const { plans, repository, done, underWay, progress } = given
  await forEach(plans, atOnce, async (plan) => {
    const pool = system.places.find(({ kind }) => kind === plan.host)?.pool
    const harness = plan.agent === 'command' ? {} : { harness: { type: agent === 'light' ? LIGHT_AGENT : agent } }
    const { request } = plan
    const body = {
      ...request,
      config: { ...request.config, ...harness, worker_host: pool },
      environment: { ...request.environment, repos: [{ url: repository, path: REPOSITORY }] },
    }
    try {
      const waitsFor = (what: string) => void underWay.set(plan.name, { what, since: Date.now() })
      done.push({ plan, stuck: null, ...(await drive(system.stack, plan, body, waitsFor)) })
    } catch (error) {
      if (!(error instanceof StuckError)) throw error
      progress(`${plan.name} ${error.runId}: ${error.message}`)
      done.push({ plan, runId: error.runId, seen: error.seen, stuck: error })
    } finally {
      underWay.delete(plan.name)
    }
  })
}

const noneCompared = () => ({
  figures: { events: 0, modelRequests: 0, askedAgain: 0, answersRepeated: 0, uncollected: 0 },
  differences: [] as Difference[],
  suspicious: [] as { plan: Plan; evidence: Evidence }[],
})

async function compare(
  system: System,
  done: readonly Done[],
  kills: readonly Kill[],
  { figures, differences, suspicious }: ReturnType<typeof noneCompared>,
): Promise<void> {
  for (const { plan, runId, seen, stuck } of done) {
    if (stuck !== null) {
      const found = [stuck.message, ...seen.slice(-3)]
      differences.push({ run: plan.name, runId, what: 'its way to the end', expected: 'goes on', found })
    }
    if (runId === null || stuck !== null) continue
    const evidence = await gather(system, plan, { runId, seen })
    const checked = check(plan, runId, evidence, kills)
    differences.push(...checked.differences)
    if (checked.differences.length > 0) suspicious.push({ plan, evidence })
    for (const name of Object.keys(figures) as (keyof typeof figures)[]) figures[name] += checked.figures[name]
  }
  const runIds = done.flatMap(({ runId }) => (runId === null ? [] : [runId]))
  differences.push(...(await leftInAmbient(system, runIds)))
}

const rejection = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason)
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })

const seconds = (since: number) => ((Date.now() - since) / 1_000).toFixed(0)

/** So many at a time, in their order. */
async function forEach<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items]
  const worker = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

/** For whoever looks into a difference: what was planned and done. */
async function keepRecord(data: string, record: { done: readonly Done[] } & Record<string, unknown>): Promise<void> {
  const directory = join(data, 'chaos')
  await mkdir(directory, { recursive: true })
  const runs = record.done.map(({ plan, runId, stuck }) => ({ runId, stuck: stuck?.message ?? null, ...plan }))
  await writeFile(join(directory, 'record.json'), JSON.stringify({ ...record, done: runs }, null, 1))
}
