// A cancel that is for a run and for all that it began: its children, theirs, and so on.
import { sql } from 'kysely'
import type { Principal } from '../../domain/permission.ts'
import { terminalStates } from '../../domain/state.ts'
import type { Queryable, Tx } from '../database.ts'
import { insertMail, messageWaits, pendingCancel } from './mail.ts'

/** Which of the descendants are cancelled as well: whoever cancels may not reach them all. */
export type Reach = 'all' | 'itself' | { own: Principal; ofTeam: boolean }

/**
 * Cancels the run and its descendants of the same team, as far as they are not
 * over; the run itself may be. Returns those that are being cancelled, with the
 * ones for which a cancel is on its way already.
 *
 * Cancels of one tree go one after the other. A child that somebody begins
 * meanwhile is found, or refused: whoever begins one locks its parent, see
 * {@link isCancelledWithChildren}.
 */
export async function cancelTree(
  tx: Tx,
  runId: string,
  reason: string,
  trace: string | null,
  reach: Reach = 'all',
): Promise<string[]> {
  await sql`
    select pg_advisory_xact_lock(hashtextextended('cancel ' || root_run_id::text, 0)) from runs where id = ${runId}
  `.execute(tx)
  const told = new Map<string, boolean>()
  for (let found = await lockTree(tx, runId, [], reach); found.length > 0; ) {
    for (const { id, isGoing } of found) {
      told.set(id, isGoing)
      if (!isGoing) continue
      await cancelRun(
        tx,
        id,
        id === runId ? reason : `Cancelled together with the run ${runId}, which began it.`,
        trace,
      )
    }
    // Those that were being begun while the locks were waited for.
    found = await lockTree(tx, runId, [...told.keys()], reach)
  }
  return [...told].flatMap(([id, isTold]) => (isTold ? [id] : []))
}

/** The caller holds the run's lock. A cancel that is on its way already becomes one with children. */
async function cancelRun(tx: Tx, runId: string, reason: string, trace: string | null): Promise<void> {
  const pending = await pendingCancel(tx, runId)
  if (pending === null) await insertMail(tx, runId, 'cancel', { reason, cascade: true }, trace)
  else await sql`update mail set body = body || '{"cascade": true}' where id = ${pending}`.execute(tx)
}

const isWithin = (reach: Reach) => {
  if (typeof reach === 'string') return reach === 'all' ? sql`true` : sql`false`
  const { own, ofTeam } = reach
  const isOwn = sql`(created_by = ${own.uid} and created_by_type = ${own.type})`
  return ofTeam ? sql`(scope = 'Team' or ${isOwn})` : isOwn
}

/** The runs of the tree that are not known yet, locked, each with whether it is going on. */
async function lockTree(
  tx: Tx,
  runId: string,
  known: readonly string[],
  reach: Reach,
): Promise<{ id: string; isGoing: boolean }[]> {
  const { rows } = await sql<{ id: string }>`
    with recursive tree as (
      select id, team from runs where id = ${runId}
      union
      select runs.id, runs.team from runs join tree on runs.parent_run_id = tree.id and runs.team = tree.team
    ), locked as (
      select id from runs
      where id in (select id from tree) and id <> all(${known}::uuid[]) and (id = ${runId} or ${isWithin(reach)})
      order by id
      for no key update
    )
    select id from locked
  `.execute(tx)
  if (rows.length === 0) return []
  // Looked at once more now that they are locked: what a statement sees is older than its locks.
  const { rows: states } = await sql<{ id: string; isGoing: boolean }>`
    select id, state not in (${sql.join(terminalStates)}) or ${messageWaits} as "isGoing"
    from runs where id = any(${rows.map(({ id }) => id)}::uuid[])
  `.execute(tx)
  return states
}

/**
 * The run was cancelled together with its children, and nobody has gone on with
 * it since: it is to have no further ones.
 */
export async function isCancelledWithChildren(db: Queryable, runId: string): Promise<boolean> {
  const { rows } = await sql<{ is_cancelled: boolean }>`
    select coalesce(
      (
        select mail.body ? 'cascade' and (mail.accepted_at is null or runs.state = 'CANCELLED')
        from mail where mail.run_id = runs.id and mail.kind = 'cancel'
        order by mail.position desc limit 1
      ),
      false
    ) as is_cancelled
    from runs where id = ${runId}
  `.execute(db)
  return rows[0]?.is_cancelled === true
}
