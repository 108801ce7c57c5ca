// Outbound webhooks. A team in every query. No secret is here: each is made from the server's key and what is in its row.
import { type Selectable, sql } from 'kysely'
import type { WebhookConfig, WebhookItem } from '../domain/webhook.ts'
import type { Queryable, Tx } from './database.ts'
import { jsonb } from './json.ts'
import type { WebhooksTable } from './schema.ts'
import { dropPending } from './webhook-deliveries.ts'

/** With what its secret is made from. */
export interface StoredWebhook {
  item: WebhookItem
  secretNumber: number
}

export async function insertWebhook(
  tx: Tx,
  { id, team, by, config }: { id: string; team: string; by: { type: string; uid: string }; config: WebhookConfig },
): Promise<WebhookItem> {
  const row = await tx
    .insertInto('webhooks')
    .values({ id, team, ...columnsOf(config), created_by_type: by.type, created_by: by.uid })
    .returningAll()
    .executeTakeFirstOrThrow()
  return serve(row).item
}

/** Null when there is none. */
export async function findWebhook(db: Queryable, team: string, id: string): Promise<StoredWebhook | null> {
  const row = await db
    .selectFrom('webhooks')
    .selectAll()
    .where('team', '=', team)
    .where('id', '=', id)
    .executeTakeFirst()
  return row ? serve(row) : null
}

/** The oldest first. */
export async function listWebhooks(db: Queryable, team: string): Promise<WebhookItem[]> {
  const rows = await db
    .selectFrom('webhooks')
    .selectAll()
    .where('team', '=', team)
    .orderBy('created_at')
    .orderBy('id')
    .execute()
  return rows.map((row) => serve(row).item)
}

/** Puts it in its place; enabled again, it has no past. Null when there is none. */
export async function replaceWebhook(
  tx: Tx,
  { team, id }: { team: string; id: string },
  config: WebhookConfig,
): Promise<WebhookItem | null> {
  const row = await tx
    .updateTable('webhooks')
    .set((eb) => ({
      ...columnsOf(config),
      updated_at: sql`now()`,
      disabled_reason: null,
      failing_since: eb.case().when('enabled', '=', config.enabled).then(eb.ref('failing_since')).else(null).end(),
    }))
    .where('team', '=', team)
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst()
  if (!row) return null
  if (!config.enabled) await dropPending(tx, id)
  return serve(row).item
}

/** From now on deliveries are signed by another secret. Null when there is none. */
export async function renewSecret(tx: Tx, team: string, id: string): Promise<StoredWebhook | null> {
  const row = await tx
    .updateTable('webhooks')
    .set((eb) => ({ secret_number: eb('secret_number', '+', 1), updated_at: sql`now()` }))
    .where('team', '=', team)
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst()
  return row ? serve(row) : null
}

/** False when there is none. What was still to be delivered goes with it. */
export async function deleteWebhook(tx: Tx, team: string, id: string): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom('webhooks')
    .where('team', '=', team)
    .where('id', '=', id)
    .executeTakeFirst()
  return numDeletedRows > 0n
}

const columnsOf = ({ name, url, events, filter, enabled }: WebhookConfig) => ({
  name,
  url,
  events,
  filter: jsonb(filter),
  enabled,
})

const serve = (row: Selectable<WebhooksTable>): StoredWebhook => ({
  secretNumber: row.secret_number,
  item: {
    uid: row.id,
    name: row.name,
    url: row.url,
    events: row.events,
    filter: row.filter,
    enabled: row.enabled,
    disabled_reason: row.disabled_reason,
    failing_since: row.failing_since?.toISOString() ?? null,
    created_by: { type: row.created_by_type, uid: row.created_by },
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  },
})
