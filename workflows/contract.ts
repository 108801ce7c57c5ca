// What the rest of the system may know of the workflows: names and types. Imports nothing that does I/O.
import type { BuildResult } from '../domain/environment.ts'
import type { RunFailure } from '../domain/failure.ts'
import type { RunState, TerminalState, TimelineType } from '../domain/state.ts'

/** Workflows and the activities that touch Postgres and outside services. */
export const ORCHESTRATOR_QUEUE = 'ambient-orchestrator'

/** "Take a new run", asked of any host of a pool. */
export const poolQueue = (pool: string) => `ambient-pool-${pool}`

/** Everything that concerns the sandboxes of one host. Named by the host's lasting id, so that a restarted host finds its work. */
export const hostQueue = (hostId: string) => `ambient-host-${hostId}`

/** The workflow's id is the run's id, so that a run cannot be started twice. */
export const workflowId = (runId: string) => runId

export const RUN_WORKFLOW = 'agentRun'
export const MAIL_SIGNAL = 'mail'
export const STATE_QUERY = 'state'

/** Input of `agentRun`. Everything else is read from the database by the first activity, so that history holds ids alone. */
export interface AgentRunInput {
  runId: string
  /** From the former workflow of this run, which had become too long. */
  carried?: Carried
}

/** What a workflow that continues as new hands on. */
export interface Carried {
  mailbox: MailboxState
  /** Executions begun by this chain of workflows. */
  round: number
  /** The execution that goes on, and what it is at. */
  execution?: ExecutionProgress
}

export interface MailboxState {
  prompts: Extract<Mail, { kind: 'prompt' }>[]
  answers: Extract<Mail, { kind: 'answer' }>[]
  cancelled: string[]
  cancelReason: string | null
  admitted: number
  toRelease: number
  /** The latest ids, by which a repeated delivery is known. */
  seen: string[]
}

/** An execution in the middle of its life. */
export interface ExecutionProgress {
  plan: ExecutionPlan
  hostId: string
  /** `working`: between two turns. `kept`: it has ended, and its sandbox waits for a follow-up. */
  at: 'working' | 'kept'
  /** Turns begun so far. */
  turns: number
  /** Time spent in turns, in milliseconds. */
  workedMs: number
  /** When a kept sandbox is given up, in milliseconds since 1970. */
  keepUntil: number
}

/** What arrives in a run's mailbox. `id` is the key by which a repeated delivery is known. Texts stay in the database. */
export type Mail =
  | { id: string; kind: 'prompt'; delivery: 'queue' | 'interrupt' }
  | { id: string; kind: 'answer'; questionId: string; optionId: string }
  | { id: string; kind: 'cancel'; reason: string }
  /** This execution's turn has come: it need not wait in line any longer. */
  | { id: string; kind: 'admit'; execution: number }
  /** Others wait for a place: the sandbox that this execution keeps for a follow-up is to be given up. */
  | { id: string; kind: 'release'; execution: number }

/** Answer of the state query. */
export interface RunStatus {
  state: RunState
  execution: number
  queuedMessages: number
  openQuestions: string[]
}

/** How an execution's sandbox came to be. */
export type SandboxOrigin = 'fresh' | 'kept' | 'restored'

/** Where an execution's sandbox is. */
export interface SandboxPlace {
  hostId: string
}

/** What a host answers that takes an execution. */
export interface Claimed extends SandboxPlace {
  /** How its sandbox came to be, when that was ready with the claim; null while it is being prepared. */
  origin: SandboxOrigin | null
}

/** Why another execution goes on with what the former one had in hand. */
export type GoesOnBecause = 'host_lost' | 'sandbox_lost' | 'answered' | 'interrupted'

/** What the workflow needs to know to carry out one execution. */
export interface ExecutionPlan {
  /** Counts from 1 within the run. */
  execution: number
  pool: string
  /** The host that still holds this run's workspace, if one does. */
  heldBy: string | null
  /** How long the sandbox is kept after the work is done, in minutes. */
  idleMinutes: number
  /** Longest time one turn may take, in minutes. */
  turnMinutes: number
  /** Longest time all turns of the execution may take together, in minutes. Waiting for people does not count. */
  runMinutes: number
  /** How long a question keeps the sandbox waiting for its answer, in minutes. */
  questionMinutes: number
  /** A host that does not take up its work for this long is lost, in seconds. */
  hostLostSeconds: number
  /** How often a message is given to an agent whose sandbox or host was lost with it. */
  attempts: number
  /**
   * The message that it begins with, marked as read. Null where it goes on with
   * what a former one had in hand, or waits in line: then messages may still be
   * taken up by a later workflow.
   */
  takes: string | null
  /** At its end, pull requests are opened for what it has pushed. */
  pullRequests?: boolean
  /** False: the execution waits in line until mail of the kind `admit` comes for it. */
  admitted: boolean
  /** Prompts that an earlier workflow of the run was given and did not come to. */
  unread: Extract<Mail, { kind: 'prompt' }>[]
}

