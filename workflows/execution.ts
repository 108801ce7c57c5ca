// One stretch of a run in one sandbox. Workflow sandbox: no Node imports, no clock but Date.now(), no I/O.
import {
  type ActivityOptions,
  CancellationScope,
  isCancellation,
  proxyActivities,
  TemporalFailure,
  workflowInfo,
} from '@temporalio/workflow'
import { failureCodes, type RunFailure } from '../domain/failure.ts'
import { type Phase, terminalTimeline } from '../domain/state.ts'
import {
  type AgentQuestion,
  type AnswerTurn,
  type Claimed,
  type ExecutionPlan,
  type ExecutionProgress,
  type ExecutionRef,
  type GoesOnBecause,
  type HostActivities,
  hostQueue,
  type PoolActivities,
  poolQueue,
  type RunStatus,
  type SandboxFate,
  type TurnInput,
  type TurnOutcome,
} from './contract.ts'
import { type Ending, endingOfError, endingOfStop, failed, isHostAway, isStopped, timeLimit } from './ending.ts'
import { isLong } from './length.ts'
import type { Mailbox } from './mailbox.ts'
import { checkpointOptions, claimOptions, prepareOptions, settleOptions, turnOptions } from './options.ts'
import { orchestrator } from './orchestrator.ts'
import { openPullRequests } from './pull-requests.ts'
import { Reports } from './reports.ts'
import { answerTurn, promptTurn } from './turn-input.ts'
import { summaryOf } from './visibility.ts'

/** What another execution has to go on with, since this one cannot. */
export interface Unfinished {
  because: GoesOnBecause
  /** Null when only the messages that wait are left to do. */
  turn: TurnInput | null
}

/** How a stretch of work came to its end; `long` when the workflow has to continue as new before more is done. */
type Result = { kind: 'ended'; ending: Ending } | { kind: 'unfinished'; unfinished: Unfinished } | { kind: 'long' }

/** A host that is needed to end a cancelled run is waited for this long; what it still has is given up afterwards. */
const CANCEL_WAIT_S = 10

export class Execution {
  readonly #ref: ExecutionRef
  readonly #plan: ExecutionPlan
  readonly #mailbox: Mailbox
  readonly #status: RunStatus
  readonly #reports: Reports
  readonly #scope = new CancellationScope()
  #turnScope: CancellationScope | null = null
  #hostId: string | null
  #phase: Phase = 'claim'
  #agentStarted = false
  #sandboxKept = false
  #hostIsAway = false
  #turnsBegun = 0
  #workedMs = 0
  #keepUntil = 0
  /** What the agent has been given and has not come to the end of. */
  #inHand: TurnInput | null

  constructor(runId: string, plan: ExecutionPlan, mailbox: Mailbox, status: RunStatus) {
    this.#ref = { runId, execution: plan.execution }
    this.#plan = plan
    this.#mailbox = mailbox
    this.#status = status
    this.#reports = new Reports(this.#ref, status, () => this.#hostId)
    this.#inHand = plan.takes === null ? null : promptTurn([plan.takes])
    this.#hostId = plan.heldBy
    status.execution = plan.execution
  }

  /** One that the former workflow of the run was in the middle of. */
  static resume(runId: string, progress: ExecutionProgress, mailbox: Mailbox, status: RunStatus): Execution {
    const execution = new Execution(runId, progress.plan, mailbox, status)
    execution.#hostId = progress.hostId
    execution.#inHand = null
    execution.#phase = 'turn'
    execution.#agentStarted = true
    execution.#sandboxKept = progress.at === 'kept'
    execution.#turnsBegun = progress.turns
    execution.#workedMs = progress.workedMs
    execution.#keepUntil = progress.keepUntil
    return execution
  }

