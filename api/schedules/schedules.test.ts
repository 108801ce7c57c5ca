// Over a real database, a real Temporal server, and a worker for the slots. What runs do, the test says.
import type { Worker } from '@temporalio/worker'
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { makeScheduleActivities } from '../../activities/schedules.ts'
import { ambient } from '../../cli/testing/command.ts'
import { type RunState, terminalTimeline } from '../../domain/state.ts'
import { recordState } from '../../store/runs/states.ts'
import { writeAbsence, writeSlot } from '../../store/schedules/schedule-slots.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { useTemporal } from '../../test/support/world.ts'
import { ORCHESTRATOR_QUEUE, temporalScheduleId } from '../../workflows/contract.ts'

const temporal = useTemporal()
let api: TestApi
let worker: Worker
let working: Promise<void>

beforeAll(async () => {
  api = await startTestApi({ client: temporal.client() })
  await work()
  // A server that has just begun may not be ready for schedules yet.
  const { id } = await made()
  await vi.waitFor(async () => expect((await read(id)).history.next_run).not.toBeNull(), { timeout: 20_000 })
  await api.call('DELETE', `${base}/${id}`)
})
afterAll(async () => {
  await rest()
  await api?.close()
})

async function work(): Promise<void> {
  // The workflows of the runs themselves find nothing to do.
  const nothing = { beginExecution: async () => null, endAbandoned: async () => null }
  worker = await temporal.worker(ORCHESTRATOR_QUEUE, { ...makeScheduleActivities({ db: api.db }), ...nothing })
  working = worker.run()
}

async function rest(): Promise<void> {
  worker?.shutdown()
  await working
}

const base = '/agent/schedules'
const daily = { name: 'daily', cron_schedule: '0 9 * * *', prompt: 'Look at it' }
let number = 0
const made = async (more: Record<string, unknown> = {}) => {
  number += 1
  const { status, body } = await api.call('POST', base, { ...daily, name: `daily ${number}`, ...more })
  expect({ status, body }).toMatchObject({ status: 201 })
  return body
}
const read = async (id: string) => (await api.call('GET', `${base}/${id}`)).body
const slots = async (id: string) => (await api.call('GET', `${base}/${id}/runs?limit=500`)).body.slots
const runsOf = async (id: string) => (await api.call('GET', `/agent/runs?schedule_id=${id}&limit=500`)).body.runs
/** As its workflow would say. */
async function end(runId: string, state: 'SUCCEEDED' | 'FAILED' | 'CANCELLED'): Promise<void> {
  await api.db
    .updateTable('mail')
    .set({ accepted_at: new Date(), accepted_by: 'the test' })
    .where('run_id', '=', runId)
    .execute()
  const failure = { code: 'command_failed', phase: 'turn', message: 'It said no.' } as const
  const change = { runId, execution: 1, key: 'ends', state, timeline: terminalTimeline[state] }
  await recordState(api.db, { ...change, ...(state === 'FAILED' && { failure }) })
}

test('a schedule is served, listed by name, and deleted, as Oz has it', async () => {
  const item = await made({ name: 'b', metadata: { a: '1' }, agent_config: { name: 'ci' } })
  expect(item).toMatchObject({
    id: expect.stringMatching(/^[A-Za-z0-9]{22}$/),
    ...{ name: 'b', cron_schedule: '0 9 * * *', enabled: true, prompt: 'Look at it', mode: 'normal' },
    ...{ agent_config: { name: 'ci' }, agent_uid: null, metadata: { a: '1' }, environment: null },
    created_by: { uid: 'operator' },
    scope: { type: 'Team', uid: 'default' },
    history: { last_ran: null, next_run: expect.stringMatching(/T09:00:00\.000Z$/) },
    last_spawn_error: null,
  })
  const other = await made({ name: 'A' })
  const names = (await api.call('GET', base)).body.schedules.map(({ name }: { name: string }) => name)
  expect(names).toEqual(['A', 'b'])
  for (const { id } of [item, other])
    expect(await api.call('DELETE', `${base}/${id}`)).toMatchObject({ status: 200, body: { success: true } })
  expect((await api.call('GET', `${base}/${item.id}`)).status).toBe(404)
  expect((await api.call('GET', base)).body.schedules).toEqual([])
})

