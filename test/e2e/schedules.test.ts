// Schedules over the deaths of everything that has a part in them.
import { Client, Connection } from '@temporalio/client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { RunItem } from '../../domain/run.ts'
import type { ScheduleItem, ScheduleSlot } from '../../domain/schedule.ts'
import { temporalScheduleId } from '../../workflows/contract.ts'
import { type Stack, startStack } from '../support/stack.ts'

let stack: Stack
beforeAll(async () => {
  stack = await startStack({ host: 'direct', withoutModel: true })
})
afterAll(() => stack?.stop())

const base = '/api/v1/agent/schedules'
const body = {
  prompt: 'Do it',
  agent_config: { harness: { type: 'command', command: ['true'] }, idle_timeout_minutes: 0 },
  overlap_policy: 'allow_all',
}

const slotsOf = async (id: string) =>
  (await stack.call<{ slots: ScheduleSlot[] }>('GET', `${base}/${id}/runs?limit=500`)).body.slots
const runsOf = async (id: string) =>
  (await stack.call<{ runs: RunItem[] }>('GET', `/api/v1/agent/runs?schedule_id=${id}&limit=500`)).body.runs

async function made(more: Record<string, unknown>): Promise<string> {
  const { status, body: item } = await stack.call<ScheduleItem>('POST', base, { ...body, ...more })
  expect({ status, item }).toMatchObject({ status: 201 })
  return item.id
}

/** From now on its times come so often: a cron expression has none closer than a minute. */
async function every(id: string, interval: '2s'): Promise<void> {
  const connection = await Connection.connect({ address: `127.0.0.1:${stack.env.AMBIENT_TEMPORAL_PORT}` })
  const { schedule } = new Client({ connection })
  await schedule
    .getHandle(temporalScheduleId(id))
    .update((former) => ({ ...former, spec: { intervals: [{ every: interval }] } }))
  await connection.close()
}

test('each slot makes one run, and none is without its word, while worker, server and Temporal are killed', async () => {
  const id = await made({ name: 'often', cron_schedule: '* * * * *' })
  await every(id, '2s')
  await expect.poll(async () => (await runsOf(id)).length).toBeGreaterThan(0)
  for (const part of ['worker', 'server', 'temporal'] as const) {
    await stack.kill(part)
    const before = (await slotsOf(id)).filter(({ run }) => run !== null).length
    await expect
      .poll(async () => (await slotsOf(id)).filter(({ run }) => run !== null).length, { timeout: 60_000 })
      .toBeGreaterThan(before)
  }
  // What had been handed to the dead comes late, and a paused schedule begins nothing.
  const runTimes = async () =>
    (await slotsOf(id)).filter(({ run }) => run !== null).map(({ scheduled_time: time }) => Date.parse(time) / 2_000)
  let [first, newest] = [0, 0]
  const isCaughtUp = async () => {
    const times = await runTimes()
    ;[first, newest] = [Math.min(...times), Math.max(...times)]
    return newest * 2_000 > Date.now() - 6_000 && times.length === newest - first + 1
  }
  await expect.poll(isCaughtUp, { timeout: 60_000 }).toBe(true)
  await stack.call('POST', `${base}/${id}/pause`)
  await expect
    .poll(async () => (await runsOf(id)).every(({ state }) => state === 'SUCCEEDED'), { timeout: 60_000 })
    .toBe(true)
  const slots = await slotsOf(id)
  const started = slots.flatMap(({ run }) => (run === null ? [] : [run.run_id]))
  expect(new Set(started).size).toBe(started.length)
  expect((await runsOf(id)).map(({ run_id: runId }) => runId).sort()).toEqual([...started].sort())
  const times = slots.map(({ scheduled_time: time }) => Date.parse(time) / 2_000)
  expect(times).toEqual(times.map((_, at) => (times[0] ?? 0) - at))
  // All that came while something was dead were made up for. The newest may have come with the pause.
  expect(started.length).toBeGreaterThan(3)
  for (const slot of slots) {
    const at = Date.parse(slot.scheduled_time) / 2_000
    if (at >= first && at <= newest) expect(slot).toMatchObject({ outcome: 'started' })
  }
}, 180_000)

test('a backfill whose server dies at once is finished by its successor', async () => {
  const id = await made({ name: 'missed', cron_schedule: '0 * * * *', overlap_policy: 'skip' })
  const asked = await stack.call('POST', `${base}/${id}/backfill`, {
    from: '2026-01-05T01:00:00Z',
    to: '2026-01-05T03:00:00Z',
  })
  expect(asked.status).toBe(202)
  await stack.kill('server')
  await expect
    .poll(async () => (await runsOf(id)).map(({ state }) => state), { timeout: 60_000 })
    .toEqual(['SUCCEEDED', 'SUCCEEDED', 'SUCCEEDED'])
  expect(await slotsOf(id)).toMatchObject(
    [3, 2, 1].map((hour) => ({ scheduled_time: `2026-01-05T0${hour}:00:00.000Z`, kind: 'backfill' })),
  )
}, 120_000)