  /** For the workflow that continues this one. Null where there is nothing to go on with. */
  async progress(): Promise<ExecutionProgress | null> {
    await this.#reports.settled()
    if (this.#hostId === null) return null
    return {
      plan: this.#plan,
      hostId: this.#hostId,
      at: this.#sandboxKept ? 'kept' : 'working',
      turns: this.#turnsBegun,
      workedMs: this.#workedMs,
      keepUntil: this.#keepUntil,
    }
  }

  /** True when the execution has ended and its sandbox is kept for a follow-up. */
  get isKept(): boolean {
    return this.#sandboxKept
  }

  /**
   * From the claim of a host to the execution's one terminal state, or to what
   * another execution has to go on with.
   */
  async carryOut(begin: TurnInput | null): Promise<Unfinished | 'ended' | 'long'> {
    if (begin !== null) this.#inHand = begin
    this.#mailbox.onMail = () => this.#heedMail()
    this.#heedMail()
    let result: Result
    try {
      result = await this.#scope.run(() => this.#work())
    } catch (error) {
      result = this.#resultOfError(error)
    }
    this.#mailbox.onMail = () => {}
    if (result.kind === 'long') return 'long'
    const ended = result
    return CancellationScope.nonCancellable(async () => {
      if (ended.kind === 'unfinished') {
        await this.#leave(ended.unfinished)
        return ended.unfinished
      }
      await this.#settle(ended.ending)
      return 'ended'
    })
  }

  async #work(): Promise<Result> {
    // One that was in the middle of its work when the workflow continued as new has all this behind it.
    if (!this.#agentStarted) await this.#start()
    this.#phase = 'turn'
    let ending: Ending = { state: 'SUCCEEDED' }
    for (;;) {
      const turn = await this.#nextTurn()
      if (turn === null) return { kind: 'ended', ending }
      const outcome = await this.#turns(turn)
      if (outcome === 'interrupted') {
        this.#inHand = null
        continue
      }
      if (outcome.kind === 'unfinished') return outcome
      if (outcome.kind === 'failed') return this.#resultOfFailure(outcome.failure)
      this.#inHand = null
      ending = endingOfStop(outcome.stopReason)
      // A message that has come meanwhile overtakes what the agent wants to know.
      if (outcome.asks && this.#mailbox.promptIds.length === 0) {
        const unfinished = await this.#askPerson(outcome.asks)
        if (unfinished !== null) return unfinished
      }
      if (this.#mailbox.promptIds.length === 0) continue
      // Between two turns: what the first one did is not to be lost with the second.
      await this.#checkpoint(`execution ${this.#ref.execution}, after turn ${this.#turnsBegun}`)
      if (isLong(this.#mailbox)) return { kind: 'long' }
    }
  }

  /** From the place in line to an agent that waits for its first message. */
  async #start(): Promise<void> {
    const { hostLostSeconds } = this.#plan
    if (!this.#plan.admitted) {
      this.#reports.show('QUEUED')
      await this.#mailbox.admission(this.#ref.execution)
      this.#reports.add({ state: 'PENDING' })
    } else this.#reports.show('PENDING')
    const { hostId, origin } = await this.#claim()
    this.#hostId = hostId
    this.#reports.add({ state: 'CLAIMED', timeline: 'oz_run_claimed', hostId })
    this.#phase = 'workspace'
    // A host of an older version says nothing of it.
    if (!origin) {
      await this.#on(prepareOptions(hostLostSeconds), `execution ${this.#ref.execution}`).prepare(this.#ref)
    }
    this.#agentStarted = true
    this.#reports.add({
      state: 'INPROGRESS',
      timeline: 'agent_started',
      sandbox: { running: true, workspaceKept: true },
    })
  }

  /** A host that holds the run's workspace need not be asked. */
  async #claim(): Promise<Claimed> {
    if (this.#hostId !== null) return { hostId: this.#hostId, origin: null }
    const { pool } = this.#plan
    const summary = summaryOf(`execution ${this.#ref.execution}, pool ${pool}`)
    return await proxyActivities<PoolActivities>({ ...claimOptions, taskQueue: poolQueue(pool), summary }).claim(
      this.#ref,
    )
  }

  async #nextTurn(): Promise<TurnInput | null> {
    const inHand = this.#inHand
    // An interrupting message that came before the turn has begun takes the waiting one along: it would be lost.
    if (inHand !== null && !(inHand.kind === 'prompt' && this.#mailbox.hasInterrupt)) return inHand
    const before = inHand?.kind === 'prompt' ? [...(inHand.before ?? []), inHand.messageId] : []
    this.#inHand = promptTurn([...before, ...(await this.#nextUnread())])
    return this.#inHand
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
        key: `${workflowInfo().firstExecutionRunId}/${this.#ref.execution}`,
        ids,
      }),
    )
    this.#reports.alsoAwait(accepted)
    // The cancel itself waits for nobody.
    return Promise.race([accepted, CancellationScope.current().cancelRequested])
  }

  /** One message, with as many questions and answers as the agent needs until its turn ends. */
  async #turns(first: TurnInput) {
    for (let turn = first; ; ) {
      this.#inHand = turn
      const outcome = await this.#turn(turn)
      if (outcome === 'interrupted' || outcome.kind !== 'question') return outcome
      const answer = await this.#ask(outcome.question)
      if (answer === null) return 'interrupted'
      if (answer.kind === 'unfinished') return answer
      turn = answer
    }
  }

  /**
   * Waits for a person. A question holds no worker, and after a while no sandbox
   * either: the agent's session and the workspace are kept, and the answer is
   * told to the agent in another sandbox. It is never taken for a no.
   */
  async #ask(question: AgentQuestion): Promise<AnswerTurn | Extract<Result, { kind: 'unfinished' }> | null> {
    const { questionId } = question
    const { questionMinutes } = this.#plan
    this.#status.openQuestions = [questionId]
    this.#reports.add({ state: 'BLOCKED', timeline: 'oz_run_blocked', question })
    const saved = this.#checkpoint('while a question is open')
    saved.catch(() => {}) // Heard with the answer, or not at all when the run is cancelled meanwhile.
    const inTime = await this.#mailbox.answerTo(questionId, questionMinutes * 60_000)
    await saved
    if (inTime === 'late') {
      await this.#giveUp()
      const answer = await this.#mailbox.answerTo(questionId)
      this.#status.openQuestions = []
      if (answer === null || answer === 'late') {
        return { kind: 'unfinished', unfinished: { because: 'interrupted', turn: null } }
      }
      return { kind: 'unfinished', unfinished: { because: 'answered', turn: { ...answerTurn(answer), belated: true } } }
    }
    this.#status.openQuestions = []
    this.#reports.add({ state: 'INPROGRESS' }, questionId)
    return inTime === null ? null : answerTurn(inTime)
  }

  /**
   * Waits for what the agent wants to know of a person, which comes as its next
   * message: the answer, or whatever else they have to say. The turn has ended, so
   * nothing is lost with a sandbox that is given up meanwhile.
   */
  async #askPerson(question: AgentQuestion): Promise<Extract<Result, { kind: 'unfinished' }> | null> {
    const { questionId } = question
    this.#status.openQuestions = [questionId]
    this.#reports.add({ state: 'BLOCKED', timeline: 'oz_run_blocked', question })
    const saved = this.#checkpoint('while a question is open')
    saved.catch(() => {}) // Heard with the answer, or not at all when the run is cancelled meanwhile.
    const inTime = await this.#mailbox.prompt(this.#plan.questionMinutes * 60_000)
    await saved
    if (!inTime) {
      await this.#giveUp()
      await this.#mailbox.prompt()
      this.#status.openQuestions = []
      return { kind: 'unfinished', unfinished: { because: 'interrupted', turn: null } }
    }
    this.#status.openQuestions = []
    this.#reports.add({ state: 'INPROGRESS' }, questionId)
    return null
  }

  /** One activity. An interrupting message cancels it alone; a cancelled run cancels everything around it. */
  async #turn(turn: TurnInput): Promise<TurnOutcome | 'interrupted'> {
    const outer = CancellationScope.current()
    const { turnMinutes, runMinutes, hostLostSeconds } = this.#plan
    const left = runMinutes * 60_000 - this.#workedMs
    if (left <= 0) return { kind: 'failed', failure: timeLimit('run') }
    const options = turnOptions(hostLostSeconds, Math.min(turnMinutes * 60_000, left))
    const began = Date.now()
    if (turn.kind === 'prompt') this.#turnsBegun += 1
    const what = `execution ${this.#ref.execution}, turn ${this.#turnsBegun}${turn.kind === 'answer' ? ', with an answer' : ''}`
    this.#turnScope = new CancellationScope()
    this.#heedMail()
    try {
      return await this.#turnScope.run(() => this.#on(options, what).runTurn({ ...this.#ref, turn }))
    } catch (error) {
      if (isStopped(error) && !outer.consideredCancelled) return 'interrupted'
      throw error
    } finally {
      this.#turnScope = null
      this.#workedMs += Date.now() - began
    }
  }

  #checkpoint(when: string): Promise<void> {
    return this.#tidy(() => this.#on(checkpointOptions(this.#plan.hostLostSeconds), when).checkpoint(this.#ref))
  }

  #heedMail(): void {
    if (this.#mailbox.cancelReason !== null) this.#scope.cancel()
    else if (this.#mailbox.hasInterrupt) this.#turnScope?.cancel()
  }

  #resultOfError(error: unknown): Result {
    this.#hostIsAway = isHostAway(error)
    const isOutOfTime = this.#workedMs >= this.#plan.runMinutes * 60_000
    const ending = endingOfError(error, this.#phase, this.#mailbox.cancelReason, isOutOfTime ? 'run' : 'turn')
    return ending.failure === undefined ? { kind: 'ended', ending } : this.#resultOfFailure(ending.failure)
  }

  /** What is lost with a sandbox or a host is begun again in another one, so often and no more. */
  #resultOfFailure(failure: RunFailure): Result {
    const { because } = { because: null, ...failureCodes[failure.code] }
    const attempt = (this.#inHand?.attempt ?? 1) + 1
    if (because === null || attempt > this.#plan.attempts) return { kind: 'ended', ending: failed(failure) }
    const turn = this.#inHand === null ? null : { ...this.#inHand, attempt }
    if (turn?.kind === 'answer') turn.belated = true
    return { kind: 'unfinished', unfinished: { because, turn } }
  }

  /** Makes way for the execution that goes on. A host that is away is not waited for: it finds itself fenced off. */
  async #leave({ because }: Unfinished): Promise<void> {
    this.#status.openQuestions = []
    await this.#reports.settled()
    if (this.#hostId === null || this.#hostIsAway || because === 'answered' || because === 'interrupted') return
    await this.#giveUp()
  }

  /** The work product, the terminal state, and the sandbox's fate. Never cancelled. */
  async #settle(ending: Ending): Promise<void> {
    const { hostLostSeconds, idleMinutes } = this.#plan
    if (ending.state !== 'SUCCEEDED') await this.#dropUnread()
    const keep = this.#agentStarted && ending.state === 'SUCCEEDED' && idleMinutes > 0
    // A host that is away holds up no terminal state: what it still has is given up afterwards.
    if (this.#hostId !== null && !this.#hostIsAway) {
      const wait = ending.state === 'CANCELLED' ? Math.min(CANCEL_WAIT_S, hostLostSeconds) : hostLostSeconds
      await this.#tidy(() =>
        this.#on(settleOptions(wait), ending.state).settle({
          ...this.#ref,
          // A cancelled or failed agent is stopped before anything else: it may still be at work.
          stop: ending.state !== 'SUCCEEDED',
          collect: this.#agentStarted,
          sandbox: keep ? 'keep' : 'give_up',
          keepWorkspace: this.#keepsWorkspace,
          // Whoever cancels a run wants nothing more of it.
          push: ending.state !== 'CANCELLED',
        }),
      )
    }
    if (this.#plan.pullRequests && this.#agentStarted && !this.#hostIsAway && ending.state !== 'CANCELLED') {
      await openPullRequests(this.#ref, ending.state)
    }
    this.#sandboxKept = keep && !this.#hostIsAway
    this.#keepUntil = Date.now() + idleMinutes * 60_000
    const isGone = this.#hostId !== null && !this.#sandboxKept && !this.#hostIsAway
    this.#reports.add({
      state: ending.state,
      timeline: terminalTimeline[ending.state],
      failure: ending.failure,
      message: ending.message,
      ...(isGone ? { sandbox: { running: false, workspaceKept: this.#keepsWorkspace } } : {}),
    })
    await this.#reports.settled()
    if (this.#hostIsAway) await this.#giveUp()
  }

  /** What an execution was asked to do and did not come to, ends with it. Only a later message begins another one. */
  async #dropUnread(): Promise<void> {
    const ids = this.#mailbox.takeUnread()
    if (ids.length > 0) await this.#accept(ids)
  }

  /** Ends when a message comes, or when the sandbox has been kept for long enough or others wait for it. */
  async keepForFollowUp(): Promise<void> {
    try {
      await this.#mailbox.promptWithin(this.#keepUntil - Date.now(), this.#ref.execution)
    } catch (error) {
      if (!isCancellation(error)) throw error
    }
  }

  /** Ends the kept sandbox unless a follow-up is waiting for it. */
  async giveUpSandbox(): Promise<void> {
    if (this.#mailbox.promptIds.length > 0) return
    await CancellationScope.nonCancellable(() => this.#giveUp())
  }

  async #giveUp(): Promise<void> {
    if (this.#hostId === null) return
    const fate: SandboxFate = { running: false, workspaceKept: this.#keepsWorkspace }
    await this.#tidy(() =>
      this.#on(settleOptions(this.#plan.hostLostSeconds), `execution ${this.#ref.execution}`).dispose({
        ...this.#ref,
        keepWorkspace: fate.workspaceKept,
      }),
    )
    await this.#reports.settled()
    await orchestrator.recordSandbox({ ...this.#ref, ...fate })
  }

  /** A workspace that no agent ever worked in, in this execution or an earlier one, holds nothing to come back to. */
  get #keepsWorkspace(): boolean {
    return this.#agentStarted || this.#plan.heldBy !== null
  }

  /** Upkeep that cannot be carried out leaves the run's ending as it is; the host's own sweep finishes it. */
  async #tidy(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      // A bug in workflow code is nothing that could not be carried out.
      if (isCancellation(error) || !(error instanceof TemporalFailure)) throw error
      this.#hostIsAway ||= isHostAway(error)
    }
  }

  /** `what` is the activity's line in Temporal's own tools. */
  #on(options: ActivityOptions, what: string): HostActivities {
    if (this.#hostId === null) throw new TypeError('no host has claimed this execution yet')
    return proxyActivities<HostActivities>({
      ...options,
      taskQueue: hostQueue(this.#hostId),
      summary: summaryOf(what),
    })
  }
}
