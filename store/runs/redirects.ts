// Which run is live in a conversation, and which conversation a run is of: for clients that know one id and want the other.
import { sql } from 'kysely'
import type { Queryable } from '../database.ts'

/** The newest run of a conversation that has not ended; null when there is none. A run is its own session. */
export async function liveSession(db: Queryable, conversationId: string): Promise<string | null> {
  const { rows } = await sql<{ id: string }>`
    select id from runs
    where (id = ${conversationId} or conversation_id = ${conversationId})
      and coalesce(conversation_id, id) = ${conversationId}
      and state not in ('SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED')
    order by created_at desc, id
    limit 1
  `.execute(db)
  return rows[0]?.id ?? null
}

/** Null when there is no such session. */
export async function conversationOf(db: Queryable, sessionId: string): Promise<string | null> {
  const row = await db
    .selectFrom('runs')
    .select(['id', 'conversation_id'])
    .where('id', '=', sessionId)
    .executeTakeFirst()
  return row ? (row.conversation_id ?? row.id) : null
}
