import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RunItem } from '../../domain/run.ts'
import type { Statistics } from '../../domain/statistics.ts'
import { insertMail, promptBody } from '../../store/runs/mail.ts'
import { fillSearch } from '../../store/runs/run-search.ts'
import { recordStates } from '../../store/runs/states.ts'
import { keepContent } from '../../store/skills/contents.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { givenRun } from '../../test/support/runs.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
  await api.db
    .insertInto('teams')
    .values(
      ['pages', 'search', 'times', 'states', 'figures', 'older', 'other', 'skilled'].map((name) => ({
        name,
        run_limit: 10,
      })),
    )
    .execute()
})
afterAll(() => api.close())

type Fields = Parameters<typeof givenRun>[1]

const given = async (team: string, fields: Fields = {}): Promise<string> =>
  (await givenRun(api.db, { ...fields, team })).runId

const page = async (team: string, query: string) => {
  const { status, body } = await api.call('GET', `/agent/runs?${query}`, undefined, { 'x-warp-team-uid': team })
  expect(status).toBe(200)
  return body as { runs: RunItem[]; page_info: { has_next_page: boolean; next_cursor?: string } }
}

const ids = async (team: string, query: string) => (await page(team, query)).runs.map((run) => run.run_id)

const allPages = async (team: string, query: string, between: () => Promise<void> = async () => {}) => {
  const seen: string[] = []
  for (let cursor = ''; ; ) {
    const { runs, page_info } = await page(team, `${query}${cursor}`)
    seen.push(...runs.map((run) => run.run_id))
    if (!page_info.has_next_page) return seen
    cursor = `&cursor=${encodeURIComponent(page_info.next_cursor ?? '')}`
    await between()
  }
}

/** Its messages have been read, and it ended so. */
async function ended(runId: string, state: 'SUCCEEDED' | 'FAILED' | 'ERROR' | 'CANCELLED'): Promise<void> {
  await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '=', runId).execute()
  const failure =
    state === 'FAILED'
      ? ({ code: 'setup_command_failed', phase: 'setup', message: 'npm ci failed' } as const)
      : undefined
  await recordStates(api.db, [{ runId, execution: 1, key: 'end', state, ...(failure && { failure }) }])
}

/** As if it had all happened then. */
const at = (runId: string, created: string, updated = created) =>
  api.db
    .updateTable('runs')
    .set({ created_at: new Date(created), updated_at: new Date(updated) })
    .where('id', '=', runId)
    .execute()

describe('a list that is paged through', () => {
  test('has every run once, however many are begun or change meanwhile', async () => {
    const runs: string[] = []
    for (let count = 0; count < 9; count++) runs.push(await given('pages'))
    let begun = 0
    const seen = await allPages('pages', 'limit=2&sort_by=created_at', async () => {
      await given('pages', { title: `begun meanwhile ${++begun}` })
      // The one that the cursor was made from among them.
      await api.db.updateTable('runs').set({ updated_at: new Date() }).where('team', '=', 'pages').execute()
    })
    expect(begun).toBeGreaterThan(0)
    expect(seen).toEqual(runs.toReversed())
  })

  test('goes on where it was when the run that its cursor was made from is gone from there', async () => {
    const [first, second, third] = [await given('pages'), await given('pages'), await given('pages')]
    for (const [place, run] of [first, second, third].entries()) await at(run, `2025-01-0${place + 1}T00:00:00Z`)
    const { page_info } = await page('pages', 'limit=1&sort_order=asc')
    await at(first, '2025-01-01T00:00:00Z', '2025-02-01T00:00:00Z')
    expect(await ids('pages', `limit=2&sort_order=asc&cursor=${page_info.next_cursor}`)).toEqual([second, third])
  })

  test('is of one team', async () => {
    const own = await given('other')
    expect(await allPages('other', 'limit=1')).toEqual([own])
    expect(await ids('other', 'q=task')).toEqual([own])
    expect(await ids('search', `q=${own}`)).toEqual([])
  })
})

