// How the command ends: exit codes, and the one kind of error that people see.
import type { RunState } from '../domain/state.ts'

/** Documented in `ambient --help`; 69 and 77 are EX_UNAVAILABLE and EX_NOPERM of sysexits.h, 130 is what shells use for Ctrl-C. */
export const exitCodes = {
  succeeded: 0,
  failed: 1,
  usage: 2,
  error: 3,
  cancelled: 4,
  blocked: 5,
  unreachable: 69,
  unauthorised: 77,
  interrupted: 130,
} as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

export const exitCodeHelp: readonly [ExitCode, string][] = [
  [exitCodes.succeeded, 'succeeded (the run, when it was followed; else the command itself)'],
  [exitCodes.failed, 'the run failed (state FAILED); of `audit verify`, the log was changed'],
  [exitCodes.usage, 'wrong usage, or a request that the server refuses'],
  [exitCodes.error, 'an error of the platform (state ERROR, or the server is in trouble)'],
  [exitCodes.cancelled, 'the run was cancelled'],
  [exitCodes.blocked, 'the run waits for an answer, and nobody is there to ask (no terminal)'],
  [exitCodes.unreachable, 'the server cannot be reached'],
  [exitCodes.unauthorised, 'no API key, or one that is not accepted, or that may not do this'],
  [exitCodes.interrupted, 'Ctrl-C while following; the run goes on'],
]

/** The exit code of a command that followed a run to this state. */
export function exitCodeOf(state: RunState): ExitCode {
  switch (state) {
    case 'FAILED':
      return exitCodes.failed
    case 'ERROR':
      return exitCodes.error
    case 'CANCELLED':
      return exitCodes.cancelled
    case 'BLOCKED':
      return exitCodes.blocked
    default:
      return exitCodes.succeeded
  }
}

/** As the server sends it (RFC 7807), and as `--json` prints every error. */
export interface Problem {
  title: string
  status?: number
  detail?: string
  error?: string
  retryable?: boolean
}

export class CliError extends Error {
  override readonly name = 'CliError'
  readonly exitCode: ExitCode
  /** What the person can do about it. */
  readonly hint: string | undefined
  readonly problem: Problem

  constructor(
    exitCode: ExitCode,
    message: string,
    more: { hint?: string | undefined; problem?: Problem; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause })
    this.exitCode = exitCode
    this.hint = more.hint
    this.problem = more.problem ?? { title: message }
  }
}

export const usageError = (message: string, hint?: string) => new CliError(exitCodes.usage, message, { hint })
