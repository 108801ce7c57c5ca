// The words of a run's life. Pure: safe in the workflow sandbox.

/** Oz's nine run states. */
export const runStates = [
  'QUEUED',
  'PENDING',
  'CLAIMED',
  'INPROGRESS',
  'BLOCKED',
  'SUCCEEDED',
  'FAILED',
  'ERROR',
  'CANCELLED',
] as const

export type RunState = (typeof runStates)[number]

/** States that end an execution. A follow-up may still begin another one. */
export const terminalStates = ['SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED'] as const

export type TerminalState = (typeof terminalStates)[number]

export function isTerminal(state: RunState): state is TerminalState {
  return (terminalStates as readonly RunState[]).includes(state)
}

/** Where in an execution something happened. */
export const phases = ['queue', 'claim', 'workspace', 'setup', 'agent_start', 'turn', 'collect', 'dispose'] as const

export type Phase = (typeof phases)[number]

/** The lifecycle events of `GET …/timeline`, named as in Oz. */
export const timelineTypes = [
  'oz_run_created',
  'oz_run_claimed',
  'worker_container_ready',
  'agent_started',
  'oz_run_blocked',
  'oz_run_done',
  'oz_run_failed',
  'oz_run_errored',
  'oz_run_cancelled',
  'vm_shutdown',
] as const

export type TimelineType = (typeof timelineTypes)[number]

/** The one timeline event that each terminal state writes. */
export const terminalTimeline: Record<TerminalState, TimelineType> = {
  SUCCEEDED: 'oz_run_done',
  FAILED: 'oz_run_failed',
  ERROR: 'oz_run_errored',
  CANCELLED: 'oz_run_cancelled',
}
