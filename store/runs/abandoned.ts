// Runs whose workflow is gone: an operator has terminated it, or Temporal's database was lost or restored.
import { sql } from 'kysely'
import { isTerminal, terminalStates } from '../../domain/state.ts'
import type { Db, Queryable } from '../database.ts'
import { lockRun } from '../locking.ts'
import { hasWaitingMessage, insertMail, pendingCancel } from './mail.ts'

/** What has changed lately is in the hands of a workflow that has just begun, or has just ended. */
const QUIET_SECONDS = 20

const isQuiet = sql<boolean>`runs.updated_at < now() - make_interval(secs => ${QUIET_SECONDS})`

/**
 * Runs that should have a workflow, because they are not over or a message
 * waits for them, and that have not changed for a while; by their ids, from
 * `after` on. Those with mail that was not handed over yet will have one.
 */
export async function quietRuns(
  db: Queryable,
  { after, limit }: { after: string | null; limit: number },
): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select runs.id
    from runs
    join (
      select id from runs where state <> all(${[...terminalStates]}::text[])
      union
      select run_id from mail where kind = 'prompt' and accepted_at is null
    ) as unfinished using (id)
    where ${isQuiet}
      and not exists (select from mail where mail.run_id = runs.id and mail.dispatched_at is null)
      and (${after}::uuid is null or runs.id > ${after}::uuid)
    order by runs.id
    limit ${limit}
  `.execute(db)
  return rows.map(({ id }) => id)
}

/**
 * Sees to a run whose workflow is gone, by having it begin another one: its
 * state is changed on a workflow's word alone. One that had not begun to work,
 * or is over and has a message, begins with it. One that was at work is
 * cancelled, and so is one that was `terminated`, for this reason. One to which
 * something has happened since is left to the next look.
 */
export async function seeToAbandoned(
  db: Db,
  runId: string,
  { terminated, reason }: { terminated: boolean; reason: string },
): Promise<'begins anew' | 'is cancelled' | 'is over' | 'moves'> {
  return db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, runId)
    const { quiet } = await tx
      .selectFrom('runs')
      .select(isQuiet.as('quiet'))
      .where('id', '=', runId)
      .executeTakeFirstOrThrow()
    if (!quiet) return 'moves'
    const isOver = isTerminal(run.state)
    if ((isOver || (run.state === 'QUEUED' && !terminated)) && (await hasWaitingMessage(tx, runId))) {
      await tx
        .updateTable('mail')
        .set({ dispatched_at: null })
        .where('run_id', '=', runId)
        .where('kind', '=', 'prompt')
        .where('accepted_at', 'is', null)
        .execute()
      return 'begins anew'
    }
    if (isOver) return 'is over'
    if ((await pendingCancel(tx, runId)) === null) await insertMail(tx, runId, 'cancel', { reason })
    return 'is cancelled'
  })
}
