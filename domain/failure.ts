// Why a run did not succeed. Pure: safe in the workflow sandbox (types only from zod users).
import type { Phase } from './state.ts'

/**
 * Every reason a run can end for, and what follows from it.
 *
 * `category` chooses the terminal state: `user` gives FAILED, `platform` gives
 * ERROR. `retryable` says whether the same run, started again unchanged, can be
 * expected to do better. `oz` is the code of Oz's published set that says the
 * same, null where none does: strict clients validate against the set. `because` is there where another execution
 * takes the work up by itself.
 */
export const failureCodes = {
  // The user's side.
  repository_unreachable: { category: 'user', retryable: false, oz: 'environment_setup_failed' },
  ref_not_found: { category: 'user', retryable: false, oz: 'environment_setup_failed' },
  image_not_found: { category: 'user', retryable: false, oz: 'environment_setup_failed' },
  image_build_failed: { category: 'user', retryable: false, oz: 'environment_setup_failed' },
  devcontainer_invalid: { category: 'user', retryable: false, oz: 'environment_setup_failed' },
  secret_unavailable: { category: 'user', retryable: false, oz: 'environment_setup_failed' },
  setup_command_failed: { category: 'user', retryable: false, oz: 'environment_setup_failed' },
  mcp_server_failed: { category: 'user', retryable: false, oz: 'environment_setup_failed' },
  agent_exited: { category: 'user', retryable: false, oz: null },
  agent_refused: { category: 'user', retryable: false, oz: 'content_policy_violation' },
  agent_limit: { category: 'user', retryable: false, oz: null },
  command_failed: { category: 'user', retryable: false, oz: null },
  model_unauthorized: { category: 'user', retryable: false, oz: 'external_authentication_required' },
  invalid_run: { category: 'user', retryable: false, oz: 'invalid_request' },
  budget_exhausted: { category: 'user', retryable: false, oz: 'budget_exceeded' },
  time_limit: { category: 'user', retryable: false, oz: 'budget_exceeded' },
  disk_limit: { category: 'user', retryable: false, oz: 'budget_exceeded' },
  transcript_limit: { category: 'user', retryable: false, oz: 'budget_exceeded' },
  // The platform's side.
  model_unavailable: { category: 'platform', retryable: true, oz: 'resource_unavailable' },
  repository_unavailable: { category: 'platform', retryable: true, oz: 'resource_unavailable' },
  registry_unavailable: { category: 'platform', retryable: true, oz: 'resource_unavailable' },
  agent_install_failed: { category: 'platform', retryable: true, oz: 'internal_error' },
  agent_start_failed: { category: 'platform', retryable: true, oz: 'internal_error' },
  agent_protocol_error: { category: 'platform', retryable: true, oz: 'internal_error' },
  sandbox_lost: { category: 'platform', retryable: true, oz: 'resource_unavailable', because: 'sandbox_lost' },
  host_unavailable: { category: 'platform', retryable: true, oz: 'resource_unavailable', because: 'host_lost' },
  timed_out: { category: 'platform', retryable: true, oz: 'resource_unavailable' },
  internal_error: { category: 'platform', retryable: true, oz: 'internal_error' },
} as const satisfies Record<
  string,
  { category: 'user' | 'platform'; retryable: boolean; oz: string | null; because?: 'sandbox_lost' | 'host_lost' }
>

export type FailureCode = keyof typeof failureCodes

/** What is told about a failure, wherever it is told. At most a few KiB: it passes through workflow history. */
export interface RunFailure {
  code: FailureCode
  phase: Phase
  /** One sentence: what went wrong. */
  message: string
  /** The command that failed, when there was one. Never holds a secret. */
  command?: string | undefined
  exitCode?: number | undefined
  /** The last lines of its log. */
  logTail?: string | undefined
  /** What the person can do next. */
  nextStep?: string | undefined
}

/** Longest log tail that a failure carries, in characters: failures pass through workflow history. */
export const LOG_TAIL_CHARS = 2_000

/** The end of a log, at most {@link LOG_TAIL_CHARS} long and cut at a line where there is one. */
export function logTail(log: string): string {
  const text = log.trimEnd()
  if (text.length <= LOG_TAIL_CHARS) return text
  const tail = text.slice(-LOG_TAIL_CHARS)
  const firstBreak = tail.indexOf('\n')
  return firstBreak >= 0 && firstBreak < tail.length - 1 ? tail.slice(firstBreak + 1) : tail
}

/** A failure as an exception, for the code that runs below the activities. */
export class RunFailureError extends Error {
  override readonly name = 'RunFailureError'
  readonly failure: RunFailure

  constructor(failure: RunFailure, options?: ErrorOptions) {
    super(failure.message, options)
    this.failure = failure
  }
}
