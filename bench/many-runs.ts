// A database with very many runs, as a few teams would have them after half a year.
import { randomBytes } from 'node:crypto'
import type { Pool, PoolClient } from 'pg'
import { wordsOf } from '../domain/search.ts'

export const DAYS = 180
const BATCH = 500
/** Runs that are made alike: each prompt comes so often, minutes apart. Making each anew would take half an hour. */
const ALIKE = 8

/** The first has more than half of all runs, the last next to none. */
export const teams = ['default', 'platform', 'mobile', 'data', 'web', 'research', 'docs', 'trial'] as const
const shareOf = [0.56, 0.2, 0.1, 0.06, 0.04, 0.03, 0.009, 0.001]

export const sources = [
  'API',
  'CLI',
  'GITHUB_ACTION',
  'SLACK',
  'LINEAR',
  'SCHEDULED_AGENT',
  'WEB_APP',
  'GITHUB_WEBHOOK',
]
const agents = ['claude', 'codex', 'gemini', 'opencode', 'command']
export const models = ['claude-opus-5-5', 'claude-sonnet-5-5', 'gpt-6.1-sol', 'gpt-6-luna', 'gemini-2.5-pro', null]

const verbs = ['Fix', 'Add', 'Rewrite', 'Remove', 'Investigate', 'Speed up', 'Document', 'Test', 'Upgrade', 'Review']
const things = [
  'flaky test',
  'memory leak',
  'login',
  'invoice export',
  'retry logic',
  'dark mode',
  'rate limiter',
  'cache',
]
const places = [
  'billing',
  'checkout',
  'search',
  'parser',
  'scheduler',
  'gateway',
  'onboarding',
  'payments',
  'analytics',
]

/** Numbers that are the same in each run of the bench. */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const random = createRandom(7)

/** From 0 below `count`: small ones often, large ones seldom. */
const skewed = (count: number): number => Math.floor(count * random() ** 3)
const oneOf = <T>(list: readonly T[]): T => list[skewed(list.length)] as T
const evenly = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
/** Around a median; a twentieth is above five times as much. */
const spread = (median: number): number =>
  median * Math.exp(Math.sqrt(-2 * Math.log(random() || 1)) * Math.cos(2 * Math.PI * random()))

/** Words that nobody has a list of: of two to four syllables. */
const vocabulary = Array.from({ length: 20_000 }, (_, at) => {
  const syllables = [
    'ba',
    'con',
    'der',
    'fi',
    'gra',
    'hel',
    'in',
    'ka',
    'lo',
    'men',
    'nor',
    'pe',
    'qua',
    'ri',
    'sto',
    'tu',
  ]
  let word = ''
  for (let rest = at + 300; rest > 0; rest = Math.floor(rest / syllables.length))
    word += syllables[rest % syllables.length]
  return word
})

function prose(characters: number): string {
  const parts: string[] = []
  for (let length = 0; length < characters; ) {
    const word = random() < 0.15 ? evenly([...things, ...places, 'please', 'the', 'in', 'with']) : oneOf(vocabulary)
    parts.push(word)
    length += word.length + 1
  }
  return parts.join(' ')
}

function teamAt(): number {
  let rest = random()
  return Math.max(
    0,
    shareOf.findIndex((share) => {
      rest -= share
      return rest < 0
    }),
  )
}