test('PUT replaces everything: what is left out is as if it had never been given', async () => {
  const environment = (await api.call('POST', '/agent/environments', { name: 'web', setup_commands: ['true'] })).body
  const { id } = await made({
    ...{ metadata: { a: '1' }, agent_config: { environment_id: environment.uid }, time_zone: 'Europe/Berlin' },
    ...{ overlap_policy: 'buffer_all', jitter_seconds: 5, pause_after_failures: 2, catchup_window_seconds: 60 },
  })
  expect((await read(id)).environment).toMatchObject({ name: 'web', setup_commands: ['true'] })
  const { status, body } = await api.call('PUT', `${base}/${id}`, {
    ...{ name: 'other', cron_schedule: '30 8 * * *', enabled: false, prompt: 'Other' },
  })
  expect(status).toBe(200)
  expect(body).toMatchObject({
    ...{ name: 'other', cron_schedule: '30 8 * * *', enabled: false, prompt: 'Other', metadata: {} },
    ...{ agent_config: null, environment: null, time_zone: 'UTC', overlap_policy: 'skip', jitter_seconds: 0 },
    ...{ pause_after_failures: null, catchup_window_seconds: 3600, history: { next_run: null } },
  })
  expect(await api.call('PUT', `${base}/${id}`, { name: 'x', cron_schedule: '0 9 * * *', prompt: 'x' })).toMatchObject({
    status: 400,
    body: { detail: expect.stringContaining('enabled') },
  })
})

test.each([
  [{ cron_schedule: '0 25 * * *' }, 400, /cron_schedule: .*hour: 25/],
  [{ cron_schedule: '0 9 * *' }, 400, /cron_schedule: must have five fields/],
  [{ cron_schedule: '0 0 31 2 *' }, 400, /cron_schedule: names no day that ever comes/],
  [{ cron_schedule: '0 9 L * *' }, 400, /cron_schedule: has "L" in its field 3/],
  [{ time_zone: 'Europe/Atlantis' }, 400, /time_zone: must be a time zone/],
  [{ prompt: undefined }, 400, /prompt: is required/],
  [{ agent_config: { environment_id: 'A'.repeat(22) } }, 404, /agent_config\.environment_id: there is no environment/],
  [{ agent_config: { skills: ['a/b:c'] } }, 404, /no environment of the team has the repository a\/b/],
  [{ overlap_policy: 'terminate' }, 400, /overlap_policy/],
])('%j is refused, and nothing is made', async (more, status, detail) => {
  const before = (await api.call('GET', base)).body.schedules.length
  const refused = await api.call('POST', base, { ...daily, ...more })
  expect({ status: refused.status, detail: refused.body.detail }).toEqual({
    status,
    detail: expect.stringMatching(detail),
  })
  expect((await api.call('GET', base)).body.schedules.length).toBe(before)
})

test('the next times follow the clocks of their time zone over its changes', async () => {
  const { id } = await made({ cron_schedule: '30 2 28-31 3 *', time_zone: 'Europe/Berlin' })
  const { body } = await api.call('GET', `${base}/${id}/upcoming?limit=8`)
  // On the last Sunday of March 2:30 does not exist; from then on it is two hours ahead of UTC.
  const isSummer = (time: string) => new Date(time) >= lastSundayOfMarch(new Date(time).getUTCFullYear())
  expect(body.times.length).toBe(8)
  for (const time of body.times) expect(time).toMatch(isSummer(time) ? /T00:30:00\.000Z$/ : /T01:30:00\.000Z$/)
  for (const time of body.times)
    expect(new Date(time).getUTCDate()).not.toBe(lastSundayOfMarch(new Date(time).getUTCFullYear()).getUTCDate())
})

