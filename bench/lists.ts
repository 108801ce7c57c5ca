// What a page of a list costs among very many runs: each filter, order, search, and far into a list.
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDatabase, type Database } from '../store/database.ts'
import { migrate } from '../store/migrate.ts'
import { recordStates } from '../store/runs/states.ts'
import { startTestApi, type TestApi } from '../test/support/api.ts'
import { givenRun } from '../test/support/runs.ts'
import { startPostgres } from '../workers/start/postgres.ts'
import { DAYS, type Made, makeRuns, models, sources, teams } from './many-runs.ts'
import { format, heading, median, print, quantile, write } from './report.ts'

const RUNS = 1_000_000
const SAMPLES = 30
/** Of the 95th percentile of a page. */
const TARGET_MS = 50
/** Of a page of statistics of all runs there are. */
const STATISTICS_MS = 2_000
const WRITES = 200
/** How much longer a run may take to be written, from its beginning to its end, than in an empty database. */
const TARGET_WRITE = 1.25

export async function measureLists(cleanUp: AsyncDisposableStack, runs = RUNS): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'ambient-lists-'))
  cleanUp.defer(() => rm(directory, { recursive: true, force: true }))
  const postgres = await startPostgres({ directory, port: 0, log: () => {} })
  cleanUp.defer(() => postgres.stop())
  const database = createDatabase(postgres.url, { connections: 8 })
  cleanUp.defer(() => database.close())
  await migrate(database.db)

  heading(`Lists of ${runs} runs`)
  const made = await makeRuns(database.pool, runs, (line) => write(`  ${line}`))
  const api = await startTestApi({ databaseUrl: postgres.url })
  cleanUp.defer(() => api.close())

  await measurePages(api, made)
  await measureStatistics(api)

  await database.pool.query('create database empty')
  const other = createDatabase(postgres.url.replace(/[^/]+$/, 'empty'))
  cleanUp.defer(() => other.close())
  await migrate(other.db)
  heading('Writing a run from its request to its end, with its five changes of state, in turn')
  const [full, empty]: [number[], number[]] = [[], []]
  // The first ones warm up.
  for (let at = -20; at < WRITES; at++) {
    const [here, there] = [await writeRun(database, at), await writeRun(other, at)]
    if (at < 0) continue
    full.push(here)
    empty.push(there)
  }
  print({ name: 'baseline: in an empty database', value: median(empty), unit: 'ms', target: null })
  print({ name: `among ${runs} runs`, value: median(full), unit: 'ms', target: null })
  print({ name: 'ratio', value: median(full) / median(empty), unit: '×', target: TARGET_WRITE })
}

/** Parts of a query that are filled in anew for each page. */
type Query = () => string

