// Where failures below the activities become Temporal's.
import { ApplicationFailure } from '@temporalio/common'
import { failureCodes, type RunFailure, RunFailureError } from '../domain/failure.ts'
import { RUN_FAILURE } from '../workflows/options.ts'
import { FencedError, ServerRefusal } from './host/server.ts'

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
    ...(again ? { nextRetryDelay: pause(attempt) } : {}),
    ...(cause instanceof Error ? { cause } : {}),
  })
}

const pause = (attempt: number) => `${2 ** attempt}s` as const

/** The server will hardly say anything else to the same request: a run must not wait for it until its time is up. */
const refused = (error: ServerRefusal, attempt: number): ApplicationFailure =>
  ApplicationFailure.create({
    type: error.name,
    message: error.message,
    ...(attempt < ATTEMPTS ? { nextRetryDelay: pause(attempt) } : { nonRetryable: true }),
    cause: error,
  })

/** Runs an activity's work; what it throws as a run's failure leaves as one. */
export async function withTypedFailures<T>(attempt: number, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof RunFailureError) throw toApplicationFailure(error.failure, attempt, error.cause)
    if (error instanceof ServerRefusal) throw refused(error, attempt)
    // A newer execution has the run: this one has nothing more to say, however often.
    if (error instanceof FencedError) throw ApplicationFailure.nonRetryable(error.message, error.name)
    throw error
  }
}
