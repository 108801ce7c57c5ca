// Conversations: a run, and those that go on with what was said in it.
import { sql } from 'kysely'
import { terminalStates } from '../../domain/state.ts'
import type { Queryable, Tx } from '../database.ts'
import { messageWaits } from './mail.ts'
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

/** Of those who go on with a conversation at the same time, each sees what the one before has begun. Taken before the lock of a run. */
export async function lockConversation(tx: Tx, id: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`conversation ${id}`}, 0))`.execute(tx)
}

/** As {@link lockConversation}, of the conversation that a run is in. */
export async function lockConversationOf(tx: Tx, runId: string): Promise<void> {
  const row = await tx.selectFrom('runs').select('conversation_id').where('id', '=', runId).executeTakeFirst()
  await lockConversation(tx, row?.conversation_id ?? runId)
}

/** A run of the conversation that is not over, other than `but`; null where all are. The caller holds the conversation's lock. */
export async function atWorkIn(tx: Tx, id: string, but: string | null = null): Promise<string | null> {
  const { rows } = await sql<{ id: string }>`
    select runs.id from runs
    where (runs.id = ${id}::uuid or runs.conversation_id = ${id}::uuid)
      and coalesce(runs.conversation_id, runs.id) = ${id}::uuid
      and (${but}::uuid is null or runs.id <> ${but}::uuid)
      and (runs.state <> all(${[...terminalStates]}::text[]) or ${messageWaits})
    order by runs.created_at desc
    limit 1
  `.execute(tx)
  return rows[0]?.id ?? null
}

/** What a run that has ended could go on from. */
export interface Rest {
  /** The run that its conversation began with. */
  conversationId: string
  /** What was said is kept, so that an agent knows it again without being told. */
  isSaved: boolean
}

export async function restOf(tx: Tx, runId: string): Promise<Rest> {
  const row = await tx
    .selectFrom('runs')
    .select(['id', 'conversation_id', 'agent', 'workspace_kept', 'checkpoints'])
    .where('id', '=', runId)
    .executeTakeFirstOrThrow()
  return {
    conversationId: row.conversation_id ?? row.id,
    // Commands have no sessions.
    isSaved: row.agent !== 'command' && (row.workspace_kept || row.checkpoints > 0),
  }
}