test('a run that an older server has written is found once the upkeep has seen it', async () => {
  const runId = await given('older', { title: 'Rotate the certificates' })
  await api.db.deleteFrom('run_search').where('run_id', '=', runId).execute()
  expect(await ids('older', 'q=certificates')).toEqual([])
  expect(await fillSearch(api.db)).toBe(1)
  expect(await ids('older', 'q=certificates')).toEqual([runId])
  expect(await fillSearch(api.db)).toBe(0)
})

test('runs are found by words in any order, by ids and URLs, and with a word that is spelled wrongly', async () => {
  const invoice = await given('search', { title: 'Fix the invoice export', prompt: 'See src/billing/pdf_writer.ts' })
  const login = await given('search', { title: 'Speed up the login', prompt: 'It takes parseHTTPHeader 3 s' })
  expect(await ids('search', 'q=export+fix')).toEqual([invoice])
  expect(await ids('search', 'q=WRITER')).toEqual([invoice])
  expect(await ids('search', 'q=header')).toEqual([login])
  expect(await ids('search', 'q=the')).toEqual([login, invoice])
  expect(await ids('search', 'q=invoice+login')).toEqual([])
  expect(await ids('search', 'q=%25')).toEqual([])
  for (const text of [login, login.slice(0, 8), `https://ambient.example/runs/${login}?tab=diff`])
    expect(await ids('search', `q=${encodeURIComponent(text)}`)).toEqual([login])
  expect(await ids('search', `q=${login}&state=FAILED`)).toEqual([])
  // What is frequent, Postgres finds out by itself; here it is told to.
  for (let count = 0; count < 3; count++) await given('search', { title: 'Another invoice' })
  await api.db.executeQuery({ sql: 'analyze run_search', parameters: [], query: {} as never, queryId: {} as never })
  expect(await ids('search', 'q=invioce+export')).toEqual([invoice])
})

test('metadata is found in both encodings of it, each pair whole', async () => {
  const run = await given('search', { metadata: { ticket_id: 'A 1', "it's": "O'Brien \\ =" } })
  await given('search', { metadata: { ticket_id: 'A 10' } })
  expect(await ids('search', 'metadata%5Bticket_id%5D=A%201')).toEqual([run])
  expect(await ids('search', 'metadata[ticket_id]=A+1')).toEqual([run])
  expect(await ids('search', `metadata[it's]=${encodeURIComponent("O'Brien \\ =")}&metadata[ticket_id]=A+1`)).toEqual([
    run,
  ])
  expect(await ids('search', 'metadata[ticket_id]=A')).toEqual([])
  expect(await ids('search', `metadata[ticket_id]=${'A'.repeat(3000)}`)).toEqual([])
  const six = [1, 2, 3, 4, 5, 6].map((key) => `metadata[k${key}]=v`).join('&')
  expect(await api.call('GET', `/agent/runs?${six}`)).toMatchObject({ status: 400 })
})

test('a list by agent is in the order of skills, with runs that have none at its end in either direction', async () => {
  const content = await api.db.transaction().execute((tx) => keepContent(tx, { text: 'Do so.', files: [] }))
  const place = { owner: 'me', repo: 'app', url: 'https://example.org/me/app', path: 'SKILL.md', revision: 'a1' }
  const skill = (name: string) => ({ ...place, name, description: name, content })
  const [release, bare, audit, other] = [
    await given('skilled', { agent: 'claude', skills: [skill('release'), skill('audit')] }),
    await given('skilled', { agent: 'opencode' }),
    await given('skilled', { agent: 'gemini', skills: [skill('audit')] }),
    await given('skilled', { agent: 'command' }),
  ]
  const [first, second] = [bare, other].toSorted() as [string, string]
  for (const limit of [1, 2, 3]) {
    const of = (order: string) => allPages('skilled', `sort_by=agent&sort_order=${order}&limit=${limit}`)
    expect(await of('asc')).toEqual([audit, release, first, second])
    expect(await of('desc')).toEqual([release, audit, second, first])
  }
  const found = 'sort_by=agent&sort_order=asc&state=QUEUED&q=task'
  expect((await page('skilled', found)).runs.map((run) => run.agent_skill?.name)).toEqual([
    'audit',
    'release',
    undefined,
    undefined,
  ])
  const byTitle = Buffer.from(JSON.stringify(['title', 'asc', null, bare])).toString('base64url')
  expect(await api.call('GET', `/agent/runs?sort_by=title&sort_order=asc&cursor=${byTitle}`)).toMatchObject({
    status: 400,
  })
})

