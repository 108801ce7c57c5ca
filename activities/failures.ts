// Where failures below the activities become Temporal's.
import { ApplicationFailure } from '@temporalio/common'
import { type FailureCode, failureCodes, RunFailureError } from '../domain/failure.ts'
import { RUN_FAILURE } from '../workflows/options.ts'
import { FencedError, ServerRefusal } from './host/server.ts'

/** How often a failure that a retry can help is tried before it ends the run. */
const ATTEMPTS = 4
/**
 * A daemon that is started again or upgraded may be away for a minute, and what
 * it has may live on: the pauses come to two. The same for what nobody foresaw.
 */
const PATIENT_ATTEMPTS = 8
/** Longest pause between two attempts, in seconds. */
const LONGEST_PAUSE_S = 30

/** An attempt that did not succeed, and the next one. */
export interface Again {
  attempt: number
  attempts: number
  /** Until the next attempt, in seconds. */
  pauseSeconds: number
}

/** What did not succeed, for those who wait. */
export interface Setback {
  code: FailureCode
  message: string
  logTail?: string | undefined
}

/** Told of each setback that is followed by another attempt. */
export type OnSetback = (setback: Setback, again: Again) => Promise<void>

/**
 * Runs an activity's work; what it throws as a run's failure leaves as one. What
 * a retry can help is tried again with growing pauses while attempts are left;
 * what the person alone can mend is not. `attempt` counts from 1.
 */
export async function withTypedFailures<T>(
  attempt: number,
  work: () => Promise<T>,
  onSetback: OnSetback = async () => {},
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof RunFailureError) {
      const { failure, cause } = error
      const again = failureCodes[failure.code].retryable ? nextAttempt(attempt, patienceWith(failure.code)) : null
      if (again) await onSetback(failure, again)
      throw toApplicationFailure(RUN_FAILURE, failure.message, again, cause, [failure])
    }
    // The server will hardly say anything else to the same request: a run must not wait for it until its time is up.
    if (error instanceof ServerRefusal) {
      throw toApplicationFailure(error.name, error.message, nextAttempt(attempt, ATTEMPTS), error)
    }
    // A newer execution has the run: this one has nothing more to say, however often.
    if (error instanceof FencedError) throw ApplicationFailure.nonRetryable(error.message, error.name)
    throw error
  }
}

/** For an error that nobody foresaw: it may pass, and is not tried for ever. */
export async function unforeseen(
  error: unknown,
  attempt: number,
  onSetback: OnSetback = async () => {},
): Promise<ApplicationFailure> {
  const again = nextAttempt(attempt, PATIENT_ATTEMPTS)
  const { name, message } = error instanceof Error ? error : { name: 'Error', message: String(error) }
  if (again) await onSetback({ code: 'internal_error', message }, again)
  return toApplicationFailure(name, message, again, error)
}

const patienceWith = (code: FailureCode) => (code === 'host_unavailable' ? PATIENT_ATTEMPTS : ATTEMPTS)

function nextAttempt(attempt: number, attempts: number): Again | null {
  return attempt < attempts ? { attempt, attempts, pauseSeconds: Math.min(2 ** attempt, LONGEST_PAUSE_S) } : null
}

function toApplicationFailure(
  type: string,
  message: string,
  again: Again | null,
  cause: unknown,
  details: unknown[] = [],
): ApplicationFailure {
  return ApplicationFailure.create({
    type,
    message,
    details,
    nonRetryable: again === null,
    ...(again ? { nextRetryDelay: `${again.pauseSeconds}s` } : {}),
    ...(cause instanceof Error ? { cause } : {}),
  })
}
