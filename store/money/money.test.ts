import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { makeOrchestratorActivities } from '../../activities/orchestrator.ts'
import { loadConfig, moneyRules } from '../../config.ts'
import type { SettledCall } from '../../domain/models/call.ts'
import type { MoneyRules } from '../../domain/money/rules.ts'
import { startTestPostgres, type TestPostgres } from '../../test/support/postgres.ts'
import { givenHost, givenRun } from '../../test/support/runs.ts'
import { insertTeam } from '../accounts/teams.ts'
import type { Db } from '../database.ts'
import { lockRun } from '../locking.ts'
import { readEvents } from '../runs/events.ts'
import { findRun, type NewRun } from '../runs/runs.ts'
import { changeSandbox } from '../runs/sandboxes.ts'
import { changeState } from '../runs/states.ts'
import { newUid } from '../uid.ts'
import { admitCall } from './admit.ts'
import { budgetsOfRun, changeBudget, insertBudget, listBudgets } from './budgets.ts'
import { balanceOf, chargeCall, enterGrant } from './charge.ts'
import { chargeSandboxes } from './compute.ts'
import { listLedger, readCredits } from './credits.ts'
import { refusalOfComing, refusalOfRun } from './refusal.ts'
import { resumeStopped, stopOfTurn } from './stops.ts'
import { tellAlerts } from './tell.ts'

let postgres: TestPostgres
let db: Db
beforeAll(async () => {
  postgres = await startTestPostgres()
  db = (await postgres.database()).db
})
afterAll(() => postgres.stop())

/** Of each test its own. */
let team: string
beforeEach(async () => {
  const made = await db
    .transaction()
    .execute((tx) => insertTeam(tx, { name: newUid(), runLimit: null, standard: 1000, by: operator }))
  team = made.uid
})

const rules: MoneyRules = moneyRules(loadConfig({}))
const enforced: MoneyRules = moneyRules(loadConfig({ AMBIENT_CREDITS: 'enforce' }))
const on = (day: string, from = rules): MoneyRules => ({ ...from, now: new Date(day) })
const operator = { type: 'operator', uid: 'operator' } as const

const run = async (fields: Partial<NewRun> = {}) => (await givenRun(db, { team, ...fields })).runId

/** A run that works on its message. */
async function working(fields: Partial<NewRun> = {}) {
  const { runId, messageId } = await givenRun(db, { team, ...fields })
  const activities = makeOrchestratorActivities({ db, config: loadConfig({}) })
  await activities.beginExecution({ runId, key: 'w/1', mail: [messageId] })
  await activities.acceptMail({ runId, key: 'w/1', ids: [messageId] })
  return { runId, messageId, activities }
}

const call = (runId: string, microUsd: number, fields: Partial<SettledCall> = {}): SettledCall => ({
  id: randomUUID(),
  runId,
  execution: 1,
  team,
  provider: 'anthropic',
  endpoint: null,
  model: 'claude-sonnet-5-5',
  state: 'settled',
  status: 200,
  complete: true,
  estimated: false,
  usage: { input: 10, cacheRead: 4, cacheWrite: 3, cacheWriteHour: 0, output: 2, reasoning: 0 },
  cost: { input: microUsd, cacheRead: 0, cacheWrite: 0, output: 0 },
  startedAt: new Date(),
  endedAt: new Date(),
  ...fields,
})

const charge = (settled: SettledCall, by = rules) => db.transaction().execute((tx) => chargeCall(tx, by, settled))
const spend = (runId: string, microUsd: number, by = rules) => charge(call(runId, microUsd), by)
const grant = (credits: number, by = rules) =>
  db.transaction().execute((tx) =>
    enterGrant(tx, by, {
      uid: newUid(),
      team,
      kind: 'grant',
      microCredits: credits * 1e6,
      microUsd: 0,
      by: operator,
      note: null,
    }),
  )
const budget = (key: Partial<Parameters<typeof insertBudget>[1]>, microUsd: number) =>
  db
    .transaction()
    .execute((tx) =>
      insertBudget(tx, { team, scope: 'team', thing: team, period: 'month', ...key }, { microUsd }, operator),
    )

