// The slots of schedules that go on: whose run is to be made, has ended, or has to be told of.
import { sql } from 'kysely'
import type { OverlapPolicy } from '../../domain/schedule.ts'
import { type RunState, terminalStates } from '../../domain/state.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { messageWaits } from '../runs/mail.ts'
import { findSlot, type OpenSlot } from './schedule-slots.ts'
import { countOutcome, lockSchedule } from './schedules.ts'

/** Most of one sweep; the next one takes the rest. */
const AT_ONCE = 100

/** Slots whose run is to be made, the earliest first. */
export async function dueSlots(db: Queryable): Promise<OpenSlot[]> {
  return db
    .selectFrom('schedule_slots')
    .select(['schedule_id as scheduleId', 'slot'])
    .where('told_at', 'is', null)
    .where('over_at', 'is', null)
    .where('outcome', '=', 'due')
    .orderBy('slot')
    .limit(AT_ONCE)
    .execute()
}

/**
 * What the server has made of a slot that is due: a run, or nothing, and why. The
 * caller holds the schedule's lock.
 */
export async function settleDue(
  tx: Tx,
  { scheduleId, slot }: OpenSlot,
  made: { runId: string } | { failure: string },
): Promise<void> {
  await tx
    .updateTable('schedule_slots')
    .set(
      'runId' in made
        ? { outcome: 'started', run_id: made.runId }
        : { outcome: 'failed', reason: made.failure, over_at: sql<Date>`now()` },
    )
    .where('schedule_id', '=', scheduleId)
    .where('slot', '=', slot)
    .execute()
}

/** Whether the slot still waits for its run. The caller holds the schedule's lock. */
export async function isDue(tx: Tx, { scheduleId, slot }: OpenSlot): Promise<boolean> {
  const known = await findSlot(tx, scheduleId, slot)
  return known !== undefined && known.outcome === 'due' && !known.isOver
}

/** States that count against a schedule. A run that somebody has cancelled says nothing about it. */
const failedStates: readonly RunState[] = ['FAILED', 'ERROR']

/** Notes the end of runs that have ended since, and counts their failures. `most`: failures in a row that pause a schedule which says nothing. */
export async function settleSlots(db: Db, most: number): Promise<void> {
  const ended = await db
    .selectFrom('schedule_slots')
    .innerJoin('runs', 'runs.id', 'schedule_slots.run_id')
    .select(['schedule_slots.schedule_id', 'schedule_slots.slot', 'runs.id', 'runs.state', 'runs.failure'])
    .where('schedule_slots.told_at', 'is', null)
    .where('schedule_slots.over_at', 'is', null)
    .where('runs.state', 'in', [...terminalStates])
    .where((eb) => eb.not(messageWaits))
    .orderBy('runs.finished_at')
    .limit(AT_ONCE)
    .execute()
  for (const { schedule_id: scheduleId, slot, id, state, failure } of ended) {
    await db.transaction().execute(async (tx) => {
      const schedule = await lockSchedule(tx, scheduleId)
      const { numUpdatedRows } = await tx
        .updateTable('schedule_slots')
        .set({ over_at: sql`now()` })
        .where('schedule_id', '=', scheduleId)
        .where('slot', '=', slot)
        .where('over_at', 'is', null)
        .executeTakeFirst()
      if (schedule === null || numUpdatedRows === 0n || state === 'CANCELLED') return
      const why = failedStates.includes(state)
        ? `the run ${id} ended as ${state}. ${failure?.message ?? ''}`.trim()
        : null
      await countOutcome(tx, schedule, why, most)
    })
  }
}

/** Slots that are over, and whose workflow does not know. */
export async function untoldSlots(db: Queryable): Promise<OpenSlot[]> {
  return db
    .selectFrom('schedule_slots')
    .select(['schedule_id as scheduleId', 'slot'])
    .where('told_at', 'is', null)
    .where('over_at', 'is not', null)
    .orderBy('over_at')
    .limit(AT_ONCE)
    .execute()
}

export async function markTold(db: Queryable, { scheduleId, slot }: OpenSlot): Promise<void> {
  await db
    .updateTable('schedule_slots')
    .set({ told_at: sql`now()`, known_at: sql`coalesce(known_at, now())` })
    .where('schedule_id', '=', scheduleId)
    .where('slot', '=', slot)
    .execute()
}

/** Slots with a run that goes on, of which Temporal has no workflow: asked for by somebody, or lost with Temporal's database. */
export async function unknownSlots(db: Queryable): Promise<(OpenSlot & { overlap: OverlapPolicy })[]> {
  return db
    .selectFrom('schedule_slots')
    .innerJoin('schedules', 'schedules.id', 'schedule_slots.schedule_id')
    .select(['schedule_id as scheduleId', 'slot', 'schedules.overlap_policy as overlap'])
    .where('run_id', 'is not', null)
    .where('told_at', 'is', null)
    .where('over_at', 'is', null)
    .where('known_at', 'is', null)
    .where('schedules.deleted_at', 'is', null)
    .whereRef('schedules.handed_revision', '=', 'schedules.revision')
    .orderBy('slot')
    .limit(AT_ONCE)
    .execute()
}

/** The latest of the schedule's slots whose run Temporal was at, at that time or now. */
export async function slotAtWork(
  db: Queryable,
  scheduleId: string,
  time: Date,
): Promise<{ runId: string; isStill: boolean } | undefined> {
  return (
    db
      .selectFrom('schedule_slots')
      .select(['run_id as runId', sql<boolean>`told_at is null`.as('isStill')])
      .$narrowType<{ runId: string }>()
      .where('schedule_id', '=', scheduleId)
      .where('run_id', 'is not', null)
      // Temporal was at it since its time, which a busy server may write down later.
      .where(
        sql<boolean>`(created_at <= ${time}::timestamptz + interval '1 second'
          or (kind = 'scheduled' and slot <= ${time} and created_at <= slot + interval '30 seconds'))`,
      )
      // Temporal has heard of its end a moment after it was told.
      .where(sql<boolean>`coalesce(told_at, 'infinity') + interval '5 seconds' >= ${time}::timestamptz`)
      .orderBy('slot', 'desc')
      .limit(1)
      .executeTakeFirst()
  )
}
