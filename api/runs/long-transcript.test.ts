// A run that talks for days: 100,000 events through the hosts' own route, and nothing that reads them looks at more than it gives.
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { startTestPostgres, type TestPostgres } from '../../test/support/postgres.ts'
import { givenRun } from '../../test/support/runs.ts'

const EVENTS = 100_000
const BATCH = 500

let postgres: TestPostgres
let databaseUrl: string
let api: TestApi
let runId: string
/** What creating a run and its host wrote. */
let before: number

beforeAll(async () => {
  postgres = await startTestPostgres()
  databaseUrl = await postgres.databaseUrl()
  api = await startTestApi({ databaseUrl })
  const given = await givenRun(api.db)
  runId = given.runId
  await api.hold(runId)
  before = await lastSequence()
  for (let line = 1; line <= EVENTS; line += BATCH) {
    const events = Array.from({ length: BATCH }, (_, index) => ({
      line: line + index,
      part: 0,
      time: new Date().toISOString(),
      // Rare among many, as questions and failures are.
      kind: line + index === EVENTS / 2 ? 'plan' : 'output',
      data: { stream: 'stdout', text: `Line ${line + index} of what a build has to say, and it says a lot.` },
    }))
    const batch = { journal: 'agent-1', events, read_to: line + BATCH - 1 }
    const { status, body } = await api.host('POST', `/runs/${runId}/executions/1/events`, batch)
    if (status !== 200) throw new Error(`${status} ${JSON.stringify(body)}`)
  }
  // Statistics as they are on a server that has run for a while.
  await query('vacuum analyze')
}, 180_000)

afterAll(async () => {
  await api?.close()
  await postgres?.stop()
})

async function query(statement: string) {
  const client = new Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    return (await client.query(statement)).rows
  } finally {
    await client.end()
  }
}

async function lastSequence(): Promise<number> {
  const { body } = await api.call('GET', `/agent/runs/${runId}/events?limit=1`)
  return body.page_info.last_sequence
}

/** Postgres hears from a connection what it has looked at when that is closed, and closes it when it likes. */
async function settledRowsRead(table: string): Promise<{ scanned: number; fetched: number }> {
  const others = `select count(*)::integer as count from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`
  await expect.poll(async () => (await query(others))[0]?.count).toBe(0)
  return rowsRead(table)
}

/** Rows of a table that Postgres has looked at so far, by scans of the whole and by index. */
async function rowsRead(table: string): Promise<{ scanned: number; fetched: number }> {
  const [row] = await query(
    `select seq_tup_read::integer as scanned, idx_tup_fetch::integer as fetched from pg_stat_user_tables where relname = '${table}'`,
  )
  return row as { scanned: number; fetched: number }
}

/** What requests make Postgres look at in the table of events. Connections tell it when they are closed. */
async function eventsRead(work: () => Promise<void>): Promise<{ scanned: number; fetched: number }> {
  await api.close()
  const start = await settledRowsRead('events')
  api = await startTestApi({ databaseUrl })
  await work()
  await api.close()
  const end = await settledRowsRead('events')
  api = await startTestApi({ databaseUrl })
  return { scanned: end.scanned - start.scanned, fetched: end.fetched - start.fetched }
}

const page = async (parameters: string) => (await api.call('GET', `/agent/runs/${runId}/events?${parameters}`)).body

test('100,000 events are each there once, in order', async () => {
  const all = await query(
    `select count(*)::integer as count, count(distinct line)::integer as lines, min(sequence) as first, max(sequence) as last
     from events where run_id = '${runId}' and journal = 'agent-1'`,
  )
  expect(all).toEqual([{ count: EVENTS, lines: EVENTS, first: before + 1, last: before + EVENTS }])
  expect(await lastSequence()).toBe(before + EVENTS)
})

test.each([
  ['the first page', 'limit=100', 100],
  ['a page in the middle', `after=${EVENTS / 2}&limit=100`, 100],
  ['the last page', `after=${EVENTS - 50}&limit=100`, 100],
  ['the rare events of one kind', 'kind=plan&limit=100', 100],
])('%s reads what it shows, and no more', async (_, parameters, most) => {
  let shown = 0
  const { scanned, fetched } = await eventsRead(async () => {
    shown = (await page(parameters)).events.length
  })
  expect(shown).toBeGreaterThan(0)
  expect(scanned).toBe(0)
  expect(fetched).toBeLessThanOrEqual(most)
})

test('a reader that comes back to the stream near its end reads what it has missed', async () => {
  const from = (await lastSequence()) - 20
  const { scanned, fetched } = await eventsRead(async () => {
    const { events } = await api.stream(runId, { after: from, always: true, enough: (seen) => seen.length === 20 })
    expect(events).toHaveLength(20)
  })
  expect(scanned).toBe(0)
  // The last of them may be looked at again.
  expect(fetched).toBeLessThanOrEqual(2 * 20)
})

test('the run, and the list of runs, are told without a look at its events', async () => {
  const read = await eventsRead(async () => {
    expect((await api.call('GET', `/agent/runs/${runId}`)).body.last_event_sequence).toBe(before + EVENTS)
    expect((await api.call('GET', '/agent/runs')).body.runs).toHaveLength(1)
    expect((await api.call('GET', `/agent/runs/${runId}/timeline`)).status).toBe(200)
  })
  expect(read).toEqual({ scanned: 0, fetched: 0 })
})

test('one more event looks at nothing that is there', async () => {
  const line = EVENTS + 1
  const event = { line, part: 0, time: new Date().toISOString(), kind: 'output', data: { text: 'one more' } }
  const read = await eventsRead(async () => {
    const batch = { journal: 'agent-1', events: [event], read_to: line }
    expect((await api.host('POST', `/runs/${runId}/executions/1/events`, batch)).status).toBe(200)
  })
  expect(read).toEqual({ scanned: 0, fetched: 0 })
})