/** Of the ledger itself, whatever the running totals say. */
async function sumOfLedger() {
  const { rows } = await sql<{ credits: number; usd: number; entries: number }>`
    select coalesce(sum(micro_credits), 0)::bigint as credits, coalesce(sum(micro_usd), 0)::bigint as usd,
      count(*) as entries
    from ledger where team = ${team}
  `.execute(db)
  return rows[0]
}

test('the balance is the sum of the ledger, to the millionth, after many charges at once and some of them twice', async () => {
  const runs = await Promise.all([run(), run(), run()])
  const calls = Array.from({ length: 90 }, (_, at) => call(runs[at % 3] ?? '', 1000 + at))
  await grant(50)
  await Promise.all([...calls, ...calls.slice(0, 30)].map((settled) => charge(settled)))
  const cost = calls.reduce((sum, { cost: parts }) => sum + (parts?.input ?? 0), 0)
  expect(await sumOfLedger()).toEqual({ credits: 50e6 - cost * 100, usd: -cost, entries: 91 })
  expect(await balanceOf(db, team)).toBe(50e6 - cost * 100)
  const used = await Promise.all(runs.map((id) => findRun(db, id)))
  const total = used.reduce((sum, item) => sum + (item?.request_usage?.inference_cost_usd ?? 0), 0)
  expect(Math.round(total * 1e6)).toBe(cost)
  expect(used[0]?.request_usage).toMatchObject({
    total_tokens: 30 * 19,
    usage_by_category: {
      primary_agent: {
        direct_api_inference_usage: {
          'claude-sonnet-5-5': {
            token_count: { input: 300, input_cache_read: 120, input_cache_write: 90, output: 60 },
          },
        },
      },
    },
  })
  const statistics = await db
    .selectFrom('run_statistics')
    .select((eb) => [eb.fn.sum<number>('cost_micro_usd').as('cost'), eb.fn.sum<number>('total_tokens').as('tokens')])
    .where('team', '=', team)
    .executeTakeFirstOrThrow()
  expect([Number(statistics.cost), Number(statistics.tokens)]).toEqual([cost, 90 * 19])
})

test('the ledger is only added to', async () => {
  await grant(1)
  const refused = /only added to/
  await expect(sql`update ledger set micro_credits = 0 where team = ${team}`.execute(db)).rejects.toThrow(refused)
  await expect(sql`delete from ledger where team = ${team}`.execute(db)).rejects.toThrow(refused)
  await expect(sql`truncate ledger`.execute(db)).rejects.toThrow(refused)
})

test('what a model without a price has used is told, and charged with nothing', async () => {
  const id = await run()
  await charge(call(id, 0, { cost: null }))
  const item = await findRun(db, id)
  expect(item?.request_usage).toMatchObject({ inference_cost: 0, total_tokens: 19, unpriced_calls: 1 })
  const filter = { team, kinds: [] }
  const [entry] = await listLedger(db, filter, { after: null, limit: 1, newestFirst: true })
  expect(entry).toMatchObject({ kind: 'inference', is_priced: false, credits: 0, run_id: id })
})

test('a call of an endpoint of the team itself costs it money and no credits', async () => {
  const id = await run()
  await charge(call(id, 5_000, { endpoint: newUid() }))
  expect(await balanceOf(db, team)).toBe(0)
  const item = await findRun(db, id)
  expect(item?.request_usage).toMatchObject({ inference_cost: 0, inference_cost_usd: 0.005 })
  expect(item?.request_usage?.usage_by_category.primary_agent).toHaveProperty('custom_endpoint_inference_usage')
})

test('a run below its budget goes on, and at it the next call does not go out', async () => {
  const { runId } = await working()
  await budget({ scope: 'run', thing: runId, period: 'total' }, 1_000)
  await spend(runId, 999)
  expect(await admitCall(db, rules, { runId, execution: 1 }, { free: false })).toBeNull()
  expect(await stopOfTurn(db, runId)).toBeNull()
  await spend(runId, 1)
  const refusal = await admitCall(db, rules, { runId, execution: 1 }, { free: false })
  expect(refusal).toEqual({
    kind: 'budget',
    reason: 'budget',
    message: expect.stringContaining('The budget of this run is used up'),
  })
  expect(await admitCall(db, rules, { runId, execution: 1 }, { free: true })).toBeNull()
  const question = await stopOfTurn(db, runId)
  expect(question).toMatchObject({ title: expect.stringContaining('Raise it'), options: [] })
  // Refused again and again, it is one stop.
  await admitCall(db, rules, { runId, execution: 1 }, { free: false })
  expect(await stopOfTurn(db, runId)).toEqual(question)
})

