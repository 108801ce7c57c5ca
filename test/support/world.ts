// The surroundings of a run, played: a database, a pool and a host that do what a test says, on a real Temporal server.
import { randomUUID } from 'node:crypto'
import { Context } from '@temporalio/activity'
import type { Duration } from '@temporalio/common'
import { TestWorkflowEnvironment } from '@temporalio/testing'
import { DefaultLogger, Runtime, Worker, type WorkflowBundle } from '@temporalio/worker'
import { afterAll, beforeAll, expect } from 'vitest'
import {
  type ExecutionPlan,
  type GoesOnBecause,
  type HostActivities,
  hostQueue,
  MAIL_SIGNAL,
  type Mail,
  ORCHESTRATOR_QUEUE,
  type OrchestratorActivities,
  type PoolActivities,
  type PullRequestActivities,
  type PullRequestOutcome,
  poolQueue,
  RUN_WORKFLOW,
  type RunStatus,
  type StateChange,
  type TurnInput,
  type TurnOutcome,
} from '../../workflows/contract.ts'
import { recordHistory } from './record-history.ts'
import { temporalBinary, timeSkippingServer } from './temporal.ts'
import { hurriedBundle, testBundle } from './workflow-bundle.ts'

let env: TestWorkflowEnvironment
let bundle: WorkflowBundle

/** How long activities may take; `hurried`: as many seconds as it would be hours. */
export type Pace = 'usual' | 'hurried'

/** A Temporal server for the tests of a file. */
export function useTemporal(extraArgs: string[] = []): {
  client(): TestWorkflowEnvironment['client']
  /** On the queue of the orchestrator it has the workflows. */
  worker(taskQueue: string, activities: object, pace?: Pace): Promise<Worker>
} {
  beforeAll(async () => {
    Runtime.install({ logger: new DefaultLogger('ERROR') })
    env = await TestWorkflowEnvironment.createLocal({
      server: {
        executable: { type: 'existing-path', path: temporalBinary() },
        log: { format: 'pretty', level: 'error' },
        extraArgs,
      },
    })
    bundle = await testBundle()
  })
  afterAll(() => env.teardown())
  return { client: () => env.client, worker: createWorker }
}

const bundleFor = (pace: Pace = 'usual') => (pace === 'hurried' ? hurriedBundle() : bundle)

const createWorker = async (taskQueue: string, activities: object, pace?: Pace): Promise<Worker> =>
  Worker.create({
    connection: env.nativeConnection,
    maxHeartbeatThrottleInterval: '100ms',
    taskQueue,
    activities,
    ...(taskQueue === ORCHESTRATOR_QUEUE ? { workflowBundle: await bundleFor(pace) } : {}),
  })

/** For the tests of a file, a Temporal server on which days pass at once while nothing is at work. */
export function useTimeSkipping(): ReturnType<typeof useTemporal> & {
  sleep(duration: Duration): Promise<void>
  /** The time that it is there. */
  now(): Promise<number>
} {
  const path = timeSkippingServer()
  beforeAll(async () => {
    // Without it the tests are skipped.
    if (path === null) return
    Runtime.install({ logger: new DefaultLogger('ERROR') })
    env = await TestWorkflowEnvironment.createTimeSkipping({
      server: { executable: { type: 'existing-path', path } },
    })
    bundle = await testBundle()
  })
  afterAll(() => (path === null ? undefined : env.teardown()))
  return {
    client: () => env.client,
    worker: createWorker,
    sleep: (duration) => env.sleep(duration),
    now: () => env.currentTimeMs(),
  }
}

