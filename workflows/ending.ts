// How an execution ends, and how errors become endings. Workflow sandbox: no Node imports.
import {
  ActivityFailure,
  ApplicationFailure,
  isCancellation,
  TemporalFailure,
  TimeoutFailure,
} from '@temporalio/workflow'
import { failureCodes, type RunFailure } from '../domain/failure.ts'
import type { Phase, TerminalState } from '../domain/state.ts'
import { RUN_FAILURE } from './options.ts'

export interface Ending {
  state: TerminalState
  message?: string
  failure?: RunFailure
}

export const failed = (failure: RunFailure): Ending => ({
  state: failureCodes[failure.code].category === 'user' ? 'FAILED' : 'ERROR',
  failure,
})

/** The ending of a turn that ended by itself. */
export function endingOfStop(stopReason: string): Ending {
  switch (stopReason) {
    case 'max_tokens':
    case 'max_turn_requests':
      return failed({
        code: 'agent_limit',
        phase: 'turn',
        message: `The agent stopped at its own limit (${stopReason}).`,
        nextStep: 'Send a follow-up to let it go on.',
      })
    case 'cancelled':
      return { state: 'SUCCEEDED', message: 'The agent ended its turn early, after a refused permission.' }
    default:
      return { state: 'SUCCEEDED' }
  }
}

/**
 * What was told to stop has stopped, or its worker died before it could say so:
 * Temporal tries nothing again whose cancel was requested.
 */
export const isStopped = (error: unknown): boolean =>
  isCancellation(error) || (error instanceof ActivityFailure && error.retryState === 'CANCEL_REQUESTED')

/**
 * The ending that an error means. A bug in workflow code is no ending: it is
 * thrown on, and the workflow task is tried again until the code is mended.
 */
export function endingOfError(
  error: unknown,
  phase: Phase,
  cancelReason: string | null,
  limit: 'turn' | 'run',
): Ending {
  if (isStopped(error)) return { state: 'CANCELLED', message: cancelReason ?? 'Cancelled by an operator.' }
  const cause = error instanceof ActivityFailure ? error.cause : error
  if (cause instanceof TimeoutFailure) return failed(timeout(cause, phase, limit))
  return failed(failureOfError(error, phase, 'Its details are in the Temporal history of the run.'))
}

/** What an activity has said went wrong; else that it is the platform's fault, and where to look. A bug in workflow code is thrown on. */
export function failureOfError(error: unknown, phase: Phase, whereToLook: string): RunFailure {
  if (!(error instanceof TemporalFailure)) throw error
  const cause = error instanceof ActivityFailure ? error.cause : error
  if (cause instanceof ApplicationFailure && cause.type === RUN_FAILURE) {
    const failure = cause.details?.[0] as RunFailure | undefined
    if (failure) return failure
  }
  return {
    code: 'internal_error',
    phase,
    message: cause?.message ?? error.message,
    nextStep: `This is a fault of the platform. ${whereToLook}`,
  }
}

/** Nobody has taken the work up in time: the host is away, and so is everything it holds. */
export const isHostAway = (error: unknown): boolean =>
  error instanceof ActivityFailure &&
  error.cause instanceof TimeoutFailure &&
  error.cause.timeoutType === 'SCHEDULE_TO_START'

function timeout(cause: TimeoutFailure, phase: Phase, limit: 'turn' | 'run'): RunFailure {
  if (cause.timeoutType === 'SCHEDULE_TO_START') {
    return {
      code: 'host_unavailable',
      phase,
      message: 'The host that holds this run does not answer.',
      nextStep: 'Start the host again, or start the run again to have it on another one.',
    }
  }
  if (phase === 'turn') return timeLimit(limit)
  return {
    code: 'timed_out',
    phase,
    message: `The phase "${phase}" took longer than it may.`,
    nextStep: 'Start the run again. If it is always this slow, have it prepare less.',
  }
}

export const timeLimit = (limit: 'turn' | 'run'): RunFailure => ({
  code: 'time_limit',
  phase: 'turn',
  message: limit === 'turn' ? 'The turn took longer than it may.' : 'The run has worked for as long as it may.',
  nextStep:
    limit === 'turn'
      ? 'Ask for less at once, or raise the limit: max_turn_minutes of the run, its environment or team, AMBIENT_TURN_MINUTES of the server.'
      : 'Send a follow-up to have it go on, or raise the limit: max_run_minutes of the run, its environment or team, AMBIENT_RUN_MINUTES of the server.',
})
