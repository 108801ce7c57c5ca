// Hands over mail to the workflows. It is in the database before, so that nothing is lost when this process or Temporal is away.
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, isGrpcServiceError } from '@temporalio/client'
import type { Logger } from 'pino'
import type { Db } from '../store/database.ts'
import { markDispatched, runsWithUndelivered, undelivered } from '../store/runs/mail.ts'
import { createSweeper } from '../store/sweeper.ts'
import type { ServerMetrics } from '../telemetry/server-metrics.ts'
import type { Tracing } from '../telemetry/tracing.ts'
import { causeOf, handOver } from './hand-over.ts'
import type { AttributeRegistration } from './search-attributes.ts'

export interface Dispatcher {
  /** This run has new mail. Returns at once. */
  nudge(runId: string): void
  /** The same, before those that wait already: it has been let in, and its place stands empty until it knows. */
  nudgeFirst(runId: string): void
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

export interface DispatcherDeps {
  db: Db
  client: Client
  attributes: Pick<AttributeRegistration, 'ready' | 'refused'>
  metrics: Pick<ServerMetrics, 'mailSeconds'>
  tracing: Pick<Tracing, 'within'>
  log: Logger
}

export function createDispatcher({ db, client, attributes, metrics, tracing, log }: DispatcherDeps): Dispatcher {
  /** Runs that wait for a lane, in order; those of the first set go first. */
  const urgent = new Set<string>()
  const waiting = new Set<string>()
  /** Runs that have one: each run's mail is handed over by one at a time, in the order it was written. */
  const active = new Set<string>()
  const lanes = new Set<Promise<void>>()
  const closing = new AbortController()

  function nudge(runId: string, queue = waiting): void {
    queue.add(runId)
    fillLanes()
  }

  function fillLanes(): void {
    for (const queue of [urgent, waiting]) {
      for (const runId of queue) {
        if (lanes.size >= LANES || closing.signal.aborted) return
        if (active.has(runId)) continue
        queue.delete(runId)
        active.add(runId)
        const lane = deliver(runId).then(() => {
          lanes.delete(lane)
          active.delete(runId)
          fillLanes()
        })
        lanes.add(lane)
      }
    }
  }

  /** Everything that this run has not got yet. Never rejects; what could not be handed over is left to the next sweep. */
  async function deliver(runId: string): Promise<'delivered' | 'away' | 'refused'> {
    try {
      for (const mail of await undelivered(db, runId)) {
        await tracing.within(mail.trace, () =>
          client.connection.withDeadline(Date.now() + CALL_MS, () => handOver(client, attributes, mail)),
        )
        await markDispatched(db, mail.mail.id)
        metrics.mailSeconds.observe({ kind: mail.mail.kind }, (Date.now() - mail.createdAt.getTime()) / 1000)
      }
      return 'delivered'
    } catch (error) {
      log.warn({ run: runId, reason: causeOf(error) }, 'mail could not be handed over; it will be tried again')
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

  const sweeper = createSweeper({
    sweep,
    everyMs: SWEEP_MS,
    closing: closing.signal,
    onError: (error) => log.warn({ reason: String(error) }, 'the sweep for undelivered mail failed'),
  })

  return {
    nudge: (runId) => nudge(runId),
    nudgeFirst: (runId) => nudge(runId, urgent),
    async close() {
      closing.abort()
      const inHand = Promise.all([sweeper.ended, ...lanes])
      await Promise.race([inHand, sleep(CLOSE_MS, undefined, { ref: false })])
    },
  }
}

/** Temporal itself does not answer, whatever is asked of it. */
export function isAway(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (isGrpcServiceError(at) && awayCodes.includes(at.code)) return true
  }
  return false
}