test('children draw on the budget of the tree, and the run above them on what they leave', async () => {
  const root = await run()
  const below = await run({ parent: { id: root, rootRunId: root } })
  const lowest = await run({ parent: { id: below, rootRunId: root } })
  await budget({ scope: 'tree', thing: root, period: 'total' }, 1_000)
  await budget({ scope: 'run', thing: root, period: 'total' }, 900)
  await spend(lowest, 600)
  await spend(below, 300)
  expect(await refusalOfRun(db, rules, lowest)).toBeNull()
  await spend(lowest, 100)
  for (const id of [root, below, lowest])
    expect(await refusalOfRun(db, rules, id)).toMatchObject({ reason: 'budget', budget: { scope: 'tree' } })
  // Of its own budget the first one has used nothing.
  expect((await budgetsOfRun(db, rules, root)).map(({ scope, spent }) => [scope, spent.usd])).toEqual([
    ['run', 0],
    ['tree', 0.001],
  ])
  const coming = { team, person: operator, parentId: lowest, scheduleId: null }
  expect(await refusalOfComing(db, rules, coming)).toMatchObject({ budget: { scope: 'tree' } })
  expect(await refusalOfComing(db, rules, { ...coming, parentId: null })).toBeNull()
})

test('budgets of a schedule, a person and the team hold for the runs that they are about, and for no other team', async () => {
  const schedule = { schedule_id: 'nightly', schedule_name: 'nightly', cron_schedule: '0 0 * * *' }
  const scheduled = await run({ schedule })
  const child = await run({ parent: { id: scheduled, rootRunId: scheduled } })
  const ofSomebody = await run({ created_by_type: 'user', created_by: 'somebody' })
  await budget({ scope: 'schedule', thing: 'nightly' }, 1_000)
  await budget({ scope: 'person', thing: 'somebody' }, 1_000)
  await budget({}, 5_000)
  await spend(child, 1_000)
  expect(await refusalOfRun(db, rules, scheduled)).toMatchObject({ budget: { scope: 'schedule' } })
  expect(await refusalOfRun(db, rules, ofSomebody)).toBeNull()
  await spend(ofSomebody, 1_000)
  expect(await refusalOfRun(db, rules, ofSomebody)).toMatchObject({ budget: { scope: 'person' } })
  await spend(await run(), 3_000)
  expect(await refusalOfRun(db, rules, await run())).toMatchObject({ budget: { scope: 'team' } })
  const { runId: elsewhere } = await givenRun(db, { created_by_type: 'user', created_by: 'somebody' })
  expect(await refusalOfRun(db, rules, elsewhere)).toBeNull()
})

test('at the turn of a month a monthly budget is new, and what it had stopped goes on by itself', async () => {
  const { runId } = await working()
  await budget({}, 1_000)
  await spend(runId, 1_000, on('2026-05-31T23:59:00Z'))
  const may = on('2026-05-31T23:59:59Z')
  expect(await admitCall(db, may, { runId, execution: 1 }, { free: false })).toMatchObject({ kind: 'budget' })
  expect(await resumeStopped(db, may, team)).toEqual([])
  const june = on('2026-06-01T00:00:01Z')
  expect(await refusalOfRun(db, june, runId)).toBeNull()
  // In another time zone it is not yet.
  expect(await refusalOfRun(db, { ...june, timeZone: 'America/New_York' }, runId)).not.toBeNull()
  expect(await resumeStopped(db, june, team)).toEqual([runId])
  expect(await resumeStopped(db, june, team)).toEqual([])
  const prompts = await db.selectFrom('mail').select('body').where('run_id', '=', runId).orderBy('position').execute()
  expect(prompts.at(-1)?.body).toMatchObject({ text: expect.stringContaining('Go on with your task') })
  expect(await readCredits(db, june, team, operator)).toMatchObject({
    month: { starts_at: '2026-06-01T00:00:00.000Z', total: { usd: 0 } },
    spent: { total: { usd: 0.001, credits: 0.1 } },
  })
})

