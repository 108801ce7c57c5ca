import { randomUUID } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { ApplicationFailure } from '@temporalio/common'
import { TestWorkflowEnvironment } from '@temporalio/testing'
import {
  bundleWorkflowCode,
  DefaultLogger,
  Runtime,
  Worker,
  type WorkflowBundleWithSourceMap,
} from '@temporalio/worker'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { recordHistory } from '../test/support/record-history.ts'
import { temporalBinary } from '../test/support/temporal.ts'
import {
  type ExecutionPlan,
  type HostActivities,
  hostQueue,
  MAIL_SIGNAL,
  type Mail,
  ORCHESTRATOR_QUEUE,
  type OrchestratorActivities,
  type PoolActivities,
  poolQueue,
  RUN_WORKFLOW,
  type RunStatus,
  type StateChange,
  type TurnInput,
  type TurnOutcome,
} from './contract.ts'
import { RUN_FAILURE } from './options.ts'

let env: TestWorkflowEnvironment
let bundle: WorkflowBundleWithSourceMap

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') })
  env = await TestWorkflowEnvironment.createLocal({
    server: {
      executable: { type: 'existing-path', path: temporalBinary() },
      log: { format: 'pretty', level: 'error' },
    },
  })
  bundle = await bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL('./index.ts', import.meta.url)),
    logger: new DefaultLogger('ERROR'),
  })
})

afterAll(() => env.teardown())

/** A run's surroundings, with a log of everything the workflow had done. */
interface World {
  runId: string
  read: ReadonlySet<string>
  states: StateChange[]
  log: string[]
  prompt(text?: Partial<Extract<Mail, { kind: 'prompt' }>>): Promise<void>
  send(mail: Mail): Promise<void>
  status(): Promise<RunStatus>
  finished(): Promise<void>
  /** Resolves when the log has a line for which `matches` holds. */
  saw(matches: (line: string) => boolean): Promise<void>
}

interface Behaviour {
  plan?: Partial<ExecutionPlan>
  prepare?: () => Promise<void>
  turn?: (turn: TurnInput, signal: AbortSignal) => Promise<TurnOutcome>
  alreadyRead?: (id: string) => boolean
  /** Waited for before a message is marked as read. */
  accept?: () => Promise<void>
  begin?: () => Promise<void>
}

async function inWorld(behaviour: Behaviour, story: (world: World) => Promise<void>): Promise<World> {
  const { Context } = await import('@temporalio/activity')
  const runId = randomUUID()
  const hostId = `host-${runId}`
  const pool = `pool-${runId}`
  const states: StateChange[] = []
  const log: string[] = []
  const watchers = new Set<() => void>()
  const say = (line: string) => {
    log.push(line)
    for (const look of watchers) look()
  }
  let execution = 0
  const read = new Set<string>()
  const unread = (ids: string[]) => ids.filter((id) => !read.has(id) && !behaviour.alreadyRead?.(id))

  const orchestrator: OrchestratorActivities = {
    async beginExecution({ mail }) {
      await behaviour.begin?.()
      if (unread(mail).length === 0) return null
      execution += 1
      say(`begin ${execution}`)
      return {
        execution,
        pool,
        heldBy: execution > 1 ? hostId : null,
        idleMinutes: 0,
        turnMinutes: 5,
        ...behaviour.plan,
      }
    },
    async recordState(change) {
      states.push(change)
      say(`state ${change.state}`)
    },
    async acceptMail({ ids }) {
      await behaviour.accept?.()
      const fresh = unread(ids)
      for (const id of fresh) read.add(id)
      return fresh
    },
    async recordSandbox({ running }) {
      say(`sandbox ${running ? 'running' : 'gone'}`)
    },
  }
  const host: HostActivities = {
    async prepare() {
      say('prepare')
      await behaviour.prepare?.()
      return { origin: 'fresh' }
    },
    async runTurn({ turn }) {
      const before = turn.kind === 'prompt' && turn.before ? ` after ${turn.before}` : ''
      say(`turn ${turn.kind === 'prompt' ? turn.messageId : `answer ${turn.optionId}`}${before}`)
      const context = Context.current()
      const heartbeat = setInterval(() => context.heartbeat(), 100)
      try {
        return (await behaviour.turn?.(turn, context.cancellationSignal)) ?? { kind: 'ended', stopReason: 'end_turn' }
      } finally {
        clearInterval(heartbeat)
      }
    },
    async stop() {
      say('stop')
    },
    async collect() {
      say('collect')
    },
    async dispose({ keepWorkspace }) {
      say(`dispose ${keepWorkspace ? 'keeping the workspace' : 'everything'}`)
    },
  }
  const pools: PoolActivities = {
    async claim() {
      say('claim')
      return { hostId }
    },
  }
  // The orchestrator's queue is one for all runs: tests take turns.
  const common = { connection: env.nativeConnection, maxHeartbeatThrottleInterval: '100ms' } as const
  const workers = await Promise.all([
    Worker.create({
      ...common,
      taskQueue: ORCHESTRATOR_QUEUE,
      workflowBundle: bundle,
      activities: { ...orchestrator },
    }),
    Worker.create({ ...common, taskQueue: poolQueue(pool), activities: { ...pools } }),
    Worker.create({ ...common, taskQueue: hostQueue(hostId), activities: { ...host } }),
  ])
  const running = workers.map((worker) => worker.run())
  const handle = () => env.client.workflow.getHandle(runId)
  const world: World = {
    runId,
    read,
    states,
    log,
    async prompt(mail = {}) {
      const signal: Mail = { kind: 'prompt', id: randomUUID(), delivery: 'queue', ...mail }
      await env.client.workflow.signalWithStart(RUN_WORKFLOW, {
        workflowId: runId,
        taskQueue: ORCHESTRATOR_QUEUE,
        args: [{ runId }],
        signal: MAIL_SIGNAL,
        signalArgs: [signal],
      })
    },
    send: (mail) => handle().signal(MAIL_SIGNAL, mail),
    status: () => handle().query<RunStatus>('state'),
    finished: () => handle().result(),
    saw: (matches) =>
      new Promise((resolve) => {
        const look = () => {
          if (!log.some(matches)) return
          watchers.delete(look)
          resolve()
        }
        watchers.add(look)
        look()
      }),
  }
  try {
    await story(world)
    await recordHistory(handle(), expect.getState().currentTestName ?? runId)
  } finally {
    for (const worker of workers) worker.shutdown()
    await Promise.all(running)
  }
  return world
}