test('a bound on one time holds in the order of the other, for runs that were updated late, too', async () => {
  const [old, late, young] = [await given('times'), await given('times'), await given('times')]
  await at(old, '2026-01-01T00:00:00Z', '2026-01-01T01:00:00Z')
  await at(late, '2026-01-02T00:00:00Z', '2026-06-01T00:00:00Z')
  await at(young, '2026-03-01T00:00:00Z')
  for (const order of ['desc', 'asc'] as const) {
    const ordered = (list: string[]) => (order === 'desc' ? list : list.toReversed())
    const of = (query: string) => allPages('times', `limit=1&sort_order=${order}&${query}`)
    expect(await of('created_before=2026-02-01')).toEqual(ordered([late, old]))
    expect(await of('created_before=2026-02-01&sort_by=created_at')).toEqual(ordered([late, old]))
    expect(await of('updated_after=2026-02-01&sort_by=created_at')).toEqual(ordered([young, late]))
    expect(await of('created_before=9999-12-31T23:59:59Z')).toHaveLength(3)
    expect(await of('updated_after=0001-01-01&sort_by=created_at')).toHaveLength(3)
    expect(await of('created_after=2026-01-01T12:00:00Z')).toEqual(ordered([late, young]))
    expect(await of('created_after=2026-01-01T12:00:00Z&created_before=2026-02-01')).toEqual([late])
  }
})

test('a run that has ended and for which a message waits is found as QUEUED', async () => {
  const [failed, goesOn, queued] = [await given('states'), await given('states'), await given('states')]
  await ended(failed, 'FAILED')
  await ended(goesOn, 'SUCCEEDED')
  await api.db.transaction().execute((tx) => insertMail(tx, goesOn, 'prompt', promptBody('more', 'queue')))
  const found = async (query: string) => new Set(await allPages('states', `limit=1&${query}`))
  expect(await found('state=QUEUED')).toEqual(new Set([goesOn, queued]))
  expect(await found('state=SUCCEEDED')).toEqual(new Set())
  expect(await found('state=SUCCEEDED&state=FAILED')).toEqual(new Set([failed]))
  expect(await found('task_status=running&task_status=failed')).toEqual(new Set([failed, goesOn, queued]))
})

