// The slots of schedules: each time, and what became of it.
import { randomUUID } from 'node:crypto'
import { type InsertObject, sql } from 'kysely'
import type { OverlapPolicy, ScheduleSlot, SlotKind, SlotOutcome } from '../../domain/schedule.ts'
import { isTerminal } from '../../domain/state.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { cancelUnlessOver, MAIL_CHANNEL, messageWaits } from '../runs/mail.ts'
import type { Schema } from '../schema.ts'
import { callScheduler } from './scheduler-channel.ts'
import { lockSchedule } from './schedules.ts'

interface SlotState {
  run_id: string | null
  outcome: SlotOutcome
  isOver: boolean
  isTold: boolean
}

/** Undefined where nothing is known of the slot. The caller holds the schedule's lock. */
export async function findSlot(tx: Tx, scheduleId: string, slot: Date): Promise<SlotState | undefined> {
  return tx
    .selectFrom('schedule_slots')
    .select(['run_id', 'outcome'])
    .select([sql<boolean>`over_at is not null`.as('isOver'), sql<boolean>`told_at is not null`.as('isTold')])
    .where('schedule_id', '=', scheduleId)
    .where('slot', '=', slot)
    .executeTakeFirst()
}

/**
 * Notes that the slot is due: the server makes its run, and calls its workflow
 * when it is over. One that has a run never gets another. False where nothing is
 * to come: its run is over, or it is to have none. Idempotent.
 */
export async function beginSlot(db: Db, scheduleId: string, slot: Date): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    const schedule = await lockSchedule(tx, scheduleId)
    if (schedule === null) return false
    const known = await findSlot(tx, scheduleId, slot)
    if (known && (known.run_id !== null || !known.isTold)) {
      if (known.run_id !== null) await markKnown(tx, { scheduleId, slot })
      return !known.isTold
    }
    const isBackfill = await isBackfilled(tx, scheduleId, slot)
    const given = { scheduleId, slot, kind: isBackfill ? 'backfill' : 'scheduled' } as const
    if (!schedule.enabled && !isBackfill) {
      await writeNothing(tx, { ...given, outcome: 'skipped', reason: 'The schedule was paused.' })
      return false
    }
    await writeSlot(tx, { ...given, outcome: 'due', isKnown: true })
    await callScheduler(tx, scheduleId)
    return true
  })
}

/** Cancels the slot's run, as far as it goes on; one that has none gets none. False where nothing is to come. */
export async function cancelSlot(db: Db, scheduleId: string, slot: Date): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    const schedule = await lockSchedule(tx, scheduleId)
    const known = await findSlot(tx, scheduleId, slot)
    if (known?.run_id != null) {
      if (await cancelUnlessOver(tx, known.run_id, 'Cancelled for the next run of its schedule.'))
        await sql`select pg_notify(${MAIL_CHANNEL}, ${known.run_id})`.execute(tx)
      return !known.isTold
    }
    if (schedule === null) return false
    const given = { scheduleId, slot, kind: 'scheduled', outcome: 'skipped' } as const
    await writeNothing(tx, { ...given, reason: 'It was given up for the next one before it had begun.' })
    return false
  })
}

interface Slot {
  scheduleId: string
  slot: Date
  kind: SlotKind
}

/** A slot that goes on. One that has a run keeps it. `isKnown`: Temporal has a workflow of it. */
export async function writeSlot(
  tx: Tx,
  {
    scheduleId,
    slot,
    kind,
    ...state
  }: Slot & ({ outcome: 'due'; isKnown: true } | { outcome: 'started'; runId: string }),
): Promise<void> {
  const said = {
    kind,
    outcome: state.outcome,
    reason: null,
    run_id: 'runId' in state ? state.runId : null,
    created_at: sql<Date>`now()`,
    known_at: 'isKnown' in state ? sql<Date>`now()` : null,
    over_at: null,
    told_at: null,
  }
  await upsert(tx, { schedule_id: scheduleId, slot, ...said })
}

/** A slot that started nothing, and why. One that has a run keeps it. */
export async function writeNothing(
  tx: Queryable,
  { scheduleId, slot, kind, outcome, reason }: Slot & { outcome: 'skipped' | 'missed'; reason: string },
): Promise<void> {
  const over = { run_id: null, created_at: sql<Date>`now()`, over_at: sql<Date>`now()`, told_at: sql<Date>`now()` }
  await upsert(tx, { schedule_id: scheduleId, slot, kind, outcome, reason, ...over, known_at: null })
}