export interface AgentQuestion {
  questionId: string
  title: string
  options: { optionId: string; name: string; kind: string }[]
}

/** How a turn came to its end. */
export type TurnOutcome =
  /** `asks`: what the agent wants to know of a person before it goes on. */
  | { kind: 'ended'; stopReason: string; asks?: AgentQuestion }
  | { kind: 'question'; question: AgentQuestion }
  | { kind: 'failed'; failure: RunFailure }

/** What a turn begins with: a message for the agent, or the answer to its question. */
export type TurnInput = PromptTurn | AnswerTurn

export interface PromptTurn {
  kind: 'prompt'
  messageId: string
  /** Messages that this one overtook before the agent was given them. They precede it. */
  before?: string[]
  /** Absent for the first try. Counts from 2 when an earlier sandbox was lost while its agent worked on the message. */
  attempt?: number
}

export interface AnswerTurn {
  kind: 'answer'
  mailId: string
  questionId: string
  optionId: string
  /** The sandbox in which the question was asked is gone: the agent that is told has only its session. */
  belated?: boolean
  /** As in a prompt. */
  attempt?: number
}

export interface ExecutionRef {
  runId: string
  execution: number
}

/** A change of state, and what is told about it. `key` makes a repeated recording one. */
export interface StateChange extends ExecutionRef {
  key: string
  state: RunState
  timeline?: TimelineType | undefined
  failure?: RunFailure | undefined
  message?: string | undefined
  question?: AgentQuestion | undefined
  hostId?: string | undefined
  /** What became of the sandbox with this change. */
  sandbox?: SandboxFate | undefined
}

export interface SandboxFate {
  running: boolean
  workspaceKept: boolean
}

/** Carried out by the worker of the workflow itself, each as one transaction. */
export interface OrchestratorActivities {
  /**
   * Opens the next execution of a run; idempotent by `key`. Null when no unread
   * message asks for one and it does not go on with what a former one had in hand.
   */
  beginExecution(input: {
    runId: string
    key: string
    mail: string[]
    goesOn?: GoesOnBecause | undefined
  }): Promise<ExecutionPlan | null>
  /** Several changes of one execution, in their order. Idempotent by each one's key. */
  recordStates(changes: StateChange[]): Promise<void>
  /** Marks mail as read; returns the ids that were unread until now. Idempotent by `key`. */
  acceptMail(input: { runId: string; key: string; ids: string[] }): Promise<string[]>
  recordSandbox(input: ExecutionRef & SandboxFate): Promise<void>
  /**
   * Ends a run whose former workflow did not: an operator terminated it. Answers
   * with the host that may still have a sandbox of it; null when there is none.
   */
  endAbandoned(input: { runId: string; key: string; reason: string }): Promise<(ExecutionRef & SandboxPlace) | null>
}

/** Activities on a pool's queue: whichever host answers, takes the run. */
export interface PoolActivities {
  /** A host that takes a run begins to prepare it at once. What is ready in no time needs no word of its own. */
  claim(input: ExecutionRef): Promise<Claimed>
}

/** Activities on one host's queue. */
export interface HostActivities {
  /** Workspace, set-up, sandbox and agent process, up to an open agent session. Every step is done once, however often this is called. */
  prepare(input: ExecutionRef): Promise<{ origin: SandboxOrigin }>
  /** One turn of the agent. Ends at the answer to its prompt, or when the agent asks something only a person can decide. */
  runTurn(input: ExecutionRef & { turn: TurnInput }): Promise<TurnOutcome>
  /** Keeps the workspace and the agent's state off this host, so that another one can go on. Cheap when nothing has changed. */
  checkpoint(input: ExecutionRef): Promise<void>
  /**
   * The end of an execution: stops an agent that may still be at work, stores the
   * work product (diff, branch and commits of each repository) and a checkpoint,
   * pushes the commits where that was asked for, unless `push` is false,
   * and gives the sandbox up unless it is kept for a follow-up.
   */
  settle(
    input: ExecutionRef & {
      stop: boolean
      collect: boolean
      sandbox: 'keep' | 'give_up'
      keepWorkspace: boolean
      push?: boolean
    },
  ): Promise<void>
  /**
   * Ends every process of the run. Keeps the workspace and the agent's state for a
   * follow-up, after a checkpoint of what has changed since the last, or removes all.
   */
  dispose(input: ExecutionRef & { keepWorkspace: boolean }): Promise<void>
}

export const BUILD_WORKFLOW = 'environmentBuild'

/** A build cannot be started twice. That an environment has one at a time on a host, the database sees to. */
export const buildWorkflowId = (buildId: string) => `build-${buildId}`

