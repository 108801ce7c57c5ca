// What the rest of the system may know of the workflows: names and types. Imports nothing that does I/O.
import type { RunFailure } from '../domain/failure.ts'
import type { RunState, TimelineType } from '../domain/state.ts'

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
}

/** What arrives in a run's mailbox. `id` is the key by which a repeated delivery is known. Texts stay in the database. */
export type Mail =
  | { id: string; kind: 'prompt'; delivery: 'queue' | 'interrupt' }
  | { id: string; kind: 'answer'; questionId: string; optionId: string }
  | { id: string; kind: 'cancel'; reason: string }

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
}

export interface AgentQuestion {
  questionId: string
  title: string
  options: { optionId: string; name: string; kind: string }[]
}

/** How a turn came to its end. */
export type TurnOutcome =
  | { kind: 'ended'; stopReason: string }
  | { kind: 'question'; question: AgentQuestion }
  | { kind: 'failed'; failure: RunFailure }

/** What a turn begins with: a message for the agent, or the answer to its question. */
export type TurnInput =
  /** `before`: messages that this one overtook before the agent was given them. They precede it. */
  | { kind: 'prompt'; messageId: string; before?: string[] }
  | { kind: 'answer'; mailId: string; questionId: string; optionId: string }

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
}

/** Activities on {@link ORCHESTRATOR_QUEUE}. */
export interface OrchestratorActivities {
  /** Opens the next execution of a run; idempotent by `key`. Returns null when no unread message asks for one. */
  beginExecution(input: { runId: string; key: string; mail: string[] }): Promise<ExecutionPlan | null>
  recordState(change: StateChange): Promise<void>
  /** Marks mail as read; returns the ids that were unread until now. Idempotent by `key`. */
  acceptMail(input: { runId: string; key: string; ids: string[] }): Promise<string[]>
  recordSandbox(input: ExecutionRef & { running: boolean; workspaceKept: boolean }): Promise<void>
}

/** Activities on a pool's queue: whichever host answers, takes the run. */
export interface PoolActivities {
  claim(input: ExecutionRef): Promise<SandboxPlace>
}

/** Activities on one host's queue. */
export interface HostActivities {
  /** Workspace, set-up, sandbox and agent process, up to an open agent session. Every step is done once, however often this is called. */
  prepare(input: ExecutionRef): Promise<{ origin: SandboxOrigin }>
  /** One turn of the agent. Ends at the answer to its prompt, or when the agent asks something only a person can decide. */
  runTurn(input: ExecutionRef & { turn: TurnInput }): Promise<TurnOutcome>
  /** Ends every process of the run within 5 s. What is on disk stays. */
  stop(input: ExecutionRef): Promise<void>
  /** The work product: diff, branch and commits of each repository, stored with the run. */
  collect(input: ExecutionRef): Promise<void>
  /** Ends every process of the run. Keeps the workspace and the agent's state for a follow-up, or removes all. */
  dispose(input: ExecutionRef & { keepWorkspace: boolean }): Promise<void>
}