test('whoever watches is told once of each share of a budget that is reached, and after a raise of those that are new', async () => {
  const { runId } = await working()
  const uid = await budget({ scope: 'run', thing: runId, period: 'total' }, 1_000)
  const told = async () => {
    await Promise.all([tellAlerts(db), tellAlerts(db)])
    const events = await readEvents(db, runId, 0, 100, ['budget'])
    return events.map(({ data }) => [data.percent, data.limit_usd])
  }
  await spend(runId, 499)
  expect(await told()).toEqual([])
  await spend(runId, 1)
  await spend(runId, 1)
  expect(await told()).toEqual([[50, 0.001]])
  await spend(runId, 600)
  const shares = [50, 80, 100].map((percent) => [percent, 0.001])
  expect((await told()).sort()).toEqual(shares.sort())
  await db.transaction().execute((tx) => changeBudget(tx, rules, { team, uid: uid ?? '' }, { microUsd: 2_000 }))
  expect(await told()).toHaveLength(3)
  await spend(runId, 600)
  expect((await told()).slice(3)).toEqual([[80, 0.002]])
})

test('without credits nothing starts and nothing goes on, where they are enforced, and both do after a grant', async () => {
  const { runId } = await working()
  const coming = { team, person: operator, parentId: null, scheduleId: null }
  expect(await refusalOfComing(db, rules, coming)).toBeNull()
  expect(await refusalOfComing(db, enforced, coming)).toMatchObject({ reason: 'credits' })
  await grant(19.99)
  expect(await refusalOfComing(db, enforced, coming)).toMatchObject({
    message: 'The team has 19.99 credits; a run needs 20 to start.',
  })
  await grant(0.01)
  expect(await refusalOfComing(db, enforced, coming)).toBeNull()
  expect(await admitCall(db, enforced, { runId, execution: 1 }, { free: false })).toBeNull()
  await spend(runId, 200_001)
  expect(await balanceOf(db, team)).toBe(-100)
  expect(await admitCall(db, enforced, { runId, execution: 1 }, { free: false })).toMatchObject({ kind: 'budget' })
  expect(await stopOfTurn(db, runId)).toMatchObject({ title: expect.stringContaining('no credits left') })
  expect(await resumeStopped(db, enforced, team)).toEqual([])
  await grant(1)
  expect(await Promise.all([resumeStopped(db, enforced, team), resumeStopped(db, enforced, team)])).toSatisfy(
    (found: string[][]) => found.flat().length === 1,
  )
})

test('a sandbox is charged by its size, in slices and at its end, to the second and once', async () => {
  const priced: MoneyRules = { ...rules, compute: { cpuHour: 40_000, gibHour: 5_000 } }
  const hostId = `host-${team}`
  await givenHost(db, { id: hostId })
  await db.updateTable('hosts').set({ cpus: 1, memory_mb: 512 }).where('id', '=', hostId).execute()
  const { runId, activities } = await working()
  const report = (key: string, change: object) =>
    activities.recordStates([{ runId, execution: 1, key, state: 'INPROGRESS', ...change }])
  await report('c', { state: 'CLAIMED', hostId })
  await report('i', { sandbox: { running: true, workspaceKept: true } })
  const { began_at: began } = await db
    .selectFrom('sandbox_meters')
    .selectAll()
    .where('run_id', '=', runId)
    .executeTakeFirstOrThrow()
  const after = (seconds: number) => ({ ...priced, now: new Date(began.getTime() + seconds * 1000) })
  const spent = async () => (await findRun(db, runId))?.request_usage
  await chargeSandboxes(db, after(30))
  expect(await spent()).toBeNull()
  // 42,500 millionths an hour: two servers at once charge a slice once.
  await Promise.all([chargeSandboxes(db, after(100)), chargeSandboxes(db, after(100))])
  expect(await spent()).toMatchObject({ compute_seconds: 100, compute_cost_usd: 0.00118 })
  await chargeSandboxes(db, after(200.9))
  expect(await spent()).toMatchObject({ compute_seconds: 200, compute_cost_usd: 0.002361, compute_cost: 0.2361 })
  await report('d', { sandbox: { running: false, workspaceKept: true } })
  // It ended before it was charged up to: what was charged stays, and there is no more.
  await chargeSandboxes(db, after(5_000))
  expect(await spent()).toMatchObject({ compute_seconds: 200 })
  expect(await sumOfLedger()).toEqual({ usd: -2_361, credits: -236_100, entries: 2 })
})

