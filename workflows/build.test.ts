import { randomUUID } from 'node:crypto'
import { Context } from '@temporalio/activity'
import { ApplicationFailure } from '@temporalio/common'
import { expect, test } from 'vitest'
import type { RunFailure } from '../domain/failure.ts'
import { recordHistory } from '../test/support/record-history.ts'
import { type Pace, untilCancelled, useTemporal } from '../test/support/world.ts'
import {
  BUILD_WORKFLOW,
  type BuildActivities,
  type BuildEnd,
  type BuildRecords,
  buildWorkflowId,
  type EnvironmentBuildInput,
  hostQueue,
  ORCHESTRATOR_QUEUE,
} from './contract.ts'
import { RUN_FAILURE } from './options.ts'

const temporal = useTemporal()

const result = { key: 'a'.repeat(64), reused: false, bytes: 1_000, image: null, commits: { app: 'c0ffee' } }

interface Story {
  /** Null: the host is away. */
  host: ((attempt: number, signal: AbortSignal) => ReturnType<BuildActivities['buildEnvironment']>) | null
  /** Resolved when the host is asked. */
  asked?: () => void
  meanwhile?: (handle: { cancel(): Promise<unknown> }) => Promise<void>
  hostLostSeconds?: number
  pace?: Pace
}

/** Every end that was recorded. */
async function build({ host, asked, meanwhile, hostLostSeconds = 30, pace }: Story): Promise<BuildEnd[]> {
  const buildId = randomUUID()
  const hostId = `host-${buildId}`
  const ends: BuildEnd[] = []
  const records: BuildRecords = {
    async recordBuild(input) {
      expect(input.buildId).toBe(buildId)
      ends.push(input.end)
    },
  }
  const activities: BuildActivities = {
    async buildEnvironment(input) {
      expect(input).toEqual({ buildId })
      asked?.()
      const { info, cancellationSignal } = Context.current()
      const beating = setInterval(() => Context.current().heartbeat(), 50)
      try {
        return (await host?.(info.attempt, cancellationSignal)) as never
      } finally {
        clearInterval(beating)
      }
    },
  }
  const workers = [
    await temporal.worker(ORCHESTRATOR_QUEUE, records, pace),
    ...(host === null ? [] : [await temporal.worker(hostQueue(hostId), activities)]),
  ]
  const done = workers.map((worker) => worker.run())
  try {
    const input: EnvironmentBuildInput = { buildId, hostId, hostLostSeconds }
    const handle = await temporal.client().workflow.start(BUILD_WORKFLOW, {
      workflowId: buildWorkflowId(buildId),
      taskQueue: ORCHESTRATOR_QUEUE,
      args: [input],
    })
    await meanwhile?.(handle)
    await handle.result()
    await recordHistory(handle, expect.getState().currentTestName ?? buildId)
  } finally {
    for (const worker of workers) worker.shutdown()
    await Promise.all(done)
  }
  return ends
}

test('a build ends with what its host has made', async () => {
  expect(await build({ host: async () => ({ kind: 'ready', result }) })).toEqual([{ kind: 'ready', result }])
})

test('a build is tried again where the platform failed', async () => {
  const unavailable: RunFailure = { code: 'registry_unavailable', phase: 'workspace', message: 'No answer.' }
  const again = await build({
    host: async (attempt) => {
      if (attempt > 1) return { kind: 'ready', result }
      const { message } = unavailable
      throw ApplicationFailure.create({ type: RUN_FAILURE, message, details: [unavailable], nextRetryDelay: '10ms' })
    },
  })
  expect(again).toEqual([{ kind: 'ready', result }])
})

test('a build that the platform fails as often as it may ends with the failure', async () => {
  const failure: RunFailure = { code: 'registry_unavailable', phase: 'workspace', message: 'No answer.' }
  const ends = await build({
    host: async () => {
      const { message } = failure
      throw ApplicationFailure.create({ type: RUN_FAILURE, message, details: [failure], nonRetryable: true })
    },
  })
  expect(ends).toEqual([{ kind: 'failed', failure }])
})

test('a build is not tried again where the person has to mend something', async () => {
  const failure: RunFailure = {
    code: 'setup_command_failed',
    phase: 'setup',
    message: 'A set-up command failed.',
    command: 'npm ci',
    exitCode: 1,
    logTail: 'no lock file',
  }
  let attempts = 0
  const ends = await build({
    host: async () => {
      attempts++
      return { kind: 'failed', failure }
    },
  })
  expect({ ends, attempts }).toEqual({ ends: [{ kind: 'failed', failure }], attempts: 1 })
})

test('a build fails when its host is lost', async () => {
  expect(await build({ host: null, hostLostSeconds: 1 })).toMatchObject([
    { kind: 'failed', failure: { code: 'host_unavailable', phase: 'setup' } },
  ])
})

test('a build that takes longer than it may fails, and is not begun again', async () => {
  let attempts = 0
  const ends = await build({
    pace: 'hurried',
    host: (_, signal) => {
      attempts++
      return untilCancelled(signal)
    },
  })
  expect(ends).toMatchObject([{ kind: 'failed', failure: { code: 'timed_out', phase: 'setup' } }])
  expect(attempts).toBe(1)
})

test('a build that is cancelled ends when its host has stopped', async () => {
  const asked = Promise.withResolvers<void>()
  let stopped = false
  const ends = await build({
    host: async (_, signal) => {
      try {
        return await untilCancelled(signal)
      } finally {
        stopped = true
      }
    },
    asked: asked.resolve,
    meanwhile: async (handle) => {
      await asked.promise
      await handle.cancel()
    },
  })
  expect({ ends, stopped }).toEqual({ ends: [{ kind: 'cancelled' }], stopped: true })
})

test('a build that is cancelled before its host has begun ends at once', async () => {
  const ends = await build({ host: null, meanwhile: async (handle) => void (await handle.cancel()) })
  expect(ends).toEqual([{ kind: 'cancelled' }])
})
