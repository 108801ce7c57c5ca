// Hands over mail to the workflows. It is in the database before, so that nothing is lost when this process or Temporal is away.
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, isGrpcServiceError, WorkflowNotFoundError } from '@temporalio/client'
import type { Logger } from 'pino'
import type { Db } from '../store/database.ts'
import { markDispatched, runsWithUndelivered, type UndeliveredMail, undelivered } from '../store/mail.ts'
import { MAIL_SIGNAL, ORCHESTRATOR_QUEUE, RUN_WORKFLOW, workflowId } from '../workflows/contract.ts'

export interface Dispatcher {
  /** This run has new mail. Returns at once. */
  nudge(runId: string): void
  /** Stops, once the calls in hand have been answered or a second is over. */
  close(): Promise<void>
}

/** Runs that are served at the same time. */
const LANES = 20
/** How often the database is asked for mail that was left lying. */
const SWEEP_MS = 2_000
/** Mail younger than this is still in the hands of whoever wrote it. */
const LEFT_LYING_MS = 2_000
/** Most runs of one sweep; the next one takes the rest. */
const SWEEP_RUNS = 500
/** Longest time for one call: Temporal answers in milliseconds or is away. */
const CALL_MS = 5_000
/** How long a server that stops waits for calls in hand. One that is heard later all the same is made again by the next sweep. */
const CLOSE_MS = 1_000

/** gRPC DEADLINE_EXCEEDED and UNAVAILABLE. */
const awayCodes = [4, 14]

export function createDispatcher({ db, client, log }: { db: Db; client: Client; log: Logger }): Dispatcher {
  /** Runs that wait for a lane, in order. */
  const waiting = new Set<string>()
  /** Runs that have one: each run's mail is handed over by one at a time, in the order it was written. */
  const active = new Set<string>()
  const lanes = new Set<Promise<void>>()
  const closing = new AbortController()

  function nudge(runId: string): void {
    waiting.add(runId)
    fillLanes()
  }

  function fillLanes(): void {
    for (const runId of waiting) {
      if (lanes.size >= LANES || closing.signal.aborted) return
      if (active.has(runId)) continue
      waiting.delete(runId)
      active.add(runId)
      const lane = deliver(runId).then(() => {
        lanes.delete(lane)
        active.delete(runId)
        fillLanes()
      })
      lanes.add(lane)
    }
  }

  /** Everything that this run has not got yet. Never rejects; what could not be handed over is left to the next sweep. */
  async function deliver(runId: string): Promise<'delivered' | 'away' | 'refused'> {
    try {
      for (const mail of await undelivered(db, runId)) {
        await client.connection.withDeadline(Date.now() + CALL_MS, () => handOver(client, runId, mail))
        await markDispatched(db, mail.id)
      }
      return 'delivered'
    } catch (error) {
      log.warn({ run: runId, reason: reasonOf(error) }, 'mail could not be handed over; it will be tried again')
      return isAway(error) ? 'away' : 'refused'
    }
  }

  async function sweep(): Promise<void> {
    const runs = await runsWithUndelivered(db, LEFT_LYING_MS, SWEEP_RUNS)
    const first = runs.find((runId) => !active.has(runId))
    if (first === undefined) return
    // One tries first: while Temporal is away, the others need not.
    active.add(first)
    const outcome = await deliver(first)
    active.delete(first)
    if (outcome === 'away') return
    for (const runId of runs) if (runId !== first) nudge(runId)
    fillLanes()
  }

  async function sweepUntilClosed(): Promise<void> {
    while (!closing.signal.aborted) {
      await sweep().catch((error: unknown) =>
        log.warn({ reason: String(error) }, 'the sweep for undelivered mail failed'),
      )
      await sleep(SWEEP_MS, undefined, { signal: closing.signal }).catch(() => {
        // Closing: the loop's condition ends it.
      })
    }
  }

  const sweeping = sweepUntilClosed()

  return {
    nudge,
    async close() {
      closing.abort()
      const inHand = Promise.all([sweeping, ...lanes])
      await Promise.race([inHand, sleep(CLOSE_MS, undefined, { ref: false })])
    },
  }
}

async function handOver(client: Client, runId: string, { agent, ...mail }: UndeliveredMail): Promise<void> {
  if (mail.kind === 'prompt') {
    await client.workflow.signalWithStart(RUN_WORKFLOW, {
      workflowId: workflowId(runId),
      taskQueue: ORCHESTRATOR_QUEUE,
      args: [{ runId }],
      signal: MAIL_SIGNAL,
      signalArgs: [mail],
      // A follow-up on a run that has ended starts its workflow again.
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      staticSummary: `agent run: ${agent}`,
    })
    return
  }
  try {
    await client.workflow.getHandle(workflowId(runId)).signal(MAIL_SIGNAL, mail)
  } catch (error) {
    // The run has ended meanwhile: there is nothing left to answer or to cancel.
    if (!(error instanceof WorkflowNotFoundError)) throw error
  }
}

/** Temporal's errors say what was tried; what went wrong is their cause. */
const reasonOf = (error: unknown) =>
  error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)

function isAway(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (isGrpcServiceError(at) && awayCodes.includes(at.code)) return true
  }
  return false
}
