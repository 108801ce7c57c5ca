// Delivers what webhooks are to be told. It is in the database before, so that nothing is lost when this process or the
// receiver is away; of several servers each delivery is in the hands of one.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { WebhookPayload } from '../domain/webhook.ts'
import type { Db } from '../store/database.ts'
import { findRun } from '../store/runs/runs.ts'
import { createSweeper } from '../store/sweeper.ts'
import {
  type DueDelivery,
  keepBody,
  recordDelivered,
  recordGivenUp,
  recordSetback,
  takeDueDeliveries,
} from '../store/webhook-deliveries.ts'
import { outsideAgent, type Resolve } from './outside.ts'
import { ANSWER_MS, send } from './send.ts'
import { secretOf } from './sign.ts'

export interface WebhookSender {
  /** There may be something to deliver. Returns at once. */
  nudge(): void
  /** Stops; what is in hand is delivered again by whoever comes next. */
  close(): Promise<void>
}

export interface SenderDeps {
  db: Db
  /** The server's key, from which the secrets are made. */
  key: string
  /** Addresses and ranges that may be reached beside the internet. */
  allowed: readonly string[]
  /** How long a delivery is tried again, in hours. */
  hours: number
  /** A webhook at which nothing has arrived for so many days is disabled; 0: never. */
  disableDays: number
  log: Pick<Logger, 'info' | 'warn'>
  /** Before the n-th next attempt, in seconds; the last one goes on. */
  pauses?: readonly number[]
  resolve?: Resolve
}

/** How often the database is asked when nobody has said anything: for what is due again. */
const SWEEP_MS = 2_000
/** Deliveries under way at once. */
const MOST = 20
/** Of one webhook, when so many are under way, no more are begun. */
const OF_ONE = 4
/** After that long, whoever has a delivery in hand is dead. In seconds. */
const IN_HAND_S = (3 * ANSWER_MS) / 1000
/** Seconds to a minute at first, then up to an hour. */
const PAUSES = [5, 30, 120, 600, 1_800, 3_600]
const CLOSE_MS = 1_000

export function createWebhookSender(deps: SenderDeps): WebhookSender {
  const { db, key, allowed, hours, disableDays, log, pauses = PAUSES, resolve } = deps
  const through = outsideAgent(allowed, resolve)
  const closing = new AbortController()
  /** Those under way, each with its webhook. */
  const active = new Map<Promise<void>, string>()

  async function deliver(delivery: DueDelivery): Promise<void> {
    try {
      const body = delivery.body ?? (await keepBody(db, delivery.id, await bodyOf(db, delivery)))
      const secret = secretOf(key, { id: delivery.webhook_id, number: delivery.secret_number })
      const attempt = await send({ ...delivery, body, secret }, through, closing.signal)
      // Cut off by our own end, it says nothing of the receiver: it is due again soon.
      if (closing.signal.aborted) return
      if (attempt.error === null) return await recordDelivered(db, delivery, attempt)
      const pause = pauseBefore(delivery.attempts)
      const isOver = Date.now() + pause * 1000 > delivery.since.getTime() + hours * 3_600_000
      if (!isOver) {
        await recordSetback(db, delivery, attempt, pause)
        if (pause * 1000 < SWEEP_MS) setTimeout(sweeper.nudge, pause * 1000).unref()
        return
      }
      const disabled = await recordGivenUp(db, delivery, attempt, disableDays)
      log.warn(
        { webhook: delivery.webhook_id, delivery: delivery.id, reason: attempt.error, disabled },
        disabled ? 'a webhook was disabled: nothing has arrived there for days' : 'a delivery was given up',
      )
    } catch (error) {
      log.warn({ delivery: delivery.id, reason: String(error) }, 'a delivery could not be made; it is tried again')
    }
  }

  /** With up to a tenth more, so that what failed together does not come again together. */
  function pauseBefore(attempts: number): number {
    const pause = pauses[Math.min(attempts, pauses.length) - 1] ?? 0
    return pause * (1 + Math.random() / 10)
  }

  async function sweep(): Promise<void> {
    while (active.size < MOST && !closing.signal.aborted) {
      const taken = await takeDueDeliveries(db, { most: MOST - active.size, seconds: IN_HAND_S, busy: busy() })
      for (const delivery of taken) {
        const done: Promise<void> = deliver(delivery).then(() => {
          active.delete(done)
          // A place is free.
          sweeper.nudge()
        })
        active.set(done, delivery.webhook_id)
      }
      if (taken.length === 0) return
    }
  }

  function busy(): string[] {
    const counts = new Map<string, number>()
    for (const id of active.values()) counts.set(id, (counts.get(id) ?? 0) + 1)
    return [...counts].filter(([, count]) => count >= OF_ONE).map(([id]) => id)
  }

  const sweeper = createSweeper({
    sweep,
    everyMs: SWEEP_MS,
    closing: closing.signal,
    onError: (error) =>
      log.warn({ reason: String(error) }, 'the look for webhook deliveries failed; it is tried again'),
  })

  return {
    nudge: sweeper.nudge,
    async close() {
      closing.abort()
      await Promise.race([Promise.all([sweeper.ended, ...active.keys()]), sleep(CLOSE_MS, undefined, { ref: false })])
      await through.destroy()
    },
  }
}

/** The event with the run as it is now: without what may be long and says nothing of how it goes. */
async function bodyOf(db: Db, { id, event, run_id: runId, ...delivery }: DueDelivery): Promise<string> {
  const found = runId === null ? null : await findRun(db, runId)
  const { prompt: _, agent_config: __, environment: ___, ...run } = found ?? {}
  const payload: WebhookPayload = {
    id,
    event,
    created_at: delivery.created_at.toISOString(),
    webhook_uid: delivery.webhook_id,
    team: delivery.team,
    run: found === null ? null : run,
    data: delivery.data,
  }
  return JSON.stringify(payload)
}