function lastSundayOfMarch(year: number): Date {
  const day = new Date(Date.UTC(year, 2, 31))
  day.setUTCDate(31 - day.getUTCDay())
  return day
}

test('where both days are given, either of them will do, as with cron', async () => {
  const { id } = await made({ cron_schedule: '0 0 13 * FRI' })
  const { times } = (await api.call('GET', `${base}/${id}/upcoming?limit=20`)).body
  const days = times.map((time: string) => new Date(time))
  for (const day of days) expect(day.getUTCDay() === 5 || day.getUTCDate() === 13).toBe(true)
  expect(days.some((day: Date) => day.getUTCDate() === 13 && day.getUTCDay() !== 5)).toBe(true)
})

test('a saved prompt is the task of its runs as it is when each begins', async () => {
  const text = 'Update {{what}}'
  const saved = (await api.call('POST', '/agent/prompts', { name: 'update', text, arguments: [{ name: 'what' }] })).body
  const use = { name: 'update', arguments: { what: 'all' } }
  const item = await made({ prompt: undefined, saved_prompt: use })
  expect(item).toMatchObject({ prompt: '', saved_prompt: use })
  await api.call('PUT', `/agent/prompts/${saved.uid}`, { ...saved, text: 'Mend {{what}}' })
  await api.call('POST', `${base}/${item.id}/run`)
  expect(await runsOf(item.id)).toMatchObject([
    { prompt: 'Mend all', configuration: { saved_prompt: { uid: saved.uid, version: 2 } } },
  ])
  expect((await api.call('PUT', `${base}/${item.id}`, item)).body.saved_prompt).toEqual(use)
  const refused = await api.call('POST', base, { ...daily, prompt: undefined, saved_prompt: { name: 'update' } })
  expect(refused.body.detail).toBe('saved_prompt.arguments.what: is required')
})

test('a run that is asked for now begins at once, and names its schedule as it was', async () => {
  const { id } = await made({ name: 'now', metadata: { a: '1' } })
  const { status, body } = await api.call('POST', `${base}/${id}/run`)
  expect(status).toBe(200)
  await api.call('PUT', `${base}/${id}`, { ...daily, name: 'renamed', enabled: true })
  expect(await runsOf(id)).toMatchObject([
    {
      ...{ run_id: body.run_id, title: 'now', source: 'SCHEDULED_AGENT', metadata: { a: '1' } },
      schedule: { schedule_id: id, schedule_name: 'now', cron_schedule: '0 9 * * *' },
    },
  ])
  expect(await slots(id)).toMatchObject([
    { kind: 'manual', outcome: 'started', scheduled_time: body.scheduled_time, run: { run_id: body.run_id } },
  ])
  expect((await read(id)).history.last_ran).not.toBeNull()
})

test('a backfill makes exactly the runs that were missed, one after the other, however often it is asked for', async () => {
  const { id } = await made({ cron_schedule: '0 * * * *' })
  const hour = (number: number) => new Date(Date.UTC(2026, 0, 5, number)).toISOString()
  const asked = await api.call('POST', `${base}/${id}/backfill`, { from: hour(2), to: hour(3) })
  expect(asked).toMatchObject({ status: 202, body: { scheduled_times: [hour(2), hour(3)], already_started: [] } })
  await endsAll(id, 2)

  const again = await api.call('POST', `${base}/${id}/backfill`, { from: hour(0), to: hour(4) })
  expect(again.body).toEqual({ scheduled_times: [0, 1, 4].map(hour), already_started: [2, 3].map(hour) })
  await endsAll(id, 5)
  const done = await slots(id)
  expect(done.map(({ scheduled_time: time }: { scheduled_time: string }) => time)).toEqual([4, 3, 2, 1, 0].map(hour))
  for (const slot of done) expect(slot).toMatchObject({ kind: 'backfill', outcome: 'started' })
  expect(await runsOf(id)).toHaveLength(5)
  const future = await api.call('POST', `${base}/${id}/backfill`, { from: hour(0), to: '2999-01-01T00:00:00Z' })
  expect(future).toMatchObject({ status: 400, body: { detail: expect.stringContaining('to:') } })
})

