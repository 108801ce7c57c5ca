// Runs on the worker that holds the sandbox. What every long host activity needs around its work.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Context } from '@temporalio/activity'
import { ApplicationFailure, type Client } from '@temporalio/client'
import { TemporalFailure } from '@temporalio/common'
import type { Logger } from 'pino'
import { z } from 'zod'
import { type OnSetback, unforeseen, withTypedFailures } from '../failures.ts'

/**
 * 1 s between heartbeats: a cancel reaches an activity only in a heartbeat's
 * answer. The worker's throttle is set to the same.
 */
export const HEARTBEAT_MS = 1_000

/** Why an activity is told to stop. `interrupt`: people want it; `detach`: this worker is going away, the sandbox is not. */
export interface StopSignals {
  interrupt: AbortSignal
  detach: AbortSignal
}

/** The work goes on in another attempt; nothing in the sandbox is to be touched. */
export class DetachedError extends Error {
  override readonly name = 'DetachedError'
}

const Held = z.object({ workflowId: z.string(), runId: z.string(), activityId: z.string() })

/** Has an activity of a former worker tried again at once. */
export async function giveBack(client: Client, activity: z.infer<typeof Held>): Promise<void> {
  const failure = ApplicationFailure.retryable('The host worker was started again.', 'HostRestarted')
  await client.activity.fail(activity, failure)
}

/** Null for one that its writer did not finish: it was killed then, and the heartbeat's timeout gives its activity back. */
async function readNote(path: string): Promise<z.infer<typeof Held> | null> {
  try {
    return Held.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) return null
    throw error
  }
}

/**
 * The activities that this host has in hand, noted on disk. A worker that was
 * killed cannot give them back; the one that follows it does, so that they go
 * on at once instead of after the heartbeat's timeout.
 */
export function createAttendance(directory: string) {
  mkdirSync(directory, { recursive: true })
  /**
   * How often each activity has failed here in a row. Temporal's own count has
   * those in it whose worker was killed, and nobody is to pay for these.
   */
  const setbacks = new Map<string, number>()
  const noteOf = (activityId: string, workflowRunId: string) => join(directory, `${workflowRunId}.${activityId}.json`)

  async function withSignals<T>(work: (signals: StopSignals, note: string) => Promise<T>): Promise<T> {
    const context = Context.current()
    const { activityId, workflowExecution } = context.info
    const runId = workflowExecution?.runId ?? ''
    const note = noteOf(activityId, runId)
    writeFileSync(note, JSON.stringify({ workflowId: workflowExecution?.workflowId ?? '', runId, activityId }))

    const interrupt = new AbortController()
    const detach = new AbortController()
    const onAbort = () => {
      const reason: unknown = context.cancellationSignal.reason
      if (context.cancellationDetails?.cancelRequested) interrupt.abort(reason)
      else detach.abort(new DetachedError('this worker no longer owns the activity', { cause: reason }))
    }
    if (context.cancellationSignal.aborted) onAbort()
    else context.cancellationSignal.addEventListener('abort', onAbort, { once: true })
    const heartbeat = setInterval(() => context.heartbeat(), HEARTBEAT_MS)
    try {
      return await work({ interrupt: interrupt.signal, detach: detach.signal }, note)
    } finally {
      clearInterval(heartbeat)
      context.cancellationSignal.removeEventListener('abort', onAbort)
      rmSync(note, { force: true })
    }
  }

  return {
    /**
     * Runs the work of one activity with heartbeats, typed failures, and the
     * reason of an abort told apart. `onSetback` is told of what is tried again.
     */
    attend: <T>(work: (signals: StopSignals) => Promise<T>, onSetback?: OnSetback): Promise<T> =>
      withSignals(async (signals, note) => {
        const attempt = (setbacks.get(note) ?? 0) + 1
        setbacks.delete(note)
        try {
          return await withTypedFailures(attempt, () => work(signals), onSetback)
        } catch (error) {
          if (Context.current().cancellationSignal.aborted) throw error
          const failure = error instanceof TemporalFailure ? error : await unforeseen(error, attempt, onSetback)
          if (failure instanceof ApplicationFailure && !failure.nonRetryable) setbacks.set(note, attempt)
          throw failure
        }
      }),

    /** The same for work that is asked of any host until one does it: what it throws is left to the workflow's own retries. */
    attendAnyOf: <T>(work: (signals: StopSignals) => Promise<T>): Promise<T> => withSignals(work),

    /** Gives back what a killed predecessor had in hand. To be called before this worker polls. */
    async handBack(client: Client, log: Logger): Promise<void> {
      const names = await readdir(directory).catch(() => [] as string[])
      await Promise.all(
        names.map(async (name) => {
          const path = join(directory, name)
          const held = await readNote(path)
          if (held === null) return await rm(path, { force: true })
          try {
            await giveBack(client, held)
            log.info({ run: held.workflowId, activity: held.activityId }, 'gave back an activity of the former worker')
          } catch (error) {
            // It has ended or timed out meanwhile: there is nothing to give back.
            log.debug(
              { run: held.workflowId, reason: String(error) },
              'an activity of the former worker is no longer open',
            )
          }
          await rm(path, { force: true })
        }),
      )
    },
  }
}

export type Attendance = ReturnType<typeof createAttendance>
