// The life of a run. Workflow sandbox: no Node imports, no clock but Date.now(), no I/O.
import {
  CancellationScope,
  condition,
  defineQuery,
  defineSignal,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow'
import { type Phase, type RunState, terminalTimeline } from '../domain/state.ts'
import {
  type AgentRunInput,
  type ExecutionPlan,
  type ExecutionRef,
  type HostActivities,
  hostQueue,
  MAIL_SIGNAL,
  type Mail,
  ORCHESTRATOR_QUEUE,
  type OrchestratorActivities,
  type PoolActivities,
  poolQueue,
  type RunStatus,
  STATE_QUERY,
  type StateChange,
  type TurnInput,
  type TurnOutcome,
} from './contract.ts'
import { type Ending, endingOfError, endingOfStop, failed, isHostAway } from './ending.ts'
import { Mailbox } from './mailbox.ts'
import {
  claimOptions,
  collectOptions,
  disposeOptions,
  orchestratorOptions,
  prepareOptions,
  turnOptions,
} from './options.ts'

const mailSignal = defineSignal<[Mail]>(MAIL_SIGNAL)
const stateQuery = defineQuery<RunStatus>(STATE_QUERY)

const orchestrator = proxyActivities<OrchestratorActivities>({ ...orchestratorOptions, taskQueue: ORCHESTRATOR_QUEUE })

/**
 * One run, from its first message to the moment nothing of it is left running.
 * Each round of the loop is one execution: a stretch of work in one sandbox,
 * with a terminal state at its end. A message that arrives while the sandbox is
 * kept begins the next execution in it; one that arrives later starts this
 * workflow again.
 */
export async function agentRun({ runId }: AgentRunInput): Promise<void> {
  const mailbox = new Mailbox()
  const status: RunStatus = { state: 'QUEUED', execution: 0, queuedMessages: 0, openQuestions: [] }
  setHandler(mailSignal, (mail) => mailbox.receive(mail))
  setHandler(stateQuery, () => ({ ...status, queuedMessages: mailbox.promptIds.length }))

  for (let round = 1; ; round++) {
    await condition(() => mailbox.promptIds.length > 0 || mailbox.cancelReason !== null)
    mailbox.forgetLateCancel()
    const asked = mailbox.promptIds
    const plan = await CancellationScope.nonCancellable(() =>
      orchestrator.beginExecution({
        runId,
        key: `${workflowInfo().runId}/${round}`,
        mail: asked,
      }),
    )
    if (plan === null) {
      // An earlier workflow has dealt with these. What came meanwhile has not been asked about.
      mailbox.forget(asked)
      if (mailbox.promptIds.length > 0) continue
      return
    }
    const execution = new Execution(runId, plan, mailbox, status)
    await execution.carryOut()
    const again = await execution.keepForFollowUp()
    await execution.giveUpSandbox()
    const cancelledByOperator = CancellationScope.current().consideredCancelled
    if (cancelledByOperator || (!again && mailbox.promptIds.length === 0)) return
  }
}

/** One stretch of a run in one sandbox. */
class Execution {
  readonly #ref: ExecutionRef
  readonly #plan: ExecutionPlan
  readonly #mailbox: Mailbox
  readonly #status: RunStatus
  #hostId: string | null = null
  #phase: Phase = 'claim'
  #agentStarted = false
  #sandboxKept = false
  #hostIsAway = false
  readonly #scope = new CancellationScope()
  #turnScope: CancellationScope | null = null
  #changes = 0
  #recorded: Promise<void> = Promise.resolve()

  constructor(runId: string, plan: ExecutionPlan, mailbox: Mailbox, status: RunStatus) {
    this.#ref = { runId, execution: plan.execution }
    this.#plan = plan
    this.#mailbox = mailbox
    this.#status = status
    status.execution = plan.execution
  }

  /** From the claim of a host to the execution's one terminal state. */
  async carryOut(): Promise<void> {
    this.#mailbox.onMail = () => this.#heedMail()
    this.#heedMail()
    let ending: Ending
    try {
      ending = await this.#scope.run(() => this.#work())
    } catch (error) {
      this.#hostIsAway = isHostAway(error)
      ending = endingOfError(error, this.#phase, this.#mailbox.cancelReason)
    }
    this.#mailbox.onMail = () => {}
    await CancellationScope.nonCancellable(() => this.#settle(ending))
  }

  async #work(): Promise<Ending> {
    this.#report({ state: 'PENDING' })
    this.#hostId = this.#plan.heldBy ?? (await this.#claim()).hostId
    this.#report({ state: 'CLAIMED', timeline: 'oz_run_claimed', hostId: this.#hostId })

    this.#phase = 'workspace'
    // The first message is marked as read while the sandbox is being made.
    const first = this.#nextUnread()
    first.catch(() => {})
    await this.#on(prepareOptions).prepare(this.#ref)
    this.#agentStarted = true
    this.#background(() => orchestrator.recordSandbox({ ...this.#ref, running: true, workspaceKept: true }))
    this.#report({ state: 'INPROGRESS', timeline: 'agent_started' })

    this.#phase = 'turn'
    let ending: Ending = { state: 'SUCCEEDED' }
    for (let ids = await first; ; ids = []) {
      // An interrupting message that came before the turn has begun takes the waiting one along: it would be lost.
      if (ids.length === 0 || this.#mailbox.hasInterrupt) ids = [...ids, ...(await this.#nextUnread())]
      const messageId = ids.at(-1)
      if (messageId === undefined) return ending
      const before = ids.slice(0, -1)
      const outcome = await this.#turns({ kind: 'prompt', messageId, ...(before.length > 0 ? { before } : {}) })
      if (outcome === 'interrupted') continue
      if (outcome.kind === 'failed') return failed(outcome.failure)
      ending = endingOfStop(outcome.stopReason)
    }
  }

  /** The next message, after those that it overtook before they were read; nothing when none waits. */
  async #nextUnread(): Promise<string[]> {
    const ids: string[] = []
    for (let prompt = this.#mailbox.takePrompt(); prompt !== null; prompt = this.#mailbox.takePrompt()) {
      ids.push(...(await this.#accept([prompt.id])))
      if (ids.length > 0 && !this.#mailbox.hasInterrupt) break
    }
    return ids
  }

  /**
   * Marks messages as read. Answers with those that nobody had read: one that an
   * earlier workflow dealt with is not dealt with twice. Not cancelled with the
   * run: a message that was taken and never marked would count as waiting for ever.
   */
  #accept(ids: string[]): Promise<string[]> {
    const accepted = CancellationScope.nonCancellable(() =>
      orchestrator.acceptMail({
        runId: this.#ref.runId,
        key: `${workflowInfo().runId}/${this.#ref.execution}`,
        ids,
      }),
    )
    const done = accepted.then(
      () => {},
      () => {}, // Whoever asked is told.
    )
    this.#recorded = this.#recorded.then(() => done)
    // The cancel itself waits for nobody.
    return Promise.race([accepted, CancellationScope.current().cancelRequested])
  }

  #claim() {
    const pool = proxyActivities<PoolActivities>({ ...claimOptions, taskQueue: poolQueue(this.#plan.pool) })
    return pool.claim(this.#ref)
  }

  /** One message, with as many questions and answers as the agent needs until its turn ends. */
  async #turns(first: TurnInput): Promise<Exclude<TurnOutcome, { kind: 'question' }> | 'interrupted'> {
    let turn = first
    for (;;) {
      const outcome = await this.#turn(turn)
      if (outcome === 'interrupted' || outcome.kind !== 'question') return outcome
      const { question } = outcome
      this.#status.openQuestions = [question.questionId]
      this.#report({ state: 'BLOCKED', timeline: 'oz_run_blocked', question })
      const answer = await this.#mailbox.answerTo(question.questionId)
      this.#status.openQuestions = []
      this.#report({ state: 'INPROGRESS' })
      if (answer === null) return 'interrupted'
      turn = { kind: 'answer', mailId: answer.id, questionId: question.questionId, optionId: answer.optionId }
    }
  }

  /** One activity. An interrupting message cancels it alone; a cancelled run cancels everything around it. */
  async #turn(turn: TurnInput): Promise<TurnOutcome | 'interrupted'> {
    const outer = CancellationScope.current()
    this.#turnScope = new CancellationScope()
    this.#heedMail()
    try {
      return await this.#turnScope.run(() =>
        this.#on(turnOptions(this.#plan.turnMinutes)).runTurn({ ...this.#ref, turn }),
      )
    } catch (error) {
      if (isCancellation(error) && !outer.consideredCancelled) return 'interrupted'
      throw error
    } finally {
      this.#turnScope = null
    }
  }

  #heedMail(): void {
    if (this.#mailbox.cancelReason !== null) this.#scope.cancel()
    else if (this.#mailbox.hasInterrupt) this.#turnScope?.cancel()
  }

  /** The work product, the terminal state, and the sandbox's fate. Never cancelled. */
  async #settle(ending: Ending): Promise<void> {
    if (ending.state !== 'SUCCEEDED') await this.#dropUnread()
    // A host that is away holds up no terminal state: what it still has is given up afterwards.
    if (!this.#hostIsAway) await this.#leaveSandbox(ending)
    this.#report({
      state: ending.state,
      timeline: terminalTimeline[ending.state],
      failure: ending.failure,
      message: ending.message,
    })
    await this.#recorded
    if (this.#hostIsAway) await this.#dispose()
  }

  async #leaveSandbox(ending: Ending): Promise<void> {
    // A cancelled or failed agent is stopped before anything else: it may still be at work.
    if (this.#hostId !== null && ending.state !== 'SUCCEEDED')
      await this.#tidy(() => this.#on(disposeOptions).stop(this.#ref))
    if (this.#hostId !== null && this.#agentStarted && !this.#hostIsAway)
      await this.#tidy(() => this.#on(collectOptions).collect(this.#ref))
    if (this.#hostIsAway) return
    this.#sandboxKept = this.#agentStarted && ending.state === 'SUCCEEDED' && this.#plan.idleMinutes > 0
    if (!this.#sandboxKept) await this.#dispose()
  }

  /** What an execution was asked to do and did not come to, ends with it. Only a later message begins another one. */
  async #dropUnread(): Promise<void> {
    const ids = this.#mailbox.takeUnread()
    if (ids.length > 0) await this.#accept(ids)
  }

  /** True when a message came while the sandbox was kept. */
  async keepForFollowUp(): Promise<boolean> {
    if (!this.#sandboxKept) return false
    try {
      return await this.#mailbox.promptWithin(this.#plan.idleMinutes * 60_000)
    } catch (error) {
      if (!isCancellation(error)) throw error
      return false
    }
  }

  /** Ends the sandbox unless a follow-up is waiting for it. */
  async giveUpSandbox(): Promise<void> {
    if (!this.#sandboxKept || this.#mailbox.promptIds.length > 0) return
    await CancellationScope.nonCancellable(() => this.#dispose())
  }

  async #dispose(): Promise<void> {
    if (this.#hostId === null) return
    // A workspace that no agent ever worked in, in this execution or an earlier one, holds nothing to come back to.
    const keepWorkspace = this.#agentStarted || this.#plan.heldBy !== null
    await this.#tidy(() => this.#on(disposeOptions).dispose({ ...this.#ref, keepWorkspace }))
    await this.#recorded
    await orchestrator.recordSandbox({ ...this.#ref, running: false, workspaceKept: keepWorkspace })
  }

  /** Clean-up that cannot be carried out leaves the run's ending as it is; the host's own sweep finishes it. */
  async #tidy(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      endingOfError(error, 'dispose', null)
      this.#hostIsAway ||= isHostAway(error)
    }
  }

  /** Tells the world about a change of state, in order and without holding up the work. */
  #report(change: Omit<StateChange, 'runId' | 'execution' | 'key'> & { state: RunState }): void {
    this.#status.state = change.state
    setCurrentDetails(`${change.state}, execution ${this.#ref.execution}${this.#hostId ? ` on ${this.#hostId}` : ''}`)
    const key = `${this.#ref.execution}/${++this.#changes}`
    this.#background(() => orchestrator.recordState({ ...this.#ref, key, ...change }))
  }

  #background(work: () => Promise<void>): void {
    this.#recorded = this.#recorded.then(() => CancellationScope.nonCancellable(work))
  }

  #on(options: Parameters<typeof proxyActivities>[0]): HostActivities {
    if (this.#hostId === null) throw new TypeError('no host has claimed this execution yet')
    return proxyActivities<HostActivities>({ ...options, taskQueue: hostQueue(this.#hostId) })
  }
}