/** Each run ends as soon as it is there; there is never more than one. */
async function endsAll(id: string, count: number, state: 'SUCCEEDED' | 'FAILED' = 'SUCCEEDED'): Promise<void> {
  await expect
    .poll(
      async () => {
        const runs: { run_id: string; state: RunState }[] = await runsOf(id)
        const going = runs.filter(({ state }) => state === 'QUEUED')
        expect(going.length).toBeLessThanOrEqual(1)
        for (const { run_id: runId } of going) await end(runId, state)
        return runs.length - going.length
      },
      { interval: 50 },
    )
    .toBe(count)
}

test('failures in a row pause a schedule, which says why; to resume it forgives them', async () => {
  const { id } = await made({ cron_schedule: '0 * * * *', pause_after_failures: 2 })
  const stretch = { from: '2026-01-05T00:00:00Z', to: '2026-01-05T02:00:00Z' }
  await api.call('POST', `${base}/${id}/backfill`, stretch)
  await endsAll(id, 2, 'FAILED')
  await expect.poll(async () => (await read(id)).enabled).toBe(false)
  expect(await read(id)).toMatchObject({
    failures_in_a_row: 2,
    paused_reason: expect.stringMatching(
      /^Paused after 2 failures in a row\. The last one: the run .* FAILED\. It said no\./,
    ),
    history: { next_run: null },
  })
  const entries = (await api.call('GET', `/agent/audit-log?thing=${id}`)).body.entries
  expect(entries[0]).toMatchObject({ action: 'schedules.pause', actor: { type: 'system' } })
  const resumed = (await api.call('POST', `${base}/${id}/resume`)).body
  expect(resumed).toMatchObject({ enabled: true, paused_reason: null, failures_in_a_row: 0 })
  expect(resumed.history.next_run).not.toBeNull()
})

test('a slot that can start no run says so, and counts as a failure', async () => {
  const environment = (await api.call('POST', '/agent/environments', { name: 'gone' })).body
  const { id } = await made({
    ...{ cron_schedule: '0 * * * *', pause_after_failures: 1, agent_config: { environment_id: environment.uid } },
  })
  await api.call('DELETE', `/agent/environments/${environment.uid}`)
  await api.call('POST', `${base}/${id}/backfill`, { from: '2026-01-05T01:00:00Z', to: '2026-01-05T01:00:00Z' })
  await expect.poll(async () => (await read(id)).enabled).toBe(false)
  expect(await read(id)).toMatchObject({ last_spawn_error: expect.stringContaining(environment.uid) })
  expect(await slots(id)).toMatchObject([
    { outcome: 'failed', run: null, reason: expect.stringContaining('no environment') },
  ])
  expect(await runsOf(id)).toEqual([])
})

