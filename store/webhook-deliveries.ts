// What webhooks are to be told, and what came of it. Written in the transaction of what they tell of, so none is lost.
import { type Selectable, sql } from 'kysely'
import { PING, type WebhookDelivery, type WebhookEvent } from '../domain/webhook.ts'
import { note, SYSTEM } from './audit.ts'
import type { Db, Queryable, Tx } from './database.ts'
import { jsonb, storableText } from './json.ts'
import type { WebhookDeliveriesTable } from './schema.ts'

/** `pg_notify` channel: there is something to deliver. */
export const WEBHOOK_CHANNEL = 'ambient_webhooks'

/** Deliveries that are over are kept for so many days. */
const KEPT_DAYS = 7
/** Of one webhook, so many are begun at once: a slow receiver holds nobody else up. */
const AT_ONCE = 4

/** Has the webhooks told that want to know of this. Changes of state are told by the database itself. */
export async function noteForWebhooks(
  tx: Tx,
  runId: string,
  event: WebhookEvent,
  data: Record<string, unknown>,
): Promise<void> {
  await sql`select note_for_webhooks(${runId}, ${event}, ${jsonb(data)})`.execute(tx)
}

/** A test, about no run. Returns its id. */
export async function insertPing(tx: Tx, webhookId: string): Promise<string> {
  const row = await tx
    .insertInto('webhook_deliveries')
    .values({ webhook_id: webhookId, run_id: null, event: PING, data: jsonb({}) })
    .returning('id')
    .executeTakeFirstOrThrow()
  return row.id
}

/** One that is due, and in the hands of whoever has taken it. */
export type DueDelivery = Pick<
  Selectable<WebhookDeliveriesTable>,
  'id' | 'webhook_id' | 'run_id' | 'event' | 'data' | 'body' | 'attempts' | 'since' | 'created_at'
> & { url: string; team: string; secret_number: number }

/**
 * Takes what is due. Nobody else is given it for so many seconds: should its
 * taker die, it is due again then. Of `busy` webhooks nothing is taken.
 */
export async function takeDueDeliveries(
  db: Db,
  { most, seconds, busy }: { most: number; seconds: number; busy: readonly string[] },
): Promise<DueDelivery[]> {
  const { rows } = await sql<DueDelivery>`
    with due as (
      select next.id from webhooks
      cross join lateral (
        select id, due_at from webhook_deliveries
        where webhook_id = webhooks.id and state = 'pending' and due_at <= now()
        order by due_at
        limit ${AT_ONCE}
        for update skip locked
      ) as next
      where not webhooks.id = any (${busy}::text[])
      -- Those at which nothing arrives come last: each of them takes a place for as long as it may.
      order by webhooks.failing_since is not null, next.due_at
      limit ${most}
    )
    update webhook_deliveries as delivery
    set attempts = attempts + 1, attempted_at = now(), due_at = now() + make_interval(secs => ${seconds})
    from due, webhooks
    where delivery.id = due.id and webhooks.id = delivery.webhook_id
    returning delivery.id, delivery.webhook_id, delivery.run_id, delivery.event, delivery.data, delivery.body,
      delivery.attempts, delivery.since, delivery.created_at, webhooks.url, webhooks.team, webhooks.secret_number
  `.execute(db)
  return rows
}

/** What is sent now is what is sent again. Answers with the body that counts: somebody may have been before. */
export async function keepBody(db: Db, id: string, body: string): Promise<string> {
  const row = await db
    .updateTable('webhook_deliveries')
    .set((eb) => ({ body: eb.fn.coalesce('body', eb.val(storableText(body))) }))
    .where('id', '=', id)
    .returning('body')
    .executeTakeFirst()
  return row?.body ?? body
}

/** What an attempt came to. `again`: seconds until the next one; null: there is none. */
export interface Attempt {
  status: number | null
  error: string | null
  response: string | null
  durationMs: number
}

export async function recordDelivered(
  db: Db,
  { id, webhook_id: webhookId }: DueDelivery,
  attempt: Attempt,
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await writeAttempt(tx, id, attempt, { state: 'delivered', delivered_at: sql<Date>`now()` })
    await tx
      .updateTable('webhooks')
      .set({ failing_since: null })
      .where('id', '=', webhookId)
      .where('failing_since', 'is not', null)
      .execute()
  })
}

/** It is sent again after so many seconds. */
export async function recordSetback(db: Db, delivery: DueDelivery, attempt: Attempt, seconds: number): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const dueAt = sql<Date>`now() + make_interval(secs => ${seconds})`
    await writeAttempt(tx, delivery.id, attempt, { due_at: dueAt })
    await noteFailing(tx, delivery)
  })
}

/**
 * It is given up. A webhook at which nothing has arrived for so many days is
 * disabled. True when this one was.
 */
