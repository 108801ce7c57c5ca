// Days pass on a Temporal server that skips time. Where none can be had the tests are skipped, and `npm test` says so.
import { describe, expect, test } from 'vitest'
import { timeSkippingServer } from '../test/support/temporal.ts'
import { type Behaviour, inWorld, terminal, useTimeSkipping, type World } from '../test/support/world.ts'
import {
  ORCHESTRATOR_QUEUE,
  SCHEDULE_WORKFLOW,
  type ScheduleRecords,
  type ScheduleSlotInput,
  slotWorkflowId,
} from './contract.ts'

const time = useTimeSkipping()

const question = {
  questionId: 'q1',
  title: 'Run rm?',
  options: [{ optionId: 'yes', name: 'Yes', kind: 'allow_once' }],
}
const asks: Behaviour['turn'] = async (turn) =>
  turn.kind === 'prompt' ? { kind: 'question', question } : { kind: 'ended', stopReason: 'end_turn' }
const answer = { kind: 'answer', id: 'a1', questionId: 'q1', optionId: 'yes' } as const

/** Three days, with other workers in the middle of them, in which nothing is done for the run. */
async function daysPass({ log, activitiesInHand, restartWorkers }: World): Promise<void> {
  const before = [...log]
  expect(await activitiesInHand()).toBe(0)
  await time.sleep('36 hours')
  await restartWorkers()
  await time.sleep('36 hours')
  expect(await activitiesInHand()).toBe(0)
  expect(log).toEqual(before)
}

describe.skipIf(timeSkippingServer() === null)('a run that waits for days holds no worker, and', () => {
  test('goes on in another sandbox when its question is answered', async () => {
    const world = await inWorld({ turn: asks }, async (world) => {
      await world.prompt({ id: 'm1' })
      await world.saw((line) => line === 'state BLOCKED')
      await time.sleep('31 minutes')
      await world.saw((line) => line === 'sandbox gone')
      await daysPass(world)
      await world.send(answer)
      await world.finished()
    })
    expect(world.log.filter((line) => /^(begin|turn|dispose)/.test(line))).toEqual([
      'begin 1',
      'turn m1',
      'dispose keeping the workspace',
      'begin 2 after answered',
      'turn belated answer yes',
      'dispose keeping the workspace',
    ])
    // It may work for an hour in all: waiting is no work.
    expect(terminal(world)).toMatchObject([{ execution: 2, state: 'SUCCEEDED' }])
  })

  test('goes on in the same sandbox where that is kept for as long', async () => {
    const plan = { questionMinutes: 7 * 24 * 60 }
    const world = await inWorld({ turn: asks, plan }, async (world) => {
      await world.prompt({ id: 'm1' })
      await world.saw((line) => line === 'checkpoint')
      // Time stands still while something is at work.
      await time.sleep('1 minute')
      await daysPass(world)
      await world.send(answer)
      await world.finished()
    })
    expect(world.log.filter((line) => /^(begin|turn)/.test(line))).toEqual(['begin 1', 'turn m1', 'turn answer yes'])
    expect(terminal(world)).toMatchObject([{ execution: 1, state: 'SUCCEEDED' }])
  })

  test('begins when its place in line comes up', async () => {
    const world = await inWorld({ plan: { admitted: false } }, async (world) => {
      await world.prompt({ id: 'm1' })
      await world.saw((line) => line === 'begin 1')
      await daysPass(world)
      await world.send({ kind: 'admit', id: 'a1', execution: 1 })
      await world.finished()
    })
    expect(world.log.slice(0, 2)).toEqual(['begin 1', 'state PENDING'])
    expect(terminal(world)).toMatchObject([{ execution: 1, state: 'SUCCEEDED' }])
  })
})

describe.skipIf(timeSkippingServer() === null)('a slot of a schedule', () => {
  test('begins later than its time by chance, and never by more than its jitter', async () => {
    const began: number[] = []
    const records: ScheduleRecords = {
      async beginSlot() {
        began.push(await time.now())
        return false
      },
      cancelSlot: async () => false,
    }
    const worker = await time.worker(ORCHESTRATOR_QUEUE, records)
    const delays = await worker.runUntil(async () => {
      const all: number[] = []
      for (let slots = 0; slots < 5; slots++) {
        const slot = Math.floor((await time.now()) / 1_000) * 1_000
        const input: ScheduleSlotInput = { scheduleId: `jitter${slots}`, jitterSeconds: 3_600 }
        await time.client().workflow.execute(SCHEDULE_WORKFLOW, {
          workflowId: slotWorkflowId(input.scheduleId, new Date(slot)),
          taskQueue: ORCHESTRATOR_QUEUE,
          args: [input],
        })
        all.push((began.at(-1) ?? 0) - slot)
      }
      return all
    })
    expect(new Set(delays).size).toBe(5)
    // Time goes on while things are done.
    for (const delay of delays) expect(delay).toBeLessThan(3_600_000 + 60_000)
    expect(Math.max(...delays)).toBeGreaterThan(60_000)
  })
})