test('a schedule of somebody who has left the team says so, until somebody else takes it over; a personal one is its owner’s', async () => {
  const member = await api.call('POST', '/agent/teams/default/members', { email: 'ann@example.com' })
  const { key } = (await api.call('POST', '/agent/api-keys', { name: 'k', person: 'ann@example.com', scope: 'manage' }))
    .body
  const asAnn = { authorization: `Bearer ${key}` }
  const agent = (await api.call('POST', '/agent/identities', { name: 'nightly' })).body
  const body = { ...daily, cron_schedule: '0 * * * *' }
  const own = (await api.call('POST', base, { ...body, team: false }, asAnn)).body
  const { id } = (await api.call('POST', base, { ...body, agent_uid: agent.uid }, asAnn)).body
  expect(own.scope).toEqual({ type: 'User', uid: member.body.uid })

  const now = (await api.call('POST', `${base}/${id}/run`)).body
  expect(await runsOf(id)).toMatchObject([
    {
      creator: { uid: member.body.uid },
      executor: { type: 'service_account', uid: agent.uid },
      scope: { type: 'Team' },
    },
  ])
  await api.call('POST', '/agent/teams/default/members', { email: 'bob@example.com' })
  const bobs = (await api.call('POST', '/agent/api-keys', { name: 'k', person: 'bob@example.com', scope: 'manage' }))
    .body
  const asBob = { authorization: `Bearer ${bobs.key}` }
  expect((await api.call('GET', `${base}/${own.id}`, undefined, asBob)).status).toBe(404)
  expect((await api.call('POST', `${base}/${own.id}/pause`, undefined, asBob)).status).toBe(404)
  expect((await api.call('GET', `${base}/${own.id}`, undefined, asAnn)).status).toBe(200)

  await api.call('DELETE', `/agent/teams/default/members/${member.body.uid}`)
  await end(now.run_id, 'SUCCEEDED')
  const from = '2026-01-05T01:00:00Z'
  await api.call('POST', `${base}/${id}/backfill`, { from, to: from })
  await expect.poll(async () => (await read(id)).last_spawn_error).toMatch(/no active member of the team any more/)
  expect(await read(id)).toMatchObject({ failures_in_a_row: 1 })
  await api.call('POST', `${base}/${id}/resume`, undefined, asBob)
  await api.call('POST', `${base}/${id}/backfill`, { from, to: from })
  await expect.poll(async () => (await runsOf(id)).length).toBe(2)
  expect(await read(id)).toMatchObject({ last_spawn_error: null, failures_in_a_row: 0 })
})

/** From now on its times come every second: a cron expression has none closer than a minute. */
async function everySecond(id: string): Promise<void> {
  const handle = temporal.client().schedule.getHandle(temporalScheduleId(id))
  await handle.update((former) => ({ ...former, spec: { intervals: [{ every: '1s' }] } }))
}

test('each slot of the clock makes one run; one whose time comes while another goes on is skipped, and says so', async () => {
  const { id } = await made()
  await everySecond(id)
  await expect.poll(async () => (await runsOf(id)).length).toBe(1)
  const [first] = await runsOf(id)
  expect((await api.call('GET', `/agent/audit-log?thing=${first.run_id}`)).body.entries).toMatchObject([
    { action: 'runs.create', actor: { type: 'system' }, detail: { schedule: id } },
  ])
  const { schedule } = temporal.client()
  const skipped = async () =>
    (await schedule.getHandle(temporalScheduleId(id)).describe()).info.numActionsSkippedOverlap
  await expect.poll(skipped).toBeGreaterThanOrEqual(2)
  expect(await runsOf(id)).toHaveLength(1)
  await end(first.run_id, 'SUCCEEDED')
  await expect.poll(async () => (await runsOf(id)).length).toBe(2)
  await api.call('POST', `${base}/${id}/pause`)
  for (const { run_id: runId, state } of await runsOf(id)) if (state === 'QUEUED') await end(runId, 'SUCCEEDED')
  // A second may have passed before Temporal heard of the new times: its slot is not of them.
  const told = await slots(id)
  const all = told.slice(0, told.findLastIndex(({ outcome }: { outcome: string }) => outcome === 'started') + 1)
  const times = all.map(({ scheduled_time: time }: { scheduled_time: string }) => Date.parse(time) / 1_000)
  // Every second between the two is told of.
  const between = all.filter(({ outcome }: { outcome: string }) => outcome === 'skipped')
  expect(between.length).toBeGreaterThanOrEqual(2)
  for (const slot of between) expect(slot.reason).toMatch(/^The run .* was still going on \(overlap_policy: skip\)\.$/)
  expect(times).toEqual(times.map((_: number, at: number) => times[0] - at))
})