/** A run's surroundings, with a log of everything the workflow had done. */
export interface World {
  runId: string
  read: ReadonlySet<string>
  states: StateChange[]
  log: string[]
  prompt(text?: Partial<Extract<Mail, { kind: 'prompt' }>>): Promise<void>
  send(mail: Mail): Promise<void>
  /** As it is handed over: a workflow is started where none runs. */
  cancelEnded(reason: string): Promise<void>
  terminate(): Promise<void>
  status(): Promise<RunStatus>
  finished(): Promise<void>
  /** All workers end, and others take their place. */
  restartWorkers(): Promise<void>
  /** What the run has somebody do at this moment. */
  activitiesInHand(): Promise<number>
  /** Resolves when the log has a line for which `matches` holds. */
  saw(matches: (line: string) => boolean): Promise<void>
}

export interface Behaviour {
  plan?: Partial<ExecutionPlan> | ((execution: number) => Partial<ExecutionPlan>)
  pace?: Pace
  prepare?: (signal: AbortSignal) => Promise<void>
  turn?: (turn: TurnInput, signal: AbortSignal) => Promise<TurnOutcome>
  alreadyRead?: (id: string) => boolean
  /** Waited for before a message is marked as read. */
  accept?: () => Promise<void>
  begin?: () => Promise<void>
  /** Waited for once changes of state are recorded. */
  recorded?: (changes: StateChange[]) => Promise<void>
  /** Waited for in the middle of the end of an abandoned run. */
  abandon?: () => Promise<void>
  openPullRequest?: () => Promise<PullRequestOutcome>
  /** The host's sandbox is ready with its claim. */
  quick?: boolean
  /** The hosts that take the run, in turn; the last one goes on. Nobody answers for any but `here`. */
  claims?: ('here' | 'lost')[]
  /** The former workflow was terminated while the host had a sandbox. */
  abandoned?: boolean
}