export function queriesOf({ runs, roots, tickets }: Made): [name: string, query: Query][] {
  const any = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T
  const day = (least: number, most: number) =>
    new Date(Date.now() - (least + Math.random() * (most - least)) * 86_400_000).toISOString()
  const word = () => any(['flaky', 'invoice', 'memory', 'conder', 'kaba', 'scheduler', 'derba'])
  return [
    ['the latest', () => ''],
    ['500 at once', () => 'limit=500'],
    ['by created_at', () => 'sort_by=created_at'],
    ['by created_at, the oldest first', () => 'sort_by=created_at&sort_order=asc'],
    ['by title', () => 'sort_by=title&sort_order=asc'],
    ['by agent', () => 'sort_by=agent'],
    ['by agent, from the first one on', () => 'sort_by=agent&sort_order=asc'],
    ['state, of the frequent', () => 'state=SUCCEEDED'],
    ['state, of the rare', () => `state=${any(['BLOCKED', 'CLAIMED', 'ERROR'])}`],
    ['state=QUEUED', () => 'state=QUEUED'],
    ['states, several', () => 'state=FAILED&state=ERROR&state=CANCELLED'],
    ['states, several, by title', () => 'state=FAILED&state=ERROR&sort_by=title'],
    ['task_status=running', () => 'task_status=running'],
    ['source', () => `source=${any(sources)}`],
    ['sources, several', () => `source=${any(sources)}&source=${any(sources)}`],
    ['name', () => `name=job-${Math.floor(2_000 * Math.random() ** 3)}`],
    ['name, by created_at', () => `name=job-${Math.floor(2_000 * Math.random() ** 3)}&sort_by=created_at`],
    ['name that no run has', () => 'name=none'],
    ['model_id', () => `model_id=${any(models.filter((model) => model !== null))}`],
    ['model_id that no run has', () => 'model_id=none'],
    ['creator', () => `creator=person0x${String(Math.floor(60 * Math.random() ** 3)).padStart(3, '0')}`],
    ['executor, by title', () => `executor=agent0x${Math.floor(5 * Math.random())}&sort_by=title`],
    [
      'environment_id',
      () => `environment_id=${`environment0x${String(Math.floor(40 * Math.random() ** 3)).padStart(9, '0')}`}`,
    ],
    ['environment_id=empty-environment', () => 'environment_id=empty-environment'],
    ['schedule_id', () => `schedule_id=schedule0x${Math.floor(200 * Math.random() ** 3)}`],
    ['artifact_type, of the frequent', () => 'artifact_type=PULL_REQUEST'],
    ['artifact_type, of the rare', () => 'artifact_type=EXTERNAL_REFERENCE'],
    ['created_after', () => `created_after=${day(0, 30)}`],
    ['created_after, the oldest first', () => `created_after=${day(0, DAYS)}&sort_order=asc`],
    ['created_before', () => `created_before=${day(0, DAYS)}`],
    ['created_before, by created_at', () => `created_before=${day(0, DAYS)}&sort_by=created_at`],
    ['created_before, by title', () => `created_before=${day(0, DAYS)}&sort_by=title`],
    ['updated_after, by created_at', () => `updated_after=${day(0, 30)}&sort_by=created_at`],
    [
      'updated_after, by created_at, the oldest first',
      () => `updated_after=${day(0, 3)}&sort_by=created_at&sort_order=asc`,
    ],
    ['between two times', () => `created_after=${day(90, DAYS)}&created_before=${day(30, 90)}`],
    ['metadata, one run in some', () => `metadata[ticket]=${any(tickets).ticket}`],
    ['metadata, a tenth of all', () => `metadata[area]=${any(['billing', 'search', 'analytics'])}`],
    [
      'metadata, two of them',
      () => `metadata[area]=billing&metadata[customer]=customer-${Math.floor(5_000 * Math.random() ** 3)}`,
    ],
    ['ancestor_run_id', () => `ancestor_run_id=${any(roots).id}`],
    ['q, a frequent word', () => 'q=fix'],
    ['q, a word', () => `q=${word()}`],
    ['q, two words', () => `q=${word()}+${word()}`],
    ['q, the beginning of a word', () => `q=${word().slice(0, 4)}`],
    ['q, several words of a title', () => `q=Fix+the+flaky+test+in+billing+${Math.floor(10_000 * Math.random() ** 3)}`],
    ['q, a word that no run has', () => `q=xylophone${Math.floor(Math.random() * 1_000)}`],
    ['q, a word spelled wrongly', () => 'q=invoise'],
    ['q, by created_at, the oldest first', () => `q=${word()}&sort_by=created_at&sort_order=asc`],
    ['q, by title', () => `q=${word()}&sort_by=title`],
    ['q, an id', () => `q=${any(runs).id}`],
    ['q, the beginning of an id', () => `q=${any(runs).id.slice(0, 8)}`],
    ['q and metadata and state', () => `q=${word()}&metadata[area]=billing&state=FAILED`],
    ['source, name and model_id', () => `source=API&name=job-${Math.floor(50 * Math.random())}&model_id=${models[0]}`],
  ]
}