/** The same, found out afterwards: whatever has been written of the slot meanwhile stays. */
export async function writeAbsence(
  db: Queryable,
  { scheduleId, slot, outcome, reason }: Omit<Slot, 'kind'> & { outcome: 'skipped' | 'missed'; reason: string },
): Promise<void> {
  await db
    .insertInto('schedule_slots')
    .values({
      ...{ schedule_id: scheduleId, slot, kind: 'scheduled', outcome, reason },
      ...{ over_at: sql<Date>`now()`, told_at: sql<Date>`now()` },
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

async function upsert(tx: Queryable, row: InsertObject<Schema, 'schedule_slots'>): Promise<void> {
  const { schedule_id: _, slot: __, ...said } = row
  await tx
    .insertInto('schedule_slots')
    .values(row)
    .onConflict((conflict) =>
      conflict.columns(['schedule_id', 'slot']).doUpdateSet(said).where('schedule_slots.run_id', 'is', null),
    )
    .execute()
}

/** Whether somebody has asked for the runs of a time in which this slot is, after it had passed. */
export async function isBackfilled(tx: Queryable, scheduleId: string, slot: Date): Promise<boolean> {
  const row = await tx
    .selectFrom('schedule_backfills')
    .select('id')
    .where('schedule_id', '=', scheduleId)
    .where('from_time', '<=', slot)
    .where('to_time', '>=', slot)
    .executeTakeFirst()
  return row !== undefined
}

/** A time of its own for a run that somebody asks for now: to the second, and none that a cron expression names. The caller holds the schedule's lock. */
export async function manualSlot(tx: Tx, scheduleId: string): Promise<Date> {
  const { rows } = await sql<{ slot: Date }>`
    select time as slot
    from generate_series(date_trunc('second', now()), now() + interval '1 day', interval '1 second') as time
    where extract(second from time) <> 0
      and not exists (select from schedule_slots where schedule_id = ${scheduleId} and slot = time)
    limit 1
  `.execute(tx)
  const [first] = rows
  if (first === undefined) throw new TypeError('a day has a second that is free')
  return first.slot
}

export async function insertBackfill(
  tx: Tx,
  backfill: { scheduleId: string; from: Date; to: Date; overlap: OverlapPolicy },
): Promise<void> {
  await tx
    .insertInto('schedule_backfills')
    .values({
      id: randomUUID(),
      schedule_id: backfill.scheduleId,
      from_time: backfill.from,
      to_time: backfill.to,
      overlap_policy: backfill.overlap,
    })
    .execute()
}

/** Of these times, those that have a run. */
export async function startedSlots(db: Queryable, scheduleId: string, times: readonly Date[]): Promise<Set<number>> {
  if (times.length === 0) return new Set()
  const rows = await db
    .selectFrom('schedule_slots')
    .select('slot')
    .where('schedule_id', '=', scheduleId)
    .where('slot', 'in', times)
    .where('run_id', 'is not', null)
    .execute()
  return new Set(rows.map(({ slot }) => slot.getTime()))
}

/** The latest first. `before`: only earlier ones. */
export async function listSlots(
  db: Queryable,
  scheduleId: string,
  { before, limit }: { before: Date | null; limit: number },
): Promise<ScheduleSlot[]> {
  const rows = await db
    .selectFrom('schedule_slots')
    .leftJoin('runs', 'runs.id', 'schedule_slots.run_id')
    .select([
      'schedule_slots.slot',
      'schedule_slots.kind',
      'schedule_slots.outcome',
      'schedule_slots.reason',
      'runs.id',
      'runs.title',
      'runs.state',
      'runs.created_at',
      'runs.finished_at',
    ])
    .select(messageWaits.as('waits'))
    .where('schedule_slots.schedule_id', '=', scheduleId)
    .$if(before !== null, (query) => query.where('schedule_slots.slot', '<', before ?? new Date()))
    .orderBy('schedule_slots.slot', 'desc')
    .limit(limit)
    .execute()
  return rows.map(({ slot, kind, outcome, reason, id, title, state, created_at, finished_at, waits }) => {
    const run =
      id === null || title === null || state === null || created_at === null ? null : { id, title, created_at }
    const goesOn = state !== null && isTerminal(state) && waits
    return {
      scheduled_time: slot.toISOString(),
      kind,
      outcome,
      reason,
      run: run && {
        run_id: run.id,
        title: run.title,
        state: goesOn ? 'QUEUED' : (state ?? 'QUEUED'),
        created_at: run.created_at.toISOString(),
        finished_at: goesOn ? null : (finished_at?.toISOString() ?? null),
      },
    }
  })
}

export interface OpenSlot {
  scheduleId: string
  slot: Date
}

export async function markKnown(db: Queryable, { scheduleId, slot }: OpenSlot): Promise<void> {
  await db
    .updateTable('schedule_slots')
    .set({ known_at: sql`now()` })
    .where('schedule_id', '=', scheduleId)
    .where('slot', '=', slot)
    .execute()
}

/** How long it is kept that a slot has started nothing. What has become of a run is kept with it. */
const KEPT_DAYS = 90

export async function dropOldSlots(db: Queryable): Promise<void> {
  await db
    .deleteFrom('schedule_slots')
    .where('run_id', 'is', null)
    .where('told_at', '<', sql<Date>`now() - make_interval(days => ${KEPT_DAYS})`)
    .execute()
}

/** Of a time: those that something is known of. */
export async function knownSlots(db: Queryable, scheduleId: string, from: Date, to: Date): Promise<Set<number>> {
  const rows = await db
    .selectFrom('schedule_slots')
    .select('slot')
    .where('schedule_id', '=', scheduleId)
    .where('slot', '>', from)
    .where('slot', '<=', to)
    .execute()
  return new Set(rows.map(({ slot }) => slot.getTime()))
}
