import { randomUUID } from 'node:crypto'
import { WorkflowNotFoundError } from '@temporalio/client'
import { expect, test } from 'vitest'
import { recordHistory } from '../test/support/record-history.ts'
import { inWorld, useTemporal } from '../test/support/world.ts'
import {
  AGAIN_SIGNAL,
  ORCHESTRATOR_QUEUE,
  PULL_REQUESTS_WORKFLOW,
  type PullRequestActivities,
  type PullRequestOutcome,
  pullRequestsWorkflowId,
} from './contract.ts'

const temporal = useTemporal()

/** Answers in turn; the last one goes on. Returns every attempt, by its path. */
async function inForge(
  answers: PullRequestOutcome[],
  story: (workflow: { again(): Promise<void>; finished(): Promise<void>; attempts: string[] }) => Promise<void>,
): Promise<string[]> {
  const ref = { runId: randomUUID(), execution: 1 }
  const attempts: string[] = []
  const activities: PullRequestActivities = {
    findPullRequests: async () => ['app', 'docs'],
    async openPullRequest({ runId, path, last }) {
      expect({ runId, last }).toEqual({ runId: ref.runId, last: false })
      attempts.push(path)
      return (answers.length > 1 ? answers.shift() : answers[0]) ?? { kind: 'settled' }
    },
  }
  const worker = await temporal.worker(ORCHESTRATOR_QUEUE, activities)
  const done = worker.run()
  try {
    const start = { workflowId: pullRequestsWorkflowId(ref), taskQueue: ORCHESTRATOR_QUEUE, args: [ref] }
    const handle = await temporal.client().workflow.start(PULL_REQUESTS_WORKFLOW, start)
    await story({ attempts, again: () => handle.signal(AGAIN_SIGNAL), finished: () => handle.result() })
    await recordHistory(handle, expect.getState().currentTestName ?? ref.runId)
  } finally {
    worker.shutdown()
    await done
  }
  return attempts
}

test('each repository that has pushed gets its pull request', async () => {
  const attempts = await inForge([{ kind: 'settled' }], ({ finished }) => finished())
  expect(attempts.toSorted()).toEqual(['app', 'docs'])
})

test('a forge that wants to be left alone is asked when it says, or when somebody asks for it again', async () => {
  const attempts = await inForge(
    [{ kind: 'again', afterSeconds: 86_400 }, { kind: 'settled' }],
    async ({ attempts, again, finished }) => {
      await expect.poll(() => attempts.length).toBe(2)
      await again()
      await finished()
    },
  )
  // Both were looked at once more for whoever asked.
  expect(attempts.length).toBeGreaterThanOrEqual(4)
})

/** The workflow that a run leaves them to, told that a forge wants to be left alone for an hour; and a worker to be run. */
async function leftToIt() {
  const ref = { runId: randomUUID(), execution: 1 }
  const handle = await temporal.client().workflow.start(PULL_REQUESTS_WORKFLOW, {
    workflowId: pullRequestsWorkflowId(ref),
    taskQueue: ORCHESTRATOR_QUEUE,
    args: [{ ...ref, afterSeconds: 3_600 }],
  })
  const activities: PullRequestActivities = {
    findPullRequests: async () => ['app'],
    openPullRequest: async () => ({ kind: 'settled' }),
  }
  return { handle, worker: () => temporal.worker(ORCHESTRATOR_QUEUE, activities) }
}

test('whoever asks before the wait for a forge has begun is not left to wait', async () => {
  const { handle, worker } = await leftToIt()
  await handle.signal(AGAIN_SIGNAL)
  await (await worker()).runUntil(handle.result())
  await recordHistory(handle, expect.getState().currentTestName ?? '')
})

test('whoever asks during the wait for a forge ends it', async () => {
  const { handle, worker } = await leftToIt()
  const asked = async () => {
    const waits = async () => (await handle.fetchHistory()).events?.some((event) => event.timerStartedEventAttributes)
    await expect.poll(waits).toBe(true)
    await handle.signal(AGAIN_SIGNAL)
    await handle.result()
  }
  await (await worker()).runUntil(asked)
  await recordHistory(handle, expect.getState().currentTestName ?? '')
})

test('a run has them opened before it ends, and only when it has pushed something', async () => {
  const world = await inWorld({ plan: { pullRequests: true } }, async ({ prompt, finished }) => {
    await prompt({ id: 'm1' })
    await finished()
  })
  const { log } = world
  expect(log).toContain('pull request of app')
  expect(log.indexOf('collect')).toBeLessThan(log.indexOf('pull request of app'))
  expect(log.indexOf('pull request of app')).toBeLessThan(log.indexOf('state SUCCEEDED'))
})

test('a run whose forge is away ends, and leaves them to a workflow of its own', async () => {
  const forge: PullRequestOutcome[] = [{ kind: 'again', afterSeconds: 3_600 }, { kind: 'settled' }]
  const openPullRequest = async () => forge.shift() ?? { kind: 'settled' as const }
  const world = await inWorld({ plan: { pullRequests: true }, openPullRequest }, async (story) => {
    await story.prompt({ id: 'm1' })
    await story.finished()
    const ref = { runId: story.runId, execution: 1 }
    const child = temporal.client().workflow.getHandle(pullRequestsWorkflowId(ref))
    expect((await child.describe()).status.name).toBe('RUNNING')
    await child.signal(AGAIN_SIGNAL)
    await child.result()
  })
  expect(world.log.filter((line) => line === 'pull request of app').length).toBeGreaterThanOrEqual(2)
  expect(world.states.at(-1)?.state).toBe('SUCCEEDED')
})

test('a run that is cancelled opens none', async () => {
  const turning = Promise.withResolvers<void>()
  const world = await inWorld(
    {
      plan: { pullRequests: true },
      turn: (_turn, signal) => {
        turning.resolve()
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      },
    },
    async ({ prompt, send, finished, runId }) => {
      await prompt({ id: 'm1' })
      await turning.promise
      await send({ kind: 'cancel', id: 'c1', reason: 'No longer needed.' })
      await finished()
      const child = temporal.client().workflow.getHandle(pullRequestsWorkflowId({ runId, execution: 1 }))
      await expect(child.describe()).rejects.toBeInstanceOf(WorkflowNotFoundError)
    },
  )
  expect(world.log).not.toContain('pull request of app')
})
