// Checkpoints of runs, on their way in and out: what another host, or another run, needs to go on. Kept in pieces, so that nobody holds one whole in memory.
import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import type { CheckpointSummary } from '../../domain/checkpoint.ts'
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { jsonb } from '../json.ts'
import { RunNotFoundError, refuseOlder, writeFenced } from '../locking.ts'
import { type HistoryLimits, trimHistory } from './checkpoint-history.ts'

/** Large enough that a statement for each costs little, small enough that many at once fit into memory. */
const PIECE_BYTES = 1024 * 1024

export interface StoredCheckpoint {
  id: string
  bytes: number
}

/** What seals the pieces of checkpoints: whole workspaces, with whatever agents have put into files. */
export interface ContentSeals {
  /** Null: they are kept as they are. */
  begin(id: string): { sealedKey: Buffer; seal(number: number, bytes: Buffer): Buffer } | null
  open(id: string, sealedKey: Buffer): (number: number, sealed: Buffer) => Buffer
}

export interface NewCheckpoint {
  content: AsyncIterable<Buffer>
  /** Null: of a host that is older than summaries. */
  summary: CheckpointSummary | null
  /** What an execution had that another one has taken over from: it joins the history, and is never the newest. */
  late: boolean
}

/**
 * Stores a checkpoint. It becomes the run's newest once it is whole; the former
 * one joins the history, of which the oldest are dropped beyond the limits.
 * @throws {FencedError} when a newer execution has begun, unless it is a late one; {RunNotFoundError}
 */
export async function saveCheckpoint(
  db: Db,
  { runId, execution }: ExecutionRef,
  { content, summary, late }: NewCheckpoint,
  limits: HistoryLimits,
  seals: ContentSeals,
): Promise<StoredCheckpoint> {
  const id = randomUUID()
  const sealing = seals.begin(id)
  const fence = { runId, execution: late ? NEWEST : execution }
  await writeFenced(
    db,
    fence,
    sql`
      begun as (
        insert into checkpoints (id, run_id, execution, late, completed_at, sealed_key)
        select ${id}::uuid, ${runId}::uuid, ${execution}::integer, ${late}::boolean, null,
          ${sealing?.sealedKey ?? null}::bytea
        from open
      )
    `,
  )
  let bytes: number
  try {
    bytes = await storePieces(db, id, content, sealing?.seal)
    await db.transaction().execute(async (tx) => {
      const number = await nextNumber(tx, fence, late)
      const whole = { bytes, summary: summary === null ? null : jsonb(summary), number }
      if (late) {
        const joins = { ...whole, replaced_at: sql<Date>`now()` }
        await tx.updateTable('checkpoints').set(joins).where('id', '=', id).execute()
        return
      }
      await tx
        .updateTable('checkpoints')
        .set({ completed_at: null, replaced_at: sql`now()` })
        .where('run_id', '=', runId)
        .where('completed_at', 'is not', null)
        .execute()
      await tx
        .updateTable('checkpoints')
        .set({ ...whole, completed_at: sql<Date>`now()` })
        .where('id', '=', id)
        .execute()
    })
  } catch (error) {
    await db.deleteFrom('checkpoints').where('id', '=', id).where('number', 'is', null).execute()
    throw error
  }
  // After the lock is given back: removing many pieces takes a moment.
  await trimHistory(db, runId, execution, limits)
  return { id, bytes }
}

/** What is late is never refused. */
const NEWEST = 2 ** 31 - 1

/**
 * Holds the run's lock from here on. A fork that has a checkpoint of its own
 * needs the one it began with no more; it never goes on from a late one.
 */
async function nextNumber(tx: Tx, { runId, execution }: ExecutionRef, late: boolean): Promise<number> {
  const run = await tx
    .updateTable('runs')
    .set({ checkpoints: sql`checkpoints + 1`, ...(late ? {} : { forked_checkpoint_id: null }) })
    .where('id', '=', runId)
    .returning(['checkpoints', 'execution'])
    .executeTakeFirst()
  if (!run) throw new RunNotFoundError(runId)
  refuseOlder(run, execution)
  return run.checkpoints
}

async function storePieces(
  db: Db,
  id: string,
  content: AsyncIterable<Buffer>,
  seal: (number: number, bytes: Buffer) => Buffer = (_, bytes) => bytes,
): Promise<number> {
  let bytes = 0
  let number = 0
  let waiting: Buffer[] = []
  let size = 0
  const store = async () => {
    number += 1
    bytes += size
    await db
      .insertInto('checkpoint_pieces')
      .values({ checkpoint_id: id, number, bytes: seal(number, Buffer.concat(waiting)) })
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
 * What the run goes on from: its newest checkpoint, or the one that it was
 * forked from while it has none of its own; null when there is neither.
 * @throws {FencedError} when a newer execution has begun; {RunNotFoundError}
 */
export async function findCheckpoint(
  db: Queryable,
  { runId, execution }: ExecutionRef,
): Promise<StoredCheckpoint | null> {
  const run = await db
    .selectFrom('runs')
    .select(['execution', 'forked_checkpoint_id'])
    .where('id', '=', runId)
    .executeTakeFirst()
  if (!run) throw new RunNotFoundError(runId)
  refuseOlder(run, execution)
  const own = await db
    .selectFrom('checkpoints')
    .select(['id', 'bytes'])
    .where('run_id', '=', runId)
    .where('completed_at', 'is not', null)
    .executeTakeFirst()
  if (own !== undefined || run.forked_checkpoint_id === null) return own ?? null
  const forked = await db
    .selectFrom('checkpoints')
    .select(['id', 'bytes'])
    .where('id', '=', run.forked_checkpoint_id)
    .executeTakeFirst()
  return forked ?? null
}

/** A checkpoint's content, a piece at a time. @throws when it was removed meanwhile. */
export async function* readCheckpoint(
  db: Queryable,
  { id, bytes }: StoredCheckpoint,
  seals: ContentSeals,
): AsyncGenerator<Buffer> {
  const row = await db.selectFrom('checkpoints').select('sealed_key').where('id', '=', id).executeTakeFirst()
  const open = row?.sealed_key ? seals.open(id, row.sealed_key) : (_: number, piece: Buffer) => piece
  let left = bytes
  for (let number = 1; left > 0; number++) {
    const piece = await db
      .selectFrom('checkpoint_pieces')
      .select('bytes')
      .where('checkpoint_id', '=', id)
      .where('number', '=', number)
      .executeTakeFirst()
    if (!piece) throw new Error(`the checkpoint ${id} was removed while it was read`)
    const content = open(number, piece.bytes)
    left -= content.length
    yield content
  }
}
