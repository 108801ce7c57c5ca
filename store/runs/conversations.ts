// Conversations: a run, and those that go on with what was said in it.
import { sql } from 'kysely'
import type { Queryable, Tx } from '../database.ts'
import { isVisible, type Visibility } from './run-access.ts'

/** The runs of a conversation that somebody sees, in the order in which they were begun; none where there is no such thing. */
export async function findConversation(
  db: Queryable,
  id: string,
  visible: Visibility,
): Promise<{ id: string; checkpoints: number }[]> {
  const { rows } = await sql<{ id: string; checkpoints: number }>`
    select runs.id, runs.checkpoints from runs
    where (runs.id = ${id}::uuid or runs.conversation_id = ${id}::uuid)
      and coalesce(runs.conversation_id, runs.id) = ${id}::uuid
      and ${isVisible(visible)}
    order by runs.created_at, runs.id
  `.execute(db)
  return rows
}

/** Of those who go on with a conversation at the same time, each sees what the one before has begun. */
export async function lockConversation(tx: Tx, id: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`conversation ${id}`}, 0))`.execute(tx)
}
