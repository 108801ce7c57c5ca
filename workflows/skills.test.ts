import { randomUUID } from 'node:crypto'
import { ApplicationFailure } from '@temporalio/common'
import { expect, test } from 'vitest'
import type { RunFailure } from '../domain/failure.ts'
import { recordHistory } from '../test/support/record-history.ts'
import { useTemporal } from '../test/support/world.ts'
import {
  hostQueue,
  ORCHESTRATOR_QUEUE,
  SKILLS_WORKFLOW,
  type SkillActivities,
  type SkillReadingInput,
  type SkillRecords,
  skillsWorkflowId,
} from './contract.ts'
import { RUN_FAILURE } from './options.ts'

const temporal = useTemporal()

/** What was recorded as the reading's failure. `read` null: the host is away. */
async function failuresOf(read: SkillActivities['readSkills'] | null): Promise<string[]> {
  const readingId = randomUUID()
  const hostId = `host-${readingId}`
  const failures: string[] = []
  const records: SkillRecords = {
    async recordReadingFailure(input) {
      expect(input.readingId).toBe(readingId)
      failures.push(input.failure)
    },
  }
  const workers = [
    await temporal.worker(ORCHESTRATOR_QUEUE, records),
    ...(read === null ? [] : [await temporal.worker(hostQueue(hostId), { readSkills: read })]),
  ]
  const running = workers.map((worker) => worker.run())
  const input: SkillReadingInput = { readingId, hostId, hostLostSeconds: read === null ? 1 : 30 }
  const handle = await temporal.client().workflow.start(SKILLS_WORKFLOW, {
    workflowId: skillsWorkflowId(readingId),
    taskQueue: ORCHESTRATOR_QUEUE,
    args: [input],
  })
  try {
    await handle.result()
    await recordHistory(handle, expect.getState().currentTestName ?? readingId)
  } finally {
    for (const worker of workers) worker.shutdown()
    await Promise.all(running)
  }
  return failures
}

test('a reading of skills is ended by its host', async () => {
  expect(await failuresOf(async () => {})).toEqual([])
})

test('a reading of skills whose host is away ends with that', async () => {
  expect(await failuresOf(null)).toEqual(['The host that was to read them does not answer.'])
})

test('a reading of skills that its host cannot do ends with the reason', async () => {
  const failure: RunFailure = { code: 'internal_error', phase: 'workspace', message: 'The file is not there.' }
  const read = async () => {
    throw ApplicationFailure.create({ type: RUN_FAILURE, message: 'x', details: [failure], nonRetryable: true })
  }
  expect(await failuresOf(read)).toEqual(['The file is not there.'])
})