export async function recordGivenUp(
  db: Db,
  delivery: DueDelivery,
  attempt: Attempt,
  disableDays: number,
): Promise<boolean> {
  return await db.transaction().execute(async (tx) => {
    await writeAttempt(tx, delivery.id, attempt, { state: 'failed' })
    await noteFailing(tx, delivery)
    if (disableDays === 0) return false
    const days = disableDays === 1 ? 'a day' : `${disableDays} days`
    const reason = `Nothing has arrived for ${days}. The latest attempt: ${attempt.error ?? 'no reason known'}`
    const disabled = await tx
      .updateTable('webhooks')
      .set({ enabled: false, disabled_reason: storableText(reason), updated_at: sql`now()` })
      .where('id', '=', delivery.webhook_id)
      .where('enabled', '=', true)
      .where('failing_since', '<=', sql<Date>`now() - make_interval(days => ${disableDays})`)
      .returning('id')
      .executeTakeFirst()
    if (disabled === undefined) return false
    await dropPending(tx, delivery.webhook_id)
    const thing = { type: 'webhook', uid: delivery.webhook_id, team: delivery.team }
    await note(tx, { caller: SYSTEM, action: 'webhooks.disable', thing, detail: { days: disableDays } })
    return true
  })
}

async function writeAttempt(
  tx: Tx,
  id: string,
  { status, error, response, durationMs }: Attempt,
  rest: object,
): Promise<void> {
  await tx
    .updateTable('webhook_deliveries')
    .set({
      status,
      error: error === null ? null : storableText(error),
      response: response === null ? null : storableText(response),
      duration_ms: durationMs,
      ...rest,
    })
    .where('id', '=', id)
    .execute()
}

/** A test says nothing of what becomes of the others. */
async function noteFailing(tx: Tx, { webhook_id: id, event }: DueDelivery): Promise<void> {
  if (event === PING) return
  await tx
    .updateTable('webhooks')
    .set({ failing_since: sql`now()` })
    .where('id', '=', id)
    .where('failing_since', 'is', null)
    .execute()
}

/** Whoever is disabled is sent nothing any more, but for what a person sends again. */
export async function dropPending(tx: Tx, webhookId: string): Promise<void> {
  await tx
    .updateTable('webhook_deliveries')
    .set({ state: 'failed', error: 'The webhook was disabled.' })
    .where('webhook_id', '=', webhookId)
    .where('state', '=', 'pending')
    .execute()
}

/** Where a page ends. */
export interface DeliveryPlace {
  createdAt: string
  id: string
}

/** The newest first. */
export async function listDeliveries(
  db: Queryable,
  webhookId: string,
  { limit, after }: { limit: number; after: DeliveryPlace | null },
): Promise<{ deliveries: WebhookDelivery[]; next: DeliveryPlace | null }> {
  const rows = await db
    .selectFrom('webhook_deliveries')
    .select(served)
    .where('webhook_id', '=', webhookId)
    .$if(after !== null, (all) =>
      all.where(sql<boolean>`(created_at, id) < (${after?.createdAt}::timestamptz, ${after?.id}::uuid)`),
    )
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute()
  const page = rows.slice(0, limit)
  const last = page.at(-1)
  const next = rows.length > limit && last ? { createdAt: last.created_at.toISOString(), id: last.id } : null
  return { deliveries: page.map(serve), next }
}

export async function findDelivery(db: Queryable, webhookId: string, id: string): Promise<WebhookDelivery | null> {
  const row = await db
    .selectFrom('webhook_deliveries')
    .select(served)
    .where('webhook_id', '=', webhookId)
    .where('id', '=', id)
    .executeTakeFirst()
  return row ? serve(row) : null
}

/** Has it sent at once, and its time begin anew. Null when there is none. */
export async function resendDelivery(tx: Tx, webhookId: string, id: string): Promise<WebhookDelivery | null> {
  const row = await tx
    .updateTable('webhook_deliveries')
    .set({ state: 'pending', due_at: sql`now()`, since: sql`now()`, delivered_at: null })
    .where('webhook_id', '=', webhookId)
    .where('id', '=', id)
    .returning(served)
    .executeTakeFirst()
  return row ? serve(row) : null
}

export async function dropOldDeliveries(db: Queryable): Promise<void> {
  await db
    .deleteFrom('webhook_deliveries')
    .where('state', '<>', 'pending')
    .where('created_at', '<', sql<Date>`now() - make_interval(days => ${KEPT_DAYS})`)
    .execute()
}

const served = [
  ...(['id', 'event', 'run_id', 'state', 'attempts', 'due_at', 'status', 'error', 'response'] as const),
  ...(['duration_ms', 'created_at', 'attempted_at', 'delivered_at'] as const),
] as const

const serve = (row: Pick<Selectable<WebhookDeliveriesTable>, (typeof served)[number]>): WebhookDelivery => ({
  delivery_id: row.id,
  event: row.event,
  run_id: row.run_id,
  state: row.state,
  attempts: row.attempts,
  next_attempt_at: row.state === 'pending' ? row.due_at.toISOString() : null,
  status: row.status,
  error: row.error,
  response: row.response,
  duration_ms: row.duration_ms,
  created_at: row.created_at.toISOString(),
  attempted_at: row.attempted_at?.toISOString() ?? null,
  delivered_at: row.delivered_at?.toISOString() ?? null,
})