function uuid(): string {
  const hex = randomBytes(16).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`
}

const active = ['INPROGRESS', 'QUEUED', 'BLOCKED', 'PENDING', 'CLAIMED']

function endOf(): string {
  const at = random()
  return at < 0.82 ? 'SUCCEEDED' : at < 0.91 ? 'FAILED' : at < 0.97 ? 'CANCELLED' : 'ERROR'
}

export interface MadeRun {
  id: string
  team: string
  created: number
  parent: string | null
  root: string
}

/** Of what was made, a sample to ask for. */
export interface Made {
  runs: MadeRun[]
  tickets: { team: string; ticket: string }[]
  roots: MadeRun[]
}

const columns = {
  id: 'uuid',
  state: 'text',
  title: 'text',
  prompt: 'text',
  source: 'text',
  name: 'text',
  agent: 'text',
  model: 'text',
  pool: 'text',
  config: 'jsonb',
  metadata: 'jsonb',
  skill: 'text',
  demo: 'boolean',
  parent_run_id: 'uuid',
  root_run_id: 'uuid',
  execution: 'integer',
  last_event_sequence: 'integer',
  team: 'text',
  scope: 'text',
  created_by_type: 'text',
  created_by: 'text',
  executor_type: 'text',
  executor: 'text',
  environment_id: 'text',
  schedule: 'jsonb',
  failure: 'jsonb',
  created_at: 'timestamptz',
  updated_at: 'timestamptz',
  started_at: 'timestamptz',
  finished_at: 'timestamptz',
} as const
type Row = Record<keyof typeof columns, unknown>

/**
 * Fills the tables of an empty, migrated database. Indexes are made afterwards,
 * and what triggers would keep is written as they would.
 */
export async function makeRuns(pool: Pool, count: number, tell: (line: string) => void): Promise<Made> {
  const now = Date.now()
  const client = await pool.connect()
  const made: Made = { runs: [], tickets: [], roots: [] }
  try {
    await client.query("set statement_timeout = 0; set maintenance_work_mem = '512MB'; set synchronous_commit = off")
    await client.query('set session_replication_role = replica')
    await client.query(
      `insert into teams (name, run_limit, display_name) select name, 1000, name from unnest($1::text[]) as name on conflict do nothing`,
      [[...teams]],
    )
    await client.query(
      `insert into environments (id, team, name, config)
       select id, team, id, '{}' from unnest($1::text[], $2::text[]) as e (id, team)`,
      [environments.map(({ id }) => id), environments.map(({ team }) => team)],
    )
    const { rows: indexes } = await client.query<{ indexname: string; indexdef: string }>(`
      select indexname, indexdef from pg_indexes
      where tablename in ('runs', 'run_search', 'run_statistics', 'executions')
        and indexname not in (select conname from pg_constraint)`)
    for (const { indexname } of indexes) await client.query(`drop index ${indexname}`)

    const recent: MadeRun[] = []
    for (let from = 0; from < count; from += BATCH * ALIKE) {
      const rows: Row[] = []
      const terms: string[] = []
      for (let at = from; at < Math.min(from + BATCH * ALIKE, count); at += ALIKE) {
        // Ever more from day to day.
        const created = now - DAYS * 86_400_000 * (1 - Math.sqrt((at + 1) / count))
        const { row, words, run } = makeRun(created, now, recent)
        rows.push(row)
        terms.push(JSON.stringify(words))
        recent[Math.floor(random() * 500)] = run
        const isSampled = random() < (2_000 * ALIKE) / count
        if (isSampled) made.runs.push(run)
        if (isSampled && run.parent === null) made.roots.push(run)
        const { ticket } = row.metadata as { ticket?: string }
        if (isSampled && ticket !== undefined) made.tickets.push({ team: run.team, ticket })
      }
      await insertBatch(client, rows, terms)
      if ((from / (BATCH * ALIKE)) % 25 === 0) tell(`${from} of ${count} runs`)
    }
    await client.query(`
      insert into executions (run_id, execution, key, plan, created_at, started_at, finished_at)
      select id, 1, 'first', '{}', created_at, started_at, finished_at from runs where started_at is not null;
      insert into run_statistics
      select id, team, created_at, source, agent, model, environment_id, created_by, executor,
        case when finished_at is not null then state end,
        duration_class((extract(epoch from finished_at - started_at) * 1000)::double precision),
        duration_class((extract(epoch from started_at - created_at) * 1000)::double precision),
        failure ->> 'code', failure ->> 'phase'
      from runs order by created_at;
      insert into artifacts (uid, run_id, execution, key, type, data)
      select 'artifact' || number, id, 1, 'made', case
          when number % 4 = 0 then 'PULL_REQUEST'
          when number % 21 = 1 then 'PLAN'
          when number % 101 = 2 then 'FILE'
          else 'EXTERNAL_REFERENCE'
        end, '{}'
      from (select id, row_number() over () as number from runs where finished_at is not null) as numbered
      where number % 4 = 0 or number % 21 = 1 or number % 101 = 2 or number % 5003 = 3;
      insert into places (run_id, execution, stage, takes_capacity, pool, team, priority, arrival)
      select id, 1, case when state = 'QUEUED' then 'waiting' else 'working' end, state <> 'QUEUED', pool, team, 0, 0
      from runs where finished_at is null;
      insert into mail (id, run_id, kind, body)
      select gen_random_uuid(), id, 'prompt', '{"text": "More"}'
      from runs where finished_at is not null order by updated_at desc limit 50;
      insert into hosts (id, pool, kind, version, capacity, reported_at)
      values ('machine', 'default', 'direct', '1', 1000, now() + interval '1 day')`)
    for (const { indexname, indexdef } of indexes) {
      const began = performance.now()
      await client.query(indexdef)
      tell(`${indexname}: ${Math.round(performance.now() - began)} ms`)
    }
    await client.query('vacuum analyze')
    await client.query('checkpoint')
  } finally {
    // Its settings are for this alone.
    client.release(true)
  }
  return made
}

const names = Object.keys(columns) as (keyof typeof columns)[]

async function insertBatch(client: PoolClient, rows: readonly Row[], terms: readonly string[]): Promise<void> {
  const values = names.map((name) =>
    rows.map((row) => (columns[name] === 'jsonb' && row[name] !== null ? JSON.stringify(row[name]) : row[name])),
  )
  const arrays = names.map((name, at) => `$${at + 1}::${columns[name] === 'jsonb' ? 'text' : columns[name]}[]`)
  const selected = names.map((name) => (columns[name] === 'jsonb' ? `${name}::jsonb` : name))
  await client.query(`insert into runs (${names}) select ${selected} from unnest(${arrays}) as made (${names})`, values)
  const ids = rows.map(({ id }) => id)
  await client.query(
    `insert into run_search (run_id, words)
     select id, array_to_tsvector(array(select distinct jsonb_array_elements_text(terms::jsonb)))
     from unnest($1::uuid[], $2::text[]) as made (id, terms)`,
    [ids, terms],
  )
  const copied = names.map((name) =>
    columns[name] === 'uuid'
      ? `md5(${name}::text || number)::uuid`
      : columns[name] === 'timestamptz'
        ? `least(${name} + number * interval '90 s', now())`
        : name,
  )
  const numbers = `generate_series(1, ${ALIKE - 1}) as number`
  await client.query(`insert into runs (${names}) select ${copied} from ${numbers}, runs where id = any($1::uuid[])`, [
    ids,
  ])
  await client.query(
    `insert into run_search (run_id, words)
     select md5(run_id::text || number)::uuid, words from ${numbers}, run_search where run_id = any($1::uuid[])`,
    [ids],
  )
}

const environments = teams.flatMap((team, number) =>
  Array.from({ length: 40 }, (_, at) => ({
    team,
    id: `environment${number}x${String(at).padStart(9, '0')}`.slice(0, 22),
  })),
)

function makeRun(created: number, now: number, recent: readonly MadeRun[]) {
  const id = uuid()
  const number = teamAt()
  const team = teams[number] ?? 'default'
  const parent = random() < 0.08 ? (recent.filter((run) => run?.team === team)[skewed(20)] ?? null) : null
  const run: MadeRun = { id, team, created, parent: parent?.id ?? null, root: parent?.root ?? id }
  const title = `${evenly(verbs)} ${evenly(things)} in ${evenly(places)} ${skewed(10_000)}`
  const prompt = `${title}\n\n${prose(random() < 0.005 ? 30_000 : Math.min(20_000, spread(500)))}`
  const isActive = created > now - 86_400_000 && random() < 0.1
  const state = isActive ? oneOf(active) : endOf()
  const started = state === 'QUEUED' || state === 'PENDING' ? null : created + spread(3_000)
  const finished = isActive || started === null ? null : Math.min(now, started + spread(240_000))
  // Some are taken up again much later.
  const late = random() < 0.02 ? random() * 20 * 86_400_000 : 0
  const updated = Math.min(now, (finished ?? started ?? created) + late)
  const metadata = {
    ...(random() < 0.3 && { ticket: `OPS-${Math.floor(random() * 300_000)}` }),
    ...(random() < 0.5 && { area: evenly(places) }),
    ...(random() < 0.2 && { customer: `customer-${skewed(5_000)}` }),
  }
  const person = `person${number}x${String(skewed(60)).padStart(3, '0')}`
  const isByAgent = random() < 0.3
  const source = oneOf(sources)
  const row: Row = {
    id,
    state,
    title,
    prompt,
    source,
    name: random() < 0.4 ? `job-${skewed(2_000)}` : null,
    agent: oneOf(agents),
    model: oneOf(models),
    pool: 'default',
    config: {},
    metadata,
    skill: random() < 0.3 ? `skill-${skewed(40)}` : null,
    demo: false,
    parent_run_id: run.parent,
    root_run_id: run.root,
    execution: 1,
    last_event_sequence: 100,
    team,
    scope: random() < 0.03 ? 'User' : 'Team',
    created_by_type: 'user',
    created_by: person,
    executor_type: isByAgent ? 'service_account' : 'user',
    executor: isByAgent ? `agent${number}x${skewed(5)}` : person,
    environment_id: random() < 0.4 ? null : `environment${number}x${String(skewed(40)).padStart(9, '0')}`.slice(0, 22),
    schedule:
      source === 'SCHEDULED_AGENT'
        ? { schedule_id: `schedule${number}x${skewed(200)}`, schedule_name: 'nightly', cron_schedule: '0 3 * * *' }
        : null,
    failure:
      state === 'FAILED'
        ? { code: 'setup_command_failed', phase: 'setup', message: 'npm ci failed' }
        : state === 'ERROR'
          ? { code: 'host_unavailable', phase: 'turn', message: 'The host is lost.' }
          : null,
    created_at: new Date(created),
    updated_at: new Date(updated),
    started_at: started && new Date(started),
    finished_at: finished && new Date(finished),
  }
  const words = [
    `=team=${team}`,
    ...Object.entries(metadata).map(([key, value]) => `=meta=${key}=${value}`),
    ...wordsOf(`${title}\n${prompt}`),
  ]
  return { row, words, run }
}
