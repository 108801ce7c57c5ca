// The newest checkpoint of each run: what another host needs to go on with it. Kept in pieces, so that nobody holds one whole in memory.
import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import type { ExecutionRef } from '../workflows/contract.ts'
import type { Db, Queryable } from './database.ts'
import { lockRun, RunNotFoundError, refuseOlder } from './locking.ts'

/** Large enough that a statement for each costs little, small enough that many at once fit into memory. */
const PIECE_BYTES = 1024 * 1024

/** No upload takes as long: what is older and not whole was left by a sender that died. */
const ABANDONED_HOURS = 6

export interface StoredCheckpoint {
  id: string
  bytes: number
}

/**
 * Stores a checkpoint in place of the run's former one, which counts until this
 * one is whole.
 * @throws {FencedError} when a newer execution has begun; {RunNotFoundError}
 */
export async function saveCheckpoint(
  db: Db,
  { runId, execution }: ExecutionRef,
  content: AsyncIterable<Buffer>,
): Promise<StoredCheckpoint> {
  const id = randomUUID()
  await db.transaction().execute(async (tx) => {
    refuseOlder(await lockRun(tx, runId), execution)
    await tx.insertInto('checkpoints').values({ id, run_id: runId, execution, completed_at: null }).execute()
  })
  try {
    const bytes = await storePieces(db, id, content)
    await db.transaction().execute(async (tx) => {
      refuseOlder(await lockRun(tx, runId), execution)
      await tx.updateTable('checkpoints').set({ completed_at: null }).where('run_id', '=', runId).execute()
      await tx.updateTable('checkpoints').set({ bytes, completed_at: sql`now()` }).where('id', '=', id).execute()
    })
    // After the lock is given back: removing many pieces takes a moment.
    await db.deleteFrom('checkpoints').where('run_id', '=', runId).where('completed_at', 'is', null).execute()
    return { id, bytes }
  } catch (error) {
    await db.deleteFrom('checkpoints').where('id', '=', id).where('completed_at', 'is', null).execute()
    throw error
  }
}

async function storePieces(db: Db, id: string, content: AsyncIterable<Buffer>): Promise<number> {
  let bytes = 0
  let number = 0
  let waiting: Buffer[] = []
  let size = 0
  const store = async () => {
    number += 1
    bytes += size
    await db
      .insertInto('checkpoint_pieces')
      .values({ checkpoint_id: id, number, bytes: Buffer.concat(waiting) })
      .execute()
    waiting = []
    size = 0
  }
  for await (const part of content) {
    waiting.push(part)
    size += part.length
    if (size >= PIECE_BYTES) await store()
  }
  if (size > 0) await store()
  return bytes
}

/**
 * The run's checkpoint; null when there is none.
 * @throws {FencedError} when a newer execution has begun; {RunNotFoundError}
 */
export async function findCheckpoint(
  db: Queryable,
  { runId, execution }: ExecutionRef,
): Promise<StoredCheckpoint | null> {
  const run = await db.selectFrom('runs').select('execution').where('id', '=', runId).executeTakeFirst()
  if (!run) throw new RunNotFoundError(runId)
  refuseOlder(run, execution)
  const found = await db
    .selectFrom('checkpoints')
    .select(['id', 'bytes'])
    .where('run_id', '=', runId)
    .where('completed_at', 'is not', null)
    .executeTakeFirst()
  return found ?? null
}

/** A checkpoint's content, a piece at a time. @throws when it was replaced or removed meanwhile. */
export async function* readCheckpoint(db: Queryable, { id, bytes }: StoredCheckpoint): AsyncGenerator<Buffer> {
  let left = bytes
  for (let number = 1; left > 0; number++) {
    const piece = await db
      .selectFrom('checkpoint_pieces')
      .select('bytes')
      .where('checkpoint_id', '=', id)
      .where('number', '=', number)
      .executeTakeFirst()
    if (!piece) throw new Error(`the checkpoint ${id} was replaced while it was read`)
    left -= piece.bytes.length
    yield piece.bytes
  }
}

/**
 * Removes the checkpoints that nobody will come back to: of runs that have been
 * over for as long as workspaces are kept, and those that never became whole.
 * Returns how many.
 */
export async function dropOldCheckpoints(db: Db, workspaceHours: number): Promise<number> {
  const { rows } = await sql`
    delete from checkpoints
    using runs
    where runs.id = checkpoints.run_id
      and case
        when checkpoints.completed_at is null
          then checkpoints.created_at < now() - make_interval(hours => ${ABANDONED_HOURS}::integer)
        else runs.state in ('SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED')
          and runs.finished_at < now() - make_interval(hours => ${workspaceHours}::integer)
          and coalesce(runs.workspace_until < now(), true)
          -- A sandbox is kept an hour at most; one that is noted longer has lost its workflow.
          and not (runs.sandbox_running and runs.finished_at > now() - interval '2 hours')
          and not exists (
            select from mail
            where mail.run_id = runs.id and mail.kind = 'prompt' and mail.accepted_at is null
          )
      end
    returning 1
  `.execute(db)
  return rows.length
}