describe('statistics', () => {
  const statistics = async (query: string): Promise<Statistics> => {
    const { status, body } = await api.call('GET', `/agent/statistics?${query}`, undefined, {
      'x-warp-team-uid': 'figures',
    })
    expect(status).toBe(200)
    return body
  }
  const runs: string[] = []
  beforeAll(async () => {
    for (const source of ['API', 'API', 'API', 'CLI', 'CLI']) runs.push(await given('figures', { source }))
    const [one, two, three, four] = runs as [string, string, string, string]
    for (const runId of [one, two]) await recordStates(api.db, [{ runId, execution: 1, key: 'p', state: 'PENDING' }])
    await api.db
      .insertInto('executions')
      .values({
        run_id: one,
        execution: 1,
        key: 'x',
        plan: '{}' as never,
        started_at: new Date(Date.now() - 100_000),
        finished_at: new Date(),
      })
      .execute()
    await ended(one, 'SUCCEEDED')
    await ended(two, 'SUCCEEDED')
    await ended(three, 'FAILED')
    await ended(four, 'CANCELLED')
  })

  test('tell how runs ended, how long they took and waited, and why they failed', async () => {
    const { total, groups } = await statistics('group_by=source')
    expect(total).toMatchObject({ runs: 5, succeeded: 2, failed: 1, errors: 0, cancelled: 1, going_on: 1 })
    expect(total.success_rate).toBeCloseTo(2 / 3)
    expect(total.run_time_seconds?.p50).toBeGreaterThan(97)
    expect(total.run_time_seconds?.p50).toBeLessThan(103)
    expect(total.queue_wait_seconds?.p95).toBeLessThan(60)
    expect(total.failure_reasons).toEqual([{ code: 'setup_command_failed', phase: 'setup', runs: 1 }])
    expect(total).toMatchObject({ total_tokens: 0, cost_usd: 0 })
    expect(groups).toMatchObject([
      { key: 'API', runs: 3, succeeded: 2, failed: 1 },
      { key: 'CLI', runs: 2, cancelled: 1, going_on: 1 },
    ])
  })

  test('add up the groups that are not shown', async () => {
    const { groups, rest } = await statistics('group_by=source&limit=1')
    expect(groups).toMatchObject([{ key: 'API' }])
    expect(rest).toMatchObject({ runs: 2 })
  })

  test('count a run that goes on after its end as going on', async () => {
    const [one] = runs as [string]
    await recordStates(api.db, [{ runId: one, execution: 2, key: 'again', state: 'PENDING' }])
    expect((await statistics('')).total).toMatchObject({ succeeded: 1, going_on: 2 })
    await recordStates(api.db, [{ runId: one, execution: 2, key: 'end again', state: 'SUCCEEDED' }])
    expect((await statistics('')).total).toMatchObject({ succeeded: 2, going_on: 1 })
  })

  test('have days as they are in the time zone, the beginning included and the end not', async () => {
    const day = async (id: string | undefined, time: string) =>
      api.db
        .updateTable('run_statistics')
        .set({ created_at: new Date(time) })
        .where('run_id', '=', id ?? '')
        .execute()
    // In Berlin, the clock went forward on 29 March 2026.
    await day(runs[0], '2026-03-28T22:59:59Z')
    await day(runs[1], '2026-03-28T23:00:00Z')
    await day(runs[2], '2026-03-29T21:59:59Z')
    await day(runs[3], '2026-03-29T22:00:00Z')
    const { periods, total } = await statistics(
      'start_date=2026-03-28&end_date=2026-03-30&group_by_period=day&time_zone=Europe/Berlin',
    )
    expect(total.runs).toBe(3)
    expect(periods).toMatchObject([
      { start: '2026-03-27T23:00:00.000Z', end: '2026-03-28T23:00:00.000Z', total: { runs: 1 } },
      { start: '2026-03-28T23:00:00.000Z', end: '2026-03-29T22:00:00.000Z', total: { runs: 2 } },
    ])
    const weeks = await statistics('start_date=2026-03-25&end_date=2026-04-06&group_by_period=week')
    expect(weeks.periods?.map(({ start }) => start.slice(0, 10))).toEqual(['2026-03-22', '2026-03-29', '2026-04-05'])
  })

  test.each([
    ['start_date', 'start_date=2026-02-01&end_date=2026-01-01'],
    ['start_date', 'start_date=yesterday'],
    ['time_zone', 'time_zone=Mars/Olympus'],
    ['time_zone', 'time_zone=%2B05:00'],
    ['group_by', 'group_by=weather'],
    ['group_by_period', 'group_by_period=day&start_date=2020-01-01'],
    ['limit', 'group_by=source&limit=0'],
  ])('refuse a wrong %s', async (name, query) => {
    const { status, body } = await api.call('GET', `/agent/statistics?${query}`)
    expect({ status, detail: body.detail }).toEqual({ status: 400, detail: expect.stringContaining(name) })
  })
})
