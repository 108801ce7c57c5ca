// The place of a run that was let in: noted where it is, given back when its work or its sandbox is over.
import { type SqlBool, sql } from 'kysely'
import type { Db, Queryable, Tx } from '../database.ts'
import { lockLine } from '../locking.ts'
import { moveLine } from './admission.ts'

/**
 * A host has the run. One that was not let in, because a former version of the
 * workflow did not wait, is counted from here on.
 */
export async function noteHost(tx: Tx, runId: string, execution: number, hostId: string): Promise<void> {
  await sql`
    insert into places (
      run_id, execution, stage, takes_capacity, host_id,
      pool, team, priority, concurrency_group, concurrency_limit, environment_id, arrival
    )
    select id, ${execution}, 'working', true, ${hostId}, pool, team, priority, concurrency_group, concurrency_limit,
      environment_id, 0
    from runs
    where id = ${runId}
    on conflict (run_id) do update set
      execution = excluded.execution, stage = 'working', takes_capacity = true, host_id = excluded.host_id
    -- Said again, after the execution has ended, it undoes nothing.
    where places.stage <> 'idle' or places.execution < excluded.execution
  `.execute(tx)
}

/**
 * Gives back what a run has no more use for, and lets in who waits for it. With
 * the end of its work, its team and its group have room; its sandbox may be kept,
 * and counts on its host until it is gone. Without a sandbox nothing is at work,
 * whatever else is still to be written down. Best the last step of a
 * transaction: the line is locked until its end.
 */
export async function giveBack(tx: Tx, runId: string, what: { work: boolean; sandbox: boolean }): Promise<void> {
  if (!what.work && !what.sandbox) return
  await lockLine(tx)
  // Nothing is left of it. Before a host has it, there is no sandbox that anybody would give up later.
  const isOver = what.work
    ? sql<SqlBool>`(${what.sandbox} or host_id is null or not takes_capacity)`
    : sql<SqlBool>`stage <> 'waiting'`
  const gone = await tx.deleteFrom('places').where('run_id', '=', runId).where(isOver).executeTakeFirst()
  if (gone.numDeletedRows === 0n)
    await tx
      .updateTable('places')
      .set(what.work ? { stage: 'idle', since: sql`now()` } : { takes_capacity: false })
      .where('run_id', '=', runId)
      .execute()
  await moveLine(tx)
}

export interface HeldPlace {
  runId: string
  execution: number
  since: Date
}

/** Places that have been held for a while, by the runs' ids from `after` on. */
export async function heldPlaces(
  db: Queryable,
  { after, limit }: { after: string | null; limit: number },
): Promise<HeldPlace[]> {
  let select = db
    .selectFrom('places')
    .select(['run_id as runId', 'execution', 'since'])
    .where('stage', '<>', 'waiting')
    .where('since', '<', sql<Date>`now() - interval '1 minute'`)
  if (after !== null) select = select.where('run_id', '>', after)
  return select.orderBy('run_id').limit(limit).execute()
}

/** Frees the place of a run whose workflow is gone. False when it has changed since it was looked at. */
export async function dropPlace(db: Db, { runId, execution, since }: HeldPlace): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    await lockLine(tx)
    const dropped = await tx
      .deleteFrom('places')
      .where('run_id', '=', runId)
      .where('execution', '=', execution)
      .where('since', '=', since)
      .returning('run_id')
      .executeTakeFirst()
    if (!dropped) return false
    await moveLine(tx)
    return true
  })
}
