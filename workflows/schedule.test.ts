import { randomUUID } from 'node:crypto'
import type { WorkflowHandle } from '@temporalio/client'
import type { Worker } from '@temporalio/worker'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { recordHistory } from '../test/support/record-history.ts'
import { useTemporal } from '../test/support/world.ts'
import {
  ORCHESTRATOR_QUEUE,
  SCHEDULE_WORKFLOW,
  type ScheduleRecords,
  type ScheduleSlotInput,
  SLOT_OVER_SIGNAL,
  type SlotRef,
  slotWorkflowId,
} from './contract.ts'

const temporal = useTemporal()

interface Story {
  /** What the database answers to the beginning, and to a cancel. */
  begins?: boolean
  goesOn?: boolean
  jitterSeconds?: number
  /** Milliseconds from its time to the start of its workflow. */
  late?: number
  during: (slot: Slot) => Promise<void>
}

interface Slot {
  handle: WorkflowHandle
  /** Resolves when this was asked of the database. */
  said(line: string): Promise<void>
  over(): Promise<void>
  isOpen(): Promise<boolean>
}

/** What the database is asked, by schedule. */
const asked = new Map<string, (what: 'begin' | 'cancel', slot: string) => boolean>()
const ask = (what: 'begin' | 'cancel', { scheduleId, slot }: SlotRef) => asked.get(scheduleId)?.(what, slot) ?? false
const records: ScheduleRecords = {
  beginSlot: async (slot) => ask('begin', slot),
  cancelSlot: async (slot) => ask('cancel', slot),
}
let running: { worker: Worker; done: Promise<void> }

async function startWorker(): Promise<void> {
  const worker = await temporal.worker(ORCHESTRATOR_QUEUE, records)
  running = { worker, done: worker.run() }
}

async function endWorker(): Promise<void> {
  running.worker.shutdown()
  await running.done
}

beforeAll(startWorker)
afterAll(endWorker)

/** A slot of a schedule, on a database that says what the story has it say. Answers with what was asked of it. */
async function inSlot({ begins = true, goesOn = true, jitterSeconds = 0, late = 0, during }: Story): Promise<string[]> {
  const scheduleId = randomUUID().replaceAll('-', '').slice(0, 22)
  const slot = new Date(Math.floor((Date.now() - late) / 1000) * 1000)
  const log: string[] = []
  asked.set(scheduleId, (what, given) => {
    expect(new Date(given)).toEqual(slot)
    log.push(what)
    return what === 'begin' ? begins : goesOn
  })
  const input: ScheduleSlotInput = { scheduleId, jitterSeconds }
  const handle = await temporal.client().workflow.start(SCHEDULE_WORKFLOW, {
    workflowId: slotWorkflowId(scheduleId, slot),
    taskQueue: ORCHESTRATOR_QUEUE,
    args: [input],
  })
  await during({
    handle,
    said: (line) => expect.poll(() => log, { interval: 20 }).toContain(line),
    over: () => handle.signal(SLOT_OVER_SIGNAL),
    isOpen: async () => (await handle.describe()).status.name === 'RUNNING',
  })
  await handle.result()
  await recordHistory(handle, expect.getState().currentTestName ?? scheduleId)
  return log
}

test('a slot begins its run once and stays until that is over, whatever becomes of the worker', async () => {
  const log = await inSlot({
    async during({ said, isOpen, over }) {
      await said('begin')
      await endWorker()
      await startWorker()
      expect(await isOpen()).toBe(true)
      await over()
    },
  })
  expect(log).toEqual(['begin'])
})

test('a slot with nothing to wait for ends at once', async () => {
  expect(await inSlot({ begins: false, during: async () => {} })).toEqual(['begin'])
})

test('a slot whose run is over before it knows that it has one ends all the same', async () => {
  expect(await inSlot({ during: ({ over }) => over() })).toEqual(['begin'])
})

test('a slot that is cancelled cancels its run, and stays until that has ended', async () => {
  const log = await inSlot({
    async during({ handle, said, isOpen, over }) {
      await said('begin')
      await handle.cancel()
      await said('cancel')
      expect(await isOpen()).toBe(true)
      await over()
    },
  })
  expect(log).toEqual(['begin', 'cancel'])
})

test('a slot that is cancelled while it waits for its chance never begins', async () => {
  const log = await inSlot({
    jitterSeconds: 3_600,
    goesOn: false,
    during: async ({ handle }) => void (await handle.cancel()),
  })
  expect(log).toEqual(['cancel'])
})

test('a slot that comes late does not wait any longer', async () => {
  expect(await inSlot({ jitterSeconds: 60, late: 61_000, during: ({ over }) => over() })).toEqual(['begin'])
})
