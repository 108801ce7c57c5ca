// The transcript: one sequence per run, from 1, without holes.
import { sql } from 'kysely'
import type { EventKind, NewEvent, RunEvent } from '../../domain/event.ts'
import { type RunState, terminalStates } from '../../domain/state.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { storableJson } from '../json.ts'
import { FencedError, type LockedRun, RunNotFoundError } from '../locking.ts'
import { messageWaits } from './mail.ts'

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
 * how far the journal has been read, and how large the transcript is now. One
 * statement, see the migrations 0002 and 0007.
 * @throws {FencedError} when a newer execution has begun. {RunNotFoundError}
 */
export async function appendEvents(db: Db, batch: EventBatch): Promise<{ line: number; transcriptBytes: number }> {
  const { rows } = await sql<{ current_execution: number; line: number | null; transcript_size: number }>`
    select current_execution, line, transcript_size from append_events(
      ${batch.runId}, ${batch.execution}, ${batch.journal}, ${batch.readTo}, ${storableJson(batch.events)}::jsonb
    )
  `.execute(db)
  const [answer] = rows
  if (!answer) throw new RunNotFoundError(batch.runId)
  if (answer.line === null) throw new FencedError(batch.execution, answer.current_execution)
  return { line: answer.line, transcriptBytes: answer.transcript_size }
}

/** Gives each new event its sequence. The caller holds the run's lock, so nobody else counts at the same time. */
export async function insertEvents(
  tx: Tx,
  run: LockedRun,
  execution: number,
  journal: string,
  events: readonly NewEvent[],
): Promise<void> {
  const { rows } = await sql<{ last: number }>`
    select store_events(${run.id}, ${execution}, ${journal}, ${storableJson(events)}::jsonb) as last
  `.execute(tx)
  run.last_event_sequence = rows[0]?.last ?? run.last_event_sequence
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

/** The events after a sequence, in order; of some kinds only, where they are named. */
export async function readEvents(
  db: Queryable,
  runId: string,
  after: number,
  limit: number,
  kinds: readonly EventKind[] = [],
): Promise<RunEvent[]> {
  const rows = await db
    .selectFrom('events')
    .select(['sequence', 'time', 'kind', 'execution', 'data'])
    .where('run_id', '=', runId)
    .where('sequence', '>', after)
    .$if(kinds.length > 0, (all) => all.where('kind', 'in', kinds))
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

/** Events of one read: some are large. */
const PAGE = 100

/** All events of a run in their order, however many there are. */
export async function* readAllEvents(db: Queryable, runId: string): AsyncGenerator<RunEvent> {
  for (let after = 0; ; ) {
    const events = await readEvents(db, runId, after, PAGE)
    yield* events
    const last = events.at(-1)
    if (last === undefined || events.length < PAGE) return
    after = last.sequence
  }
}

/** Null when there is no such run. */
export async function transcriptEnd(db: Queryable, runId: string): Promise<TranscriptEnd | null> {
  const row = await db
    .selectFrom('runs')
    .select((eb) => [
      'state',
      'last_event_sequence as lastSequence',
      eb.and([eb('state', 'in', terminalStates), eb.not(messageWaits)]).as('isOver'),
    ])
    .where('id', '=', runId)
    .executeTakeFirst()
  return row ? { ...row, isOver: Boolean(row.isOver) } : null
}
