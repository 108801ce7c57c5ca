// What an operator sees of a run in Temporal's own tools.
import { randomUUID } from 'node:crypto'
import type { WorkflowHandle } from '@temporalio/client'
import { defaultPayloadConverter, type SearchAttributePair } from '@temporalio/common'
import { TestWorkflowEnvironment } from '@temporalio/testing'
import { DefaultLogger, Runtime, Worker, type WorkflowBundle } from '@temporalio/worker'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TRACING_MODULE } from '../telemetry/tracing.ts'
import { recordHistory } from '../test/support/record-history.ts'
import { temporalBinary } from '../test/support/temporal.ts'
import { testBundle } from '../test/support/workflow-bundle.ts'
import {
  type HostActivities,
  hostQueue,
  MAIL_SIGNAL,
  ORCHESTRATOR_QUEUE,
  type OrchestratorActivities,
  type PoolActivities,
  poolQueue,
  RUN_WORKFLOW,
} from './contract.ts'
import { initialAttributes, searchAttributes } from './search-attributes.ts'

let env: TestWorkflowEnvironment
let plainBundle: WorkflowBundle
let tracedBundle: WorkflowBundle

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') })
  env = await TestWorkflowEnvironment.createLocal({
    server: {
      executable: { type: 'existing-path', path: temporalBinary() },
      log: { format: 'pretty', level: 'error' },
      searchAttributes: [...searchAttributes],
    },
  })
  plainBundle = await testBundle()
  tracedBundle = await testBundle([TRACING_MODULE])
})
afterAll(() => env.teardown())

const done = async () => {}

/** A run of two turns with a question in between, whose activities do nothing but look at what is shown meanwhile. */
async function carryOut(
  attributes: SearchAttributePair[],
  workflowBundle = plainBundle,
): Promise<{ handle: WorkflowHandle; shown: unknown[] }> {
  const runId = randomUUID()
  const [hostId, pool] = [`host-${runId}`, `pool-${runId}`]
  const handle = env.client.workflow.getHandle(runId)
  const shown: unknown[] = []
  const look = async () => {
    const { typedSearchAttributes } = await handle.describe()
    shown.push(typedSearchAttributes.getAll().find(({ key }) => key.name === 'AmbientState')?.value)
  }
  const send = (mail: object) => handle.signal(MAIL_SIGNAL, mail)
  const unread = new Set(['m1', 'm2'])
  const orchestrator: OrchestratorActivities = {
    beginExecution: async ({ mail }) =>
      mail.some((id) => unread.has(id))
        ? {
            execution: 1,
            pool,
            heldBy: null,
            idleMinutes: 0,
            turnMinutes: 5,
            runMinutes: 60,
            questionMinutes: 30,
            hostLostSeconds: 60,
            attempts: 3,
            takes: null,
            admitted: true,
            unread: [],
          }
        : null,
    async recordStates(changes) {
      if (changes.some(({ state }) => state === 'BLOCKED'))
        await send({ kind: 'answer', id: 'a1', questionId: 'q1', optionId: 'yes' })
    },
    acceptMail: async ({ ids }) => ids.filter((id) => unread.delete(id)),
    recordSandbox: done,
    endAbandoned: async () => null,
  }
  const host: HostActivities = {
    async prepare() {
      await look()
      return { origin: 'fresh' }
    },
    async runTurn({ turn }) {
      await look()
      if (turn.kind === 'prompt' && turn.messageId === 'm1') {
        await send({ kind: 'prompt', id: 'm2', delivery: 'queue' })
        return { kind: 'question', question: { questionId: 'q1', title: 'May I?', options: [] } }
      }
      return { kind: 'ended', stopReason: 'end_turn' }
    },
    checkpoint: done,
    settle: done,
    dispose: done,
  }
  const pools: PoolActivities = { claim: async () => ({ hostId, origin: null }) }
  const connection = env.nativeConnection
  const workers = await Promise.all([
    Worker.create({
      connection,
      taskQueue: ORCHESTRATOR_QUEUE,
      workflowBundle,
      activities: { ...orchestrator },
      sinks: { exporter: { export: { fn: () => {} } } },
    }),
    Worker.create({ connection, taskQueue: poolQueue(pool), activities: { ...pools } }),
    Worker.create({ connection, taskQueue: hostQueue(hostId), activities: { ...host } }),
  ])
  const running = workers.map((worker) => worker.run())
  try {
    await env.client.workflow.signalWithStart(RUN_WORKFLOW, {
      workflowId: runId,
      taskQueue: ORCHESTRATOR_QUEUE,
      args: [{ runId }],
      signal: MAIL_SIGNAL,
      signalArgs: [{ kind: 'prompt', id: 'm1', delivery: 'queue' }],
      ...(attributes.length > 0 ? { typedSearchAttributes: attributes } : {}),
    })
    await handle.result()
    await look()
    await recordHistory(handle, expect.getState().currentTestName ?? runId)
  } finally {
    for (const worker of workers) worker.shutdown()
    await Promise.all(running)
  }
  return { handle, shown }
}

const labels = {
  agent: 'codex',
  source: 'CLI',
  pool: 'default',
  team: 'default',
  priority: 7,
  parentRunId: null,
  environmentId: 'web',
}

async function summaries(handle: WorkflowHandle): Promise<string[]> {
  const { events } = await handle.fetchHistory()
  return (events ?? []).flatMap(({ activityTaskScheduledEventAttributes: scheduled, userMetadata }) => {
    if (!scheduled || !userMetadata?.summary) return []
    return [`${scheduled.activityType?.name}: ${defaultPayloadConverter.fromPayload(userMetadata.summary)}`]
  })
}

test('a run shows its state as a search attribute, and its activities what they are about', async () => {
  const { handle, shown } = await carryOut(initialAttributes(labels))
  expect(shown).toEqual(['CLAIMED', 'INPROGRESS', 'INPROGRESS', 'INPROGRESS', 'SUCCEEDED'])
  const lines = await summaries(handle)
  expect(lines.filter((line) => !line.startsWith('checkpoint'))).toEqual([
    expect.stringMatching(/^claim: execution 1, pool pool-.*: codex$/),
    'prepare: execution 1: codex',
    'runTurn: execution 1, turn 1: codex',
    'runTurn: execution 1, turn 1, with an answer: codex',
    'runTurn: execution 1, turn 2: codex',
    'settle: SUCCEEDED: codex',
  ])
  const query = `AmbientState = "SUCCEEDED" and AmbientAgent = "codex" and AmbientPriority = 7 and AmbientEnvironment = "web"`
  await expect.poll(async () => (await env.client.workflow.count(query)).count).toBe(1)
})

test('a run whose server knows no search attributes of ours goes on without', async () => {
  const { handle, shown } = await carryOut([])
  expect(new Set(shown)).toEqual(new Set([undefined]))
  const { events } = await handle.fetchHistory()
  expect((events ?? []).filter((event) => event.upsertWorkflowSearchAttributesEventAttributes)).toEqual([])
  expect(await summaries(handle)).toContain('runTurn: execution 1, turn 2')
})

test('a run that was begun with traces goes on when they are made no longer', async () => {
  const { handle } = await carryOut(initialAttributes(labels), tracedBundle)
  await Worker.runReplayHistory({ workflowBundle: plainBundle }, await handle.fetchHistory())
})
