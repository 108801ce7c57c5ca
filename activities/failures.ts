// Where failures below the activities become Temporal's.
import { ApplicationFailure } from '@temporalio/common'
import { failureCodes, type RunFailure, RunFailureError } from '../domain/failure.ts'
import { RUN_FAILURE } from '../workflows/options.ts'

/** How often a failure that a retry can help is tried before it ends the run. */
const ATTEMPTS = 4

/**
 * The failure as the workflow gets it. One that a retry can help is tried again
 * with growing pauses while attempts are left.
 */
export function toApplicationFailure(failure: RunFailure, attempt: number, cause?: unknown): ApplicationFailure {
  const again = failureCodes[failure.code].retryable && attempt < ATTEMPTS
  return ApplicationFailure.create({
    type: RUN_FAILURE,
    message: failure.message,
    nonRetryable: !again,
    details: [failure],
    ...(again ? { nextRetryDelay: `${2 ** attempt}s` } : {}),
    ...(cause instanceof Error ? { cause } : {}),
  })
}

/** Runs an activity's work; what it throws as a run's failure leaves as one. */
export async function withTypedFailures<T>(attempt: number, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof RunFailureError) throw toApplicationFailure(error.failure, attempt, error.cause)
    throw error
  }
}