export async function inWorld(behaviour: Behaviour, story: (world: World) => Promise<void>): Promise<World> {
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
  let claims = behaviour.claims ?? []
  const read = new Set<string>()
  const plans = new Map<string, ExecutionPlan>()
  const unread = (ids: string[]) => ids.filter((id) => !read.has(id) && !behaviour.alreadyRead?.(id))

  const heldAfter = (execution: number, goesOn: GoesOnBecause | undefined) =>
    execution > 1 && goesOn !== 'host_lost' ? hostId : null
  const orchestrator: OrchestratorActivities = {
    async beginExecution({ key, mail, goesOn }) {
      await behaviour.begin?.()
      const begun = plans.get(key)
      if (begun) return begun
      if (goesOn === undefined && unread(mail).length === 0) return null
      execution += 1
      say(goesOn === undefined ? `begin ${execution}` : `begin ${execution} after ${goesOn}`)
      const plan: ExecutionPlan = {
        execution,
        pool,
        heldBy: heldAfter(execution, goesOn),
        idleMinutes: 0,
        turnMinutes: 5,
        runMinutes: 60,
        questionMinutes: 30,
        hostLostSeconds: 60,
        attempts: 3,
        takes: null,
        admitted: true,
        unread: [],
        ...(typeof behaviour.plan === 'function' ? behaviour.plan(execution) : behaviour.plan),
      }
      if (plan.admitted && goesOn === undefined) {
        plan.takes = unread(mail)[0] ?? null
        if (plan.takes !== null) read.add(plan.takes)
      }
      plans.set(key, plan)
      return plan
    },
    async recordStates(changes) {
      for (const change of changes) {
        // Told again after a worker's death: it is one change.
        if (states.some(({ key }) => key === change.key)) continue
        states.push(change)
        if (change.sandbox?.running) say('sandbox running')
        say(`state ${change.state}`)
        if (change.sandbox?.running === false) say('sandbox gone')
      }
      await behaviour.recorded?.(changes)
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
    async endAbandoned({ reason }) {
      say(`abandoned: ${reason}`)
      await behaviour.abandon?.()
      return behaviour.abandoned ? { runId, execution: 1, hostId } : null
    },
  }
  const host: HostActivities = {
    async prepare() {
      say('prepare')
      await attended(async (signal) => behaviour.prepare?.(signal))
      return { origin: 'fresh' }
    },
    async runTurn({ turn }) {
      const before = turn.kind === 'prompt' && turn.before ? ` after ${turn.before}` : ''
      const again = turn.attempt === undefined ? '' : `, attempt ${turn.attempt}`
      const what = turn.kind === 'prompt' ? turn.messageId : `${turn.belated ? 'belated ' : ''}answer ${turn.optionId}`
      say(`turn ${what}${before}${again}`)
      const outcome = await attended(async (signal) => behaviour.turn?.(turn, signal))
      return outcome ?? { kind: 'ended', stopReason: 'end_turn' }
    },
    async checkpoint() {
      say('checkpoint')
    },
    async settle({ stop, collect, sandbox, keepWorkspace }) {
      if (stop) say('stop')
      if (collect) say('collect')
      if (sandbox === 'give_up') say(`dispose ${keepWorkspace ? 'keeping the workspace' : 'everything'}`)
    },
    async dispose({ keepWorkspace }) {
      say(`dispose ${keepWorkspace ? 'keeping the workspace' : 'everything'}`)
    },
  }
  const pools: PoolActivities = {
    async claim() {
      say('claim')
      const [place = 'here', ...later] = claims
      if (later.length > 0) claims = later
      return { hostId: place === 'here' ? hostId : `${hostId}-lost`, origin: behaviour.quick ? 'fresh' : null }
    },
  }
  const forges: PullRequestActivities = {
    findPullRequests: async () => ['app'],
    async openPullRequest({ path }) {
      say(`pull request of ${path}`)
      return (await behaviour.openPullRequest?.()) ?? { kind: 'settled' }
    },
  }
  // The orchestrator's queue is one for all runs: tests take turns.
  const common = { connection: env.nativeConnection, maxHeartbeatThrottleInterval: '100ms' } as const
  const begin = async () => {
    const workers = await Promise.all([
      Worker.create({
        ...common,
        taskQueue: ORCHESTRATOR_QUEUE,
        workflowBundle: await bundleFor(behaviour.pace),
        activities: { ...orchestrator, ...forges },
        // The server that skips time never takes a workflow from a worker that has ended.
        ...(env.supportsTimeSkipping ? { maxCachedWorkflows: 0 } : {}),
      }),
      Worker.create({ ...common, taskQueue: poolQueue(pool), activities: { ...pools } }),
      Worker.create({ ...common, taskQueue: hostQueue(hostId), activities: { ...host } }),
    ])
    return workers.map((worker) => ({ worker, done: worker.run() }))
  }
  let running = await begin()
  const end = async () => {
    for (const { worker } of running) worker.shutdown()
    await Promise.all(running.map(({ done }) => done))
  }
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
    cancelEnded: (reason) =>
      env.client.workflow
        .signalWithStart(RUN_WORKFLOW, {
          workflowId: runId,
          taskQueue: ORCHESTRATOR_QUEUE,
          args: [{ runId }],
          signal: MAIL_SIGNAL,
          signalArgs: [{ kind: 'cancel', id: randomUUID(), reason } satisfies Mail],
        })
        .then(() => {}),
    terminate: () =>
      handle()
        .terminate()
        .then(() => {}),
    status: () => handle().query<RunStatus>('state'),
    finished: () => handle().result(),
    async restartWorkers() {
      await end()
      running = await begin()
    },
    activitiesInHand: async () => (await handle().describe()).raw.pendingActivities?.length ?? 0,
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
    await end()
  }
  return world
}

/** Work of an activity that hears when it is to stop. */
async function attended<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const context = Context.current()
  const heartbeat = setInterval(() => context.heartbeat(), 100)
  try {
    return await work(context.cancellationSignal)
  } finally {
    clearInterval(heartbeat)
  }
}

export const terminal = (world: World) =>
  world.states.filter(({ timeline }) => timeline && /_(done|failed|errored|cancelled)$/.test(timeline))

/** Until the activity is cancelled. */
export const untilCancelled = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    const fail = () => reject(signal.reason)
    if (signal.aborted) fail()
    else signal.addEventListener('abort', fail, { once: true })
  })
