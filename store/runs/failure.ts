// How a run's failure is told to readers.
import { failureCodes, type RunFailure } from '../../domain/failure.ts'

/** A failure as it is served: in a run, and in the event of its state. */
export interface ServedFailure {
  code: string
  phase: string
  message: string
  command?: string
  exit_code?: number
  log_tail?: string
  next_step?: string
  retryable: boolean
}

export function serveFailure(failure: RunFailure): ServedFailure {
  const { code, phase, message, command, exitCode, logTail, nextStep } = failure
  return {
    code,
    phase,
    message,
    ...(command === undefined ? {} : { command }),
    ...(exitCode === undefined ? {} : { exit_code: exitCode }),
    ...(logTail === undefined ? {} : { log_tail: logTail }),
    ...(nextStep === undefined ? {} : { next_step: nextStep }),
    retryable: failureCodes[code].retryable,
  }
}
