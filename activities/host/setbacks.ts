// Runs on the worker that holds the sandbox. What did not succeed and is tried again is shown to those who wait.
import { Context } from '@temporalio/activity'
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { OnSetback } from '../failures.ts'
import type { HostDeps } from './deps.ts'

/** The next attempt does not wait longer for this to be stored; in milliseconds. */
const STORE_MS = 10_000

/** Says in the transcript which attempt this was, why it did not succeed, and when the next one comes. */
export function tellSetback(
  { server, log }: Pick<HostDeps, 'server' | 'log'>,
  { runId, execution }: ExecutionRef,
  phase: 'prepare' | 'turn',
): OnSetback {
  return async ({ code, message, logTail }, { attempt, attempts, pauseSeconds }) => {
    const { activityId, attempt: line, workflowExecution } = Context.current().info
    // Its number is one of a workflow, and an execution may be carried on by the next.
    const journal = `attempts-${execution}-${workflowExecution?.runId.slice(0, 8)}-${activityId}`
    const data = {
      code: 'attempt_failed',
      message: `Attempt ${attempt} of ${attempts} did not succeed: ${message} The next one comes in ${pauseSeconds} s.`,
      failure_code: code,
      step: phase,
      attempt,
      attempts,
      next_attempt_at: new Date(Date.now() + pauseSeconds * 1000).toISOString(),
      ...(logTail === undefined ? {} : { log_tail: logTail }),
    }
    const event = { line, part: 0, time: new Date().toISOString(), kind: 'warning' as const, data }
    log.warn({ run: runId, execution, code, attempt, attempts, pauseSeconds, reason: message }, 'tried again')
    try {
      const batch = { journal, events: [event], read_to: line }
      await server.append(runId, execution, batch, AbortSignal.timeout(STORE_MS))
    } catch (error) {
      // The attempt itself is what matters.
      log.warn({ run: runId, err: error }, 'an attempt could not be told of')
    }
  }
}