/** Input of `environmentBuild`. */
export interface EnvironmentBuildInput {
  buildId: string
  hostId: string
  /** A host that does not take up its work for this long is lost, in seconds. */
  hostLostSeconds: number
}

export type BuildOutcome = { kind: 'ready'; result: BuildResult } | { kind: 'failed'; failure: RunFailure }

/** Activities on one host's queue, for environments. */
export interface BuildActivities {
  /** Clones, sets up and keeps the result. A second call goes on where the first one ended. What the user has to mend is an outcome, not an error. */
  buildEnvironment(input: { buildId: string }): Promise<BuildOutcome>
}

export type BuildEnd = BuildOutcome | { kind: 'cancelled' }

/** Carried out by the worker of the workflow itself. */
export interface BuildRecords {
  /** Idempotent; a build that has ended stays as it is. */
  recordBuild(input: { buildId: string; end: BuildEnd }): Promise<void>
}

export const SKILLS_WORKFLOW = 'skillReading'

/** A reading cannot be started twice. That an environment has one at a time, the database sees to. */
export const skillsWorkflowId = (readingId: string) => `skills-${readingId}`

/** Input of `skillReading`. */
export interface SkillReadingInput {
  readingId: string
  hostId: string
  /** A host that does not take up its work for this long is lost, in seconds. */
  hostLostSeconds: number
}

/** Activities on one host's queue, for skills. */
export interface SkillActivities {
  /** Reads the skills of an environment's repositories and hands them over, which ends the reading. Safe to repeat. */
  readSkills(input: { readingId: string }): Promise<void>
}

/** Carried out by the worker of the workflow itself. */
export interface SkillRecords {
  /** Idempotent; a reading that is over stays as it is. */
  recordReadingFailure(input: { readingId: string; failure: string }): Promise<void>
}

export const SCHEDULE_WORKFLOW = 'scheduleSlot'
/** Told to a slot's workflow when its run is over, or none could be started. */
export const SLOT_OVER_SIGNAL = 'over'

/** A schedule's name in Temporal. */
export const temporalScheduleId = (scheduleId: string) => `ambient-schedule-${scheduleId}`

/** What the workflows of a schedule are named by. Temporal adds a dash and the slot, to the second. */
export const slotWorkflowBase = (scheduleId: string) => `schedule-${scheduleId}`

export const slotWorkflowId = (scheduleId: string, slot: Date) =>
  `${slotWorkflowBase(scheduleId)}-${slot.toISOString().replace(/\.\d+/, '')}`

/** The slot of a workflow, as an ISO time: the one thing that Temporal tells it. */
export const slotOfWorkflow = (workflowId: string) => workflowId.replace(/^schedule-[^-]+-/, '')

/** Input of `scheduleSlot`. The same for all slots of a schedule; what they start is read from the database. */
export interface ScheduleSlotInput {
  scheduleId: string
  jitterSeconds: number
}

export interface SlotRef {
  scheduleId: string
  /** ISO time. */
  slot: string
}

/** Carried out by the worker of the workflow itself, each as one transaction. */
export interface ScheduleRecords {
  /**
   * Notes that the slot is due, so that the server makes its run, unless it has
   * one. False where there is nothing to wait for; else the workflow will be told
   * when it is over.
   */
  beginSlot(slot: SlotRef): Promise<boolean>
  /** Cancels the slot's run, or the slot while it has none. False where there is nothing to wait for. */
  cancelSlot(slot: SlotRef): Promise<boolean>
}

export const PULL_REQUESTS_WORKFLOW = 'pullRequests'

/** Somebody asks for them again: a pause between two attempts is cut short. */
export const AGAIN_SIGNAL = 'again'

export const pullRequestsWorkflowId = ({ runId, execution }: ExecutionRef) => `pull-requests-${runId}-${execution}`

/** Input of `pullRequests`: for what a run has pushed up to this execution. */
export interface PullRequestsInput extends ExecutionRef {
  /** There was an attempt just now, and the next one is not before. Absent: at once. */
  afterSeconds?: number
}

/** `settled`: there is one, or none can be had. */
export type PullRequestOutcome = { kind: 'settled' } | { kind: 'again'; afterSeconds: number | null }

/** On the orchestrator's queue: they speak to forges. */
export interface PullRequestActivities {
  /** The paths of the repositories that are to have one. */
  findPullRequests(input: { runId: string }): Promise<string[]>
  /**
   * Opens one, or takes the one that there is; notes what came of it. `last`: a
   * failure that may pass is one for good. `ends`: the state that the run is about
   * to end in, which is not written down yet.
   */
  openPullRequest(input: {
    runId: string
    path: string
    last: boolean
    ends?: TerminalState
  }): Promise<PullRequestOutcome>
}