test('with buffer_one a single run comes after the one that goes on, however many times have passed', async () => {
  const { id } = await made({ overlap_policy: 'buffer_one' })
  await everySecond(id)
  await expect.poll(async () => (await runsOf(id)).length).toBe(1)
  const [first] = await runsOf(id)
  const { schedule } = temporal.client()
  const skipped = async () =>
    (await schedule.getHandle(temporalScheduleId(id)).describe()).info.numActionsSkippedOverlap
  await expect.poll(skipped).toBeGreaterThanOrEqual(2)
  expect(await runsOf(id)).toHaveLength(1)
  await end(first.run_id, 'SUCCEEDED')
  await expect.poll(async () => (await runsOf(id)).length).toBe(2)
  // Its time is that of the first one that had to wait, and those after it are given up.
  const started = (await slots(id)).filter(({ run }: { run: object | null }) => run !== null)
  const times = started.map(({ scheduled_time: time }: { scheduled_time: string }) => Date.parse(time))
  expect(times[0] - times[1]).toBe(1_000)
  await api.call('DELETE', `${base}/${id}`)
})

test('a time at which nobody was there, for longer than the catch-up window, is told as missed, once', async () => {
  const { id } = await made({ cron_schedule: '0 * * * *', catchup_window_seconds: 10 })
  const hour = 3_600_000
  const last = Math.floor((Date.now() - 60_000) / hour) * hour
  const times = [last, last - hour].map((time) => new Date(time))
  await api.db
    .updateTable('schedules')
    .set({ accounted_to: new Date(last - hour - 1), upcoming: sql`${[times[1]?.toISOString()]}::timestamptz[]` })
    .where('id', '=', id)
    .execute()
  // As another server does that begins now.
  const keeper = api.anotherKeeper()
  await expect.poll(async () => (await slots(id)).length).toBe(2)
  await keeper.settled(5_000)
  await keeper.close()
  expect(await slots(id)).toEqual(
    times.map((time) => ({
      scheduled_time: time.toISOString(),
      ...{ kind: 'scheduled', outcome: 'missed', run: null },
      reason: expect.stringContaining('longer after it than the catch-up window (10 s)'),
    })),
  )
  expect(await runsOf(id)).toEqual([])
})

test('a name is taken once for the team, and once for each person; the audit log says what was done to which', async () => {
  const { id, name } = await made()
  const again = await api.call('POST', base, { ...daily, name })
  expect(again).toMatchObject({ status: 409, body: { detail: `name: There is a schedule "${name}" already.` } })
  const other = await made()
  const whole = { ...daily, enabled: true }
  expect((await api.call('PUT', `${base}/${other.id}`, { ...whole, name })).status).toBe(409)
  await made({ name, team: false })
  expect((await api.call('PUT', `${base}/${id}`, { ...whole, name })).status).toBe(200)
  for (const word of ['pause', 'resume', 'run'])
    expect((await api.call('POST', `${base}/${id}/${word}`)).status).toBe(200)
  const from = '2026-01-05T09:00:00Z'
  expect((await api.call('POST', `${base}/${id}/backfill`, { from, to: from })).status).toBe(202)
  await api.call('DELETE', `${base}/${id}`)
  const { entries } = (await api.call('GET', `/agent/audit-log?thing=${id}`)).body
  expect(entries.map(({ action, detail }: { action: string; detail: object }) => [action, detail]).reverse()).toEqual([
    ['schedules.create', { name, enabled: true }],
    ['schedules.update', { name, enabled: true }],
    ['schedules.pause', { name, enabled: false }],
    ['schedules.resume', { name, enabled: true }],
    ['schedules.run', { name, run: expect.any(String) }],
    ['schedules.backfill', { name, times: 1 }],
    ['schedules.delete', { name, enabled: false }],
  ])
  // Its name is free again.
  await made({ name })
})

test('a slot that begins while it is being looked at goes on', async () => {
  const { id } = await made()
  const slot = new Date('2026-01-05T01:00:00Z')
  await api.db.transaction().execute(async (tx) => {
    await writeSlot(tx, { scheduleId: id, slot, kind: 'scheduled', outcome: 'due', isKnown: true })
    await writeAbsence(tx, { scheduleId: id, slot, outcome: 'missed', reason: 'Nobody was there.' })
  })
  api.schedules.nudge()
  await expect.poll(() => slots(id)).toMatchObject([{ outcome: 'started', reason: null }])
})