test('a sandbox whose run changes at that moment is charged the next time, and neither waits for the other', async () => {
  const hostId = `host-${team}`
  await givenHost(db, { id: hostId })
  const { runId, activities } = await working()
  await activities.recordStates([
    { runId, execution: 1, key: 'c', state: 'CLAIMED', hostId },
    { runId, execution: 1, key: 'i', state: 'INPROGRESS', sandbox: { running: true, workspaceKept: true } },
  ])
  await sql`update sandbox_meters set began_at = now() - interval '2 hours' where run_id = ${runId}`.execute(db)
  const hour: MoneyRules = { ...rules, now: new Date(Date.now() + 3_600_000) }
  const seconds = async () => (await findRun(db, runId))?.request_usage?.compute_seconds
  await db.transaction().execute(async (tx) => {
    const locked = await lockRun(tx, runId)
    const over = {
      execution: 1,
      key: 'd',
      state: 'SUCCEEDED',
      sandbox: { running: false, workspaceKept: true },
    } as const
    await changeState(tx, locked, over)
    await chargeSandboxes(db, hour)
    await changeSandbox(tx, locked, over.sandbox, 1)
  })
  expect(await seconds()).toBeUndefined()
  await chargeSandboxes(db, hour)
  expect(await seconds()).toBeGreaterThanOrEqual(7_200)
})

test('a sandbox whose host is lost is charged up to when the host was last heard of', async () => {
  const hostId = `host-${team}`
  await givenHost(db, { id: hostId })
  const { runId, activities } = await working()
  await activities.recordStates([
    { runId, execution: 1, key: 'c', state: 'CLAIMED', hostId },
    { runId, execution: 1, key: 'i', state: 'INPROGRESS', sandbox: { running: true, workspaceKept: true } },
  ])
  const hour = 3_600_000
  await sql`update sandbox_meters set began_at = now() - interval '2 hours' where run_id = ${runId}`.execute(db)
  await db
    .updateTable('hosts')
    .set({ reported_at: new Date(Date.now() - hour) })
    .where('id', '=', hostId)
    .execute()
  await chargeSandboxes(db, { ...rules, now: new Date(Date.now() + hour) })
  const seconds = async () => (await findRun(db, runId))?.request_usage?.compute_seconds
  expect(Math.round(((await seconds()) ?? 0) / 10)).toBe(360)
  // The run goes on elsewhere, which ends the meter at the same time.
  await activities.beginExecution({ runId, key: 'w/2', mail: [], goesOn: 'host_lost' })
  await chargeSandboxes(db, rules)
  expect(Math.round(((await seconds()) ?? 0) / 10)).toBe(360)
  const meter = await db.selectFrom('sandbox_meters').selectAll().where('run_id', '=', runId).executeTakeFirst()
  expect(meter).toMatchObject({ is_settled: true, ended_at: expect.any(Date) })
})

test('budgets are listed with what is spent of them', async () => {
  await budget({}, 10_000)
  const id = await run()
  await spend(id, 2_555)
  await charge(call(id, 0, { cost: null }))
  expect(await listBudgets(db, rules, team)).toEqual([
    expect.objectContaining({
      scope: 'team',
      scope_uid: team,
      period: 'month',
      limit: { usd: 0.01, credits: 1 },
      spent: { usd: 0.002555, credits: 0.2555 },
      percent: 25.5,
      unpriced_calls: 1,
      is_used_up: false,
    }),
  ])
})