async function measurePages(api: TestApi, made: Made): Promise<void> {
  heading(`A page of 20, of one of ${teams.length} teams, from the request to its answer`)
  const all: number[] = []
  for (const [name, query] of queriesOf(made)) {
    const times: number[] = []
    for (let sample = -2; sample < SAMPLES; sample++) {
      const { took } = await page(api, query(), teamOf(sample))
      // The first two warm up.
      if (sample >= 0) times.push(took)
    }
    all.push(...times)
    tell(name, times)
  }
  for (const sort of ['updated_at', 'created_at', 'title', 'agent']) {
    const times: number[] = []
    const filters = ['', 'state=FAILED', 'q=flaky']
    for (let sample = 0; sample < SAMPLES; sample++) {
      const base = `sort_by=${sort}&limit=500&${filters[sample % filters.length]}`
      let cursor: string | undefined
      // Ten pages of 500, and then one of 20.
      for (let deep = 0; deep < 10 && (deep === 0 || cursor); deep++)
        cursor = (await page(api, `${base}${cursor ? `&cursor=${cursor}` : ''}`, teams[0])).next
      if (cursor !== undefined)
        times.push((await page(api, `${base}&limit=20&cursor=${cursor}`.replace('limit=500&', ''), teams[0])).took)
    }
    all.push(...times)
    tell(`the cursor after 5,000 runs, by ${sort}`, times)
  }
  print({ name: 'all of these', value: quantile(all, 0.95), unit: 'ms', target: TARGET_MS, note: '95th percentile' })
}

/** Most questions come from where most runs are; every team asks. */
const teamOf = (sample: number) => teams[sample % 2 === 0 ? 0 : Math.floor(Math.random() * teams.length)] ?? teams[0]

function tell(name: string, times: readonly number[]): void {
  const note = `median ${format(median(times))}, longest ${format(Math.max(...times))}`
  print({ name, value: quantile(times, 0.95), unit: 'ms', target: TARGET_MS, note })
}

async function page({ url, key }: TestApi, query: string, team: string): Promise<{ took: number; next?: string }> {
  const began = performance.now()
  const response = await fetch(`${url}/api/v1/agent/runs?${query}`, {
    headers: { authorization: `Bearer ${key}`, 'x-warp-team-uid': team },
  })
  const text = await response.text()
  const took = performance.now() - began
  if (!response.ok) throw new Error(`${query}: ${response.status} ${text}`)
  const { page_info: info } = JSON.parse(text) as { page_info: { next_cursor?: string } }
  return { took, ...(info.next_cursor !== undefined && { next: encodeURIComponent(info.next_cursor) }) }
}

async function measureStatistics({ url, key }: TestApi): Promise<void> {
  heading('Statistics of the largest team, which has more than half of the runs')
  const questions = [
    ['30 days', ''],
    ['30 days, by day', 'group_by_period=day'],
    ['30 days, by creator', 'group_by=creator'],
    ['30 days, by day and model', 'group_by_period=day&group_by=model'],
    [
      `${DAYS} days, by week and source`,
      `start_date=${new Date(Date.now() - DAYS * 86_400_000).toISOString()}&group_by_period=week&group_by=source`,
    ],
  ] as const
  for (const [name, query] of questions) {
    const times: number[] = []
    for (let sample = 0; sample < 6; sample++) {
      const began = performance.now()
      const response = await fetch(`${url}/api/v1/agent/statistics?${query}`, {
        headers: { authorization: `Bearer ${key}` },
      })
      await response.text()
      if (!response.ok) throw new Error(`${query}: ${response.status}`)
      if (sample > 0) times.push(performance.now() - began)
    }
    print({ name, value: median(times), unit: 'ms', target: STATISTICS_MS })
  }
}

const prompt = Array.from({ length: 120 }, () => randomUUID().slice(0, 6)).join(' ')

/** In milliseconds. */
async function writeRun({ db }: Database, at: number): Promise<number> {
  const began = performance.now()
  const { runId } = await givenRun(db, {
    title: `Fix the flaky test ${at}`,
    prompt,
    metadata: { ticket: `T-${at}`, area: 'billing' },
  })
  for (const state of ['PENDING', 'CLAIMED', 'INPROGRESS', 'SUCCEEDED'] as const)
    await recordStates(db, [{ runId, execution: 1, key: state, state }])
  return performance.now() - began
}