test('with cancel_other the next slot cancels the run before it, and begins when that has ended', async () => {
  const { id } = await made({ overlap_policy: 'cancel_other' })
  await everySecond(id)
  await expect.poll(async () => (await runsOf(id)).length).toBe(1)
  const [first] = await runsOf(id)
  const cancel = () =>
    api.db.selectFrom('mail').select('body').where('run_id', '=', first.run_id).where('kind', '=', 'cancel').execute()
  await expect.poll(cancel).toMatchObject([{ body: { reason: expect.stringContaining('next run of its schedule') } }])
  expect(await runsOf(id)).toHaveLength(1)
  await end(first.run_id, 'CANCELLED')
  await expect.poll(async () => (await runsOf(id)).length).toBe(2)
  expect(await read(id)).toMatchObject({ failures_in_a_row: 0 })
  await api.call('DELETE', `${base}/${id}`)
})

test('a schedule that Temporal has lost is made again, and knows of the run that goes on', async () => {
  const { id } = await made()
  const { run_id: runId } = (await api.call('POST', `${base}/${id}/run`)).body
  const handle = temporal.client().schedule.getHandle(temporalScheduleId(id))
  await handle.delete()
  await api.db
    .updateTable('schedules')
    .set({ handed_at: new Date(0) })
    .where('id', '=', id)
    .execute()
  await api.schedules.lookForLost()
  await expect.poll(async () => (await handle.describe().catch(() => null))?.info.runningActions.length).toBe(1)
  await end(runId, 'SUCCEEDED')
  await expect.poll(async () => (await handle.describe()).info.runningActions.length).toBe(0)
  // Whoever looks first finds it out.
  await handle.delete()
  expect((await api.call('GET', `${base}/${id}/upcoming`)).body.times).toHaveLength(10)
})

test('the command line makes a schedule, changes, shows and runs it, makes up for what it missed, and deletes it', async () => {
  const cli = async (...args: string[]) => {
    const done = await ambient(['schedules', ...args], { url: api.url, env: { AMBIENT_API_KEY: api.key } })
    expect(done).toMatchObject({ code: 0 })
    return done.stdout
  }
  const made = await cli('create', 'line', '--cron', '0 9 * * *', '--prompt', 'Look', '--metadata', 'a=1')
  const [, id = ''] = /^line is made: (\w{22})\n$/.exec(made) ?? []
  await cli('update', 'line', '--time-zone', 'Asia/Tokyo', '--overlap', 'buffer_one')
  expect(await read(id)).toMatchObject({ time_zone: 'Asia/Tokyo', overlap_policy: 'buffer_one', metadata: { a: '1' } })
  expect(await cli('upcoming', 'line', '--limit', '2')).toMatch(/^(\S+T00:00:00\.000Z {2}.* 09:00:00 .*\n){2}$/)
  const runId = (await cli('run', 'line')).trim()
  await end(runId, 'SUCCEEDED')
  expect(await cli('backfill', 'line', '--from', '2026-01-05', '--to', '2026-01-05T23:00')).toBe(
    '2026-01-05T00:00:00.000Z\n',
  )
  await expect.poll(async () => (await runsOf(id)).length).toBe(2)
  await cli('create', 'backup', '--cron', '0 2 * * *', '--agent', 'command', '--', './backup.sh', '--all files')
  expect((await api.call('GET', base)).body.schedules).toContainEqual(
    expect.objectContaining({
      ...{ name: 'backup', prompt: "./backup.sh '--all files'" },
      agent_config: { harness: expect.objectContaining({ command: ['./backup.sh', '--all files'] }) },
    }),
  )
  expect(await cli('list')).toMatch(/line +\w{22} +0 9 \* \* \* Asia\/Tokyo +on +in /)
  expect(await cli('show', 'line')).toContain(`manual    SUCCEEDED  ${runId.slice(0, 8)}`)
  expect(await cli('delete', 'line')).toBe('line is deleted. Its runs stay.\n')
  expect(await runsOf(id)).toHaveLength(2)
})