const terminal = (world: World) =>
  world.states.filter(({ timeline }) => timeline && /_(done|failed|errored|cancelled)$/.test(timeline))

/** Until the activity is cancelled. */
const untilCancelled = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    const fail = () => reject(signal.reason)
    if (signal.aborted) fail()
    else signal.addEventListener('abort', fail, { once: true })
  })

describe('a run', () => {
  test('goes from its prompt to one terminal state, and leaves nothing running', async () => {
    const world = await inWorld({}, async ({ prompt, finished }) => {
      await prompt({ id: 'm1' })
      await finished()
    })
    expect(world.states.map(({ state }) => state)).toEqual(['PENDING', 'CLAIMED', 'INPROGRESS', 'SUCCEEDED'])
    // What is told to the database is told beside the work, and may come a little later.
    expect(world.log).toContain('sandbox running')
    expect(world.log.filter((line) => !line.startsWith('state') && line !== 'sandbox running')).toEqual([
      'begin 1',
      'claim',
      'prepare',
      'turn m1',
      'collect',
      'dispose keeping the workspace',
      'sandbox gone',
    ])
  })

  test('takes a message that is delivered twice once', async () => {
    const world = await inWorld({}, async ({ prompt, finished }) => {
      await prompt({ id: 'm1' })
      await prompt({ id: 'm1' })
      await finished()
    })
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1'])
  })

  test('does nothing for a message that an earlier workflow has dealt with', async () => {
    const world = await inWorld({ alreadyRead: () => true }, async ({ prompt, finished }) => {
      await prompt({ id: 'm1' })
      await finished()
    })
    expect(world.log).toEqual([])
  })

  test('runs a follow-up that arrives during a turn after it', async () => {
    const gate = Promise.withResolvers<void>()
    const world = await inWorld(
      {
        turn: async (turn) => {
          if (turn.kind === 'prompt' && turn.messageId === 'm1') await gate.promise
          return { kind: 'ended', stopReason: 'end_turn' }
        },
      },
      async ({ prompt, saw, finished, status }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await prompt({ id: 'm2' })
        expect((await status()).queuedMessages).toBe(1)
        gate.resolve()
        await finished()
      },
    )
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1', 'turn m2'])
    expect(terminal(world)).toHaveLength(1)
  })

  test('interrupts a turn for a message that asks for it, and goes on with that message before queued ones', async () => {
    const world = await inWorld(
      {
        turn: async (turn, signal) => {
          if (turn.kind === 'prompt' && turn.messageId === 'm1') await untilCancelled(signal)
          return { kind: 'ended', stopReason: 'end_turn' }
        },
      },
      async ({ prompt, saw, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await prompt({ id: 'later' })
        await prompt({ id: 'now', delivery: 'interrupt' })
        await finished()
      },
    )
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1', 'turn now', 'turn later'])
    expect(terminal(world).map(({ state }) => state)).toEqual(['SUCCEEDED'])
  })

  test('is BLOCKED by a question and holds no activity until its answer comes', async () => {
    const question = {
      questionId: 'q1',
      title: 'Run rm?',
      options: [{ optionId: 'yes', name: 'Yes', kind: 'allow_once' }],
    }
    const world = await inWorld(
      {
        turn: async (turn) =>
          turn.kind === 'prompt' ? { kind: 'question', question } : { kind: 'ended', stopReason: 'end_turn' },
      },
      async ({ prompt, saw, send, status, finished, runId }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'state BLOCKED')
        expect(await status()).toMatchObject({ state: 'BLOCKED', openQuestions: ['q1'] })
        const { raw } = await env.client.workflow.getHandle(runId).describe()
        expect(raw.pendingActivities ?? []).toEqual([])
        await send({ kind: 'answer', id: 'a1', questionId: 'q1', optionId: 'yes' })
        await finished()
      },
    )
    expect(world.states.map(({ state }) => state)).toEqual([
      'PENDING',
      'CLAIMED',
      'INPROGRESS',
      'BLOCKED',
      'INPROGRESS',
      'SUCCEEDED',
    ])
    expect(world.log).toContain('turn answer yes')
  })

  test('is stopped by a cancel in a turn, and drops the messages it had not come to', async () => {
    const world = await inWorld(
      { turn: (_turn, signal) => untilCancelled(signal) },
      async ({ prompt, saw, send, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await prompt({ id: 'm2' })
        await send({ kind: 'cancel', id: 'c1', reason: 'No longer needed.' })
        await finished()
      },
    )
    expect(terminal(world)).toMatchObject([{ state: 'CANCELLED', message: 'No longer needed.' }])
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1'])
    expect(world.log.indexOf('stop')).toBeLessThan(world.log.indexOf('collect'))
    expect(world.log).toContain('sandbox gone')
  })

  test('is stopped by a cancel while it is BLOCKED', async () => {
    const question = { questionId: 'q1', title: 'Run rm?', options: [] }
    const world = await inWorld(
      { turn: async () => ({ kind: 'question', question }) },
      async ({ prompt, saw, send, finished }) => {
        await prompt()
        await saw((line) => line === 'state BLOCKED')
        await send({ kind: 'cancel', id: 'c1', reason: 'No.' })
        await finished()
      },
    )
    expect(terminal(world).map(({ state }) => state)).toEqual(['CANCELLED'])
  })

  test('ends CANCELLED, cleaned up, when an operator cancels its workflow', async () => {
    const world = await inWorld(
      { turn: (_turn, signal) => untilCancelled(signal) },
      async ({ prompt, saw, finished, runId }) => {
        await prompt()
        await saw((line) => line.startsWith('turn'))
        await env.client.workflow.getHandle(runId).cancel()
        await finished()
      },
    )
    expect(terminal(world).map(({ state }) => state)).toEqual(['CANCELLED'])
    expect(world.log).toContain('dispose keeping the workspace')
  })

  test('FAILED by its set-up says why, and keeps nothing', async () => {
    const failure = { code: 'setup_command_failed', phase: 'setup', message: 'npm ci failed', exitCode: 1 }
    const world = await inWorld(
      {
        prepare: async () => {
          throw ApplicationFailure.create({ type: RUN_FAILURE, nonRetryable: true, details: [failure] })
        },
      },
      async ({ prompt, finished }) => {
        await prompt()
        await finished()
      },
    )
    expect(terminal(world)).toMatchObject([{ state: 'FAILED', timeline: 'oz_run_failed', failure }])
    expect(world.log).toContain('dispose everything')
    expect(world.log).not.toContain('collect')
  })

  test("ends as ERROR when the platform failed, and as FAILED when the person's side did", async () => {
    for (const [code, state] of [
      ['sandbox_lost', 'ERROR'],
      ['agent_exited', 'FAILED'],
    ] as const) {
      const world = await inWorld(
        { turn: async () => ({ kind: 'failed', failure: { code, phase: 'turn', message: 'gone' } }) },
        async ({ prompt, finished }) => {
          await prompt()
          await finished()
        },
      )
      expect(terminal(world)).toMatchObject([{ state, failure: { code } }])
    }
  })

  test('begins the interrupting turn only when the interrupted one has ended', async () => {
    const log: string[] = []
    await inWorld(
      {
        turn: async (turn, signal) => {
          const id = turn.kind === 'prompt' ? turn.messageId : ''
          log.push(`begin ${id}`)
          if (id === 'm1') {
            await untilCancelled(signal).catch(() => {})
            await new Promise((resolve) => setTimeout(resolve, 1_000))
            log.push('end m1')
            throw signal.reason
          }
          return { kind: 'ended', stopReason: 'end_turn' }
        },
      },
      async ({ prompt, saw, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await prompt({ id: 'now', delivery: 'interrupt' })
        await finished()
      },
    )
    expect(log).toEqual(['begin m1', 'end m1', 'begin now'])
  })

  test('gives the agent a message that was overtaken before its turn, together with the one that overtook it', async () => {
    const gate = Promise.withResolvers<void>()
    const world = await inWorld({ prepare: () => gate.promise }, async ({ prompt, saw, finished }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'prepare')
      await prompt({ id: 'later' })
      await prompt({ id: 'now', delivery: 'interrupt' })
      gate.resolve()
      await finished()
    })
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn now after m1', 'turn later'])
  })

  test('keeps the workspace of earlier work when a follow-up is cancelled before its agent has started', async () => {
    const secondTime = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    let times = 0
    const world = await inWorld(
      {
        plan: { idleMinutes: 10 },
        prepare: async () => {
          times += 1
          if (times === 1) return
          secondTime.resolve()
          await gate.promise
          throw (await import('@temporalio/activity')).Context.current().cancellationSignal.reason
        },
      },
      async ({ prompt, saw, send, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'state SUCCEEDED')
        await prompt({ id: 'm2' })
        await secondTime.promise
        await send({ kind: 'cancel', id: 'c1', reason: 'No.' })
        gate.resolve()
        await finished()
      },
    )
    expect(terminal(world).map(({ state }) => state)).toEqual(['SUCCEEDED', 'CANCELLED'])
    expect(world.log.filter((line) => line.startsWith('dispose'))).toEqual(['dispose keeping the workspace'])
  })

  test('marks a message as read although it is cancelled at that moment', async () => {
    let isAway = true
    const tried = Promise.withResolvers<void>()
    const prepared = Promise.withResolvers<void>()
    const world = await inWorld(
      {
        prepare: () => prepared.promise,
        accept: async () => {
          tried.resolve()
          if (isAway) throw new Error('the database is away')
        },
      },
      async ({ prompt, saw, send, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'prepare')
        await tried.promise
        await send({ kind: 'cancel', id: 'c1', reason: 'No.' })
        prepared.resolve()
        await saw((line) => line === 'stop')
        isAway = false
        await finished()
      },
    )
    expect([...world.read]).toEqual(['m1'])
    expect(terminal(world).map(({ state }) => state)).toEqual(['CANCELLED'])
  })

  test('carries out a message that comes after a cancel', async () => {
    const world = await inWorld(
      {
        turn: async (turn, signal) => {
          if (turn.kind === 'prompt' && turn.messageId === 'm1') await untilCancelled(signal)
          return { kind: 'ended', stopReason: 'end_turn' }
        },
      },
      async ({ prompt, saw, send, finished }) => {
        await prompt({ id: 'm1' })
        await saw((line) => line === 'turn m1')
        await prompt({ id: 'dropped' })
        await send({ kind: 'cancel', id: 'c1', reason: 'Not this.' })
        await prompt({ id: 'm2' })
        await finished()
      },
    )
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m1', 'turn m2'])
    expect(terminal(world).map(({ state }) => state)).toEqual(['CANCELLED', 'SUCCEEDED'])
  })

  test('carries out a message that comes while it learns that the one before was dealt with', async () => {
    const asked = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const world = await inWorld(
      {
        alreadyRead: (id) => id === 'm1',
        begin: async () => {
          asked.resolve()
          await gate.promise
        },
      },
      async ({ prompt, finished }) => {
        await prompt({ id: 'm1' })
        await asked.promise
        await prompt({ id: 'm2' })
        gate.resolve()
        await finished()
      },
    )
    expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(['turn m2'])
  })

  test('begins a second execution in the kept sandbox for a message after its end', async () => {
    const world = await inWorld({ plan: { idleMinutes: 10 } }, async ({ prompt, saw, send, finished }) => {
      await prompt({ id: 'm1' })
      await saw((line) => line === 'state SUCCEEDED')
      await prompt({ id: 'm2' })
      await saw((line) => line === 'turn m2')
      await send({ kind: 'cancel', id: 'c', reason: 'Give the sandbox up.' })
      await finished()
    })
    expect(world.log.filter((line) => line.startsWith('begin'))).toEqual(['begin 1', 'begin 2'])
    expect(world.log.filter((line) => line.startsWith('claim'))).toHaveLength(1)
    expect(world.log.filter((line) => line.startsWith('dispose'))).toHaveLength(1)
    expect(terminal(world).map(({ execution }) => execution)).toEqual([1, 2])
  })
})
