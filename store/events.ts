// The transcript: one sequence per run, from 1, without holes.
import { sql } from 'kysely'
import type { NewEvent, RunEvent } from '../domain/event.ts'
import { type RunState, terminalStates } from '../domain/state.ts'
import type { Db, Queryable, Tx } from './database.ts'
import { storableJson } from './json.ts'
import { EVENTS_CHANNEL } from './listener.ts'
import { type LockedRun, lockRun, refuseOlder } from './locking.ts'

export interface EventBatch {
  runId: string
  execution: number
  journal: string
  events: readonly NewEvent[]
  /** The journal was read up to here. */
  readTo: number
}

/**
 * Stores what is new of a batch; a batch sent again changes nothing. Returns
 * how far the journal has been read.
 * @throws {FencedError} when a newer execution has begun.
 */
export async function appendEvents(db: Db, batch: EventBatch): Promise<number> {
  return db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, batch.runId)
    refuseOlder(run, batch.execution)
    await insertEvents(tx, run, batch.execution, batch.journal, batch.events)
    const position = await tx
      .insertInto('journals')
      .values({ run_id: run.id, journal: batch.journal, read_to: batch.readTo })
      .onConflict((conflict) =>
        conflict
          .columns(['run_id', 'journal'])
          .doUpdateSet({ read_to: sql`greatest(journals.read_to, excluded.read_to)` }),
      )
      .returning('read_to')
      .executeTakeFirstOrThrow()
    return position.read_to
  })
}

/** Gives each new event its sequence. The caller holds the run's lock, so nobody else counts at the same time. */
export async function insertEvents(
  tx: Tx,
  run: LockedRun,
  execution: number,
  journal: string,
  events: readonly NewEvent[],
): Promise<void> {
  const fresh = await withoutStored(tx, run.id, journal, events)
  if (fresh.length === 0) return
  const rows = fresh.map((event, index) => ({ ...event, sequence: run.last_event_sequence + index + 1 }))
  const last = run.last_event_sequence + rows.length
  // One parameter for the whole batch: 500 events would be 3,500 otherwise.
  await sql`
    insert into events (run_id, sequence, execution, journal, line, part, time, kind, data)
    select ${run.id}, sequence, ${execution}, ${journal}, line, part, time, kind, data
    from jsonb_to_recordset(${storableJson(rows)}::jsonb)
      as event (sequence integer, line bigint, part integer, time timestamptz, kind text, data jsonb)
  `.execute(tx)
  await tx.updateTable('runs').set({ last_event_sequence: last }).where('id', '=', run.id).execute()
  await sql`select pg_notify(${EVENTS_CHANNEL}, ${run.id})`.execute(tx)
  run.last_event_sequence = last
}

/** Those of a batch that are not stored yet, each once. */
async function withoutStored(
  tx: Tx,
  runId: string,
  journal: string,
  events: readonly NewEvent[],
): Promise<readonly NewEvent[]> {
  if (events.length === 0) return events
  const lines = events.map((event) => event.line)
  const stored = await tx
    .selectFrom('events')
    .select(['line', 'part'])
    .where('run_id', '=', runId)
    .where('journal', '=', journal)
    .where('line', '>=', Math.min(...lines))
    .where('line', '<=', Math.max(...lines))
    .execute()
  const seen = new Set(stored.map(({ line, part }) => `${line}/${part}`))
  return events.filter(({ line, part }) => {
    const key = `${line}/${part}`
    return !seen.has(key) && seen.add(key)
  })
}

/** How far a journal has been read; 0 for one that nobody has read. */
export async function journalPosition(db: Queryable, runId: string, journal: string): Promise<number> {
  const row = await db
    .selectFrom('journals')
    .select('read_to')
    .where('run_id', '=', runId)
    .where('journal', '=', journal)
    .executeTakeFirst()
  return row?.read_to ?? 0
}

/** The events after a sequence, in order. */
export async function readEvents(db: Queryable, runId: string, after: number, limit: number): Promise<RunEvent[]> {
  const rows = await db
    .selectFrom('events')
    .select(['sequence', 'time', 'kind', 'execution', 'data'])
    .where('run_id', '=', runId)
    .where('sequence', '>', after)
    .orderBy('sequence')
    .limit(limit)
    .execute()
  return rows.map((row) => ({ ...row, time: row.time.toISOString() }))
}

/** What a reader of the transcript needs to know to tell whether more is to come. */
export interface TranscriptEnd {
  state: RunState
  lastSequence: number
  /** The run is in a terminal state, and no message waits that would begin another execution. */
  isOver: boolean
}

/** Null when there is no such run. */
export async function transcriptEnd(db: Queryable, runId: string): Promise<TranscriptEnd | null> {
  const row = await db
    .selectFrom('runs')
    .select((eb) => [
      'state',
      'last_event_sequence as lastSequence',
      eb
        .and([
          eb('state', 'in', terminalStates),
          eb.not(
            eb.exists(
              eb
                .selectFrom('mail')
                .select('mail.id')
                .whereRef('mail.run_id', '=', 'runs.id')
                .where('mail.kind', '=', 'prompt')
                .where('mail.accepted_at', 'is', null),
            ),
          ),
        ])
        .as('isOver'),
    ])
    .where('id', '=', runId)
    .executeTakeFirst()
  return row ? { ...row, isOver: Boolean(row.isOver) } : null
}
