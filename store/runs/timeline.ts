// The lifecycle events of a run.
import type { TimelineType } from '../../domain/state.ts'
import type { Queryable, Tx } from '../database.ts'
import { jsonb } from '../json.ts'

export interface TimelineEntry {
  runId: string
  key: string
  execution: number
  type: TimelineType
  payload?: Record<string, unknown>
}

/** Writes each entry once per key, in their order, and one ending per execution at most. */
export async function insertTimeline(tx: Tx, entries: readonly TimelineEntry[]): Promise<void> {
  await tx
    .insertInto('timeline')
    .values(
      entries.map(({ runId, key, execution, type, payload }) => ({
        run_id: runId,
        key,
        execution,
        event_type: type,
        payload: jsonb(payload ?? {}),
      })),
    )
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

export interface ServedTimelineEvent {
  event_uuid: string
  run_id: string
  execution_id: string
  execution: number
  event_type: TimelineType
  occurred_at: string
  payload: Record<string, unknown>
}

export async function readTimeline(db: Queryable, runId: string): Promise<ServedTimelineEvent[]> {
  const rows = await db.selectFrom('timeline').selectAll().where('run_id', '=', runId).orderBy('position').execute()
  return rows.map((row) => ({
    event_uuid: row.id,
    run_id: row.run_id,
    execution_id: `${row.run_id}-${row.execution}`,
    execution: row.execution,
    event_type: row.event_type,
    occurred_at: row.time.toISOString(),
    payload: row.payload,
  }))
}
