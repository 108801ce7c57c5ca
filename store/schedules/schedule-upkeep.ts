// What the server has still to do for schedules: tell Temporal of changes, and write down what became of each time.
import { sql } from 'kysely'
import type { OverlapPolicy } from '../../domain/schedule.ts'
import type { Queryable, Tx } from '../database.ts'
import type { ScheduleRow } from './schedules.ts'

/** Most of one sweep; the next one takes the rest. */
const AT_ONCE = 100

/** Schedules of which Temporal does not know the newest state, the longest waiting first. */
export async function undeliveredSchedules(db: Queryable): Promise<string[]> {
  const rows = await db
    .selectFrom('schedules')
    .select('id')
    .whereRef('handed_revision', '<', 'revision')
    .orderBy('updated_at')
    .limit(AT_ONCE)
    .execute()
  return rows.map(({ id }) => id)
}

/**
 * The schedule, for the one process that is about to tell Temporal of it. Null
 * where another one is at it, or has done it. Deleted ones are among them.
 */
export async function holdUndelivered(tx: Tx, id: string): Promise<ScheduleRow | null> {
  const { rows } = await sql<{ held: boolean }>`
    select pg_try_advisory_xact_lock(hashtextextended(${`schedule ${id}`}, 0)) as held
  `.execute(tx)
  if (rows[0]?.held !== true) return null
  const row = await tx
    .selectFrom('schedules')
    .selectAll()
    .where('id', '=', id)
    .whereRef('handed_revision', '<', 'revision')
    .executeTakeFirst()
  return row ?? null
}

/** Temporal knows this revision. `upcoming`: the next times, as it tells them. */
export async function markDelivered(
  db: Queryable,
  { id, revision }: Pick<ScheduleRow, 'id' | 'revision'>,
  upcoming: readonly Date[],
): Promise<void> {
  await db
    .updateTable('schedules')
    .set({
      handed_revision: revision,
      handed_at: sql`now()`,
      upcoming: timesOf(upcoming),
      // What had come before the change has been seen to.
      accounted_to: sql`greatest(accounted_to, updated_at)`,
    })
    .where('id', '=', id)
    .execute()
}

const timesOf = (times: readonly Date[]) => sql<Date[]>`${times.map((time) => time.toISOString())}::timestamptz[]`

/** Temporal cannot take the schedule as it is: it is paused, and says why. */
export async function refuseSchedule(db: Queryable, { id, revision }: ScheduleRow, reason: string): Promise<void> {
  await db
    .updateTable('schedules')
    .set({
      enabled: false,
      paused_reason: `Temporal does not take the schedule: ${reason}`,
      handed_revision: revision,
      upcoming: timesOf([]),
    })
    .where('id', '=', id)
    .where('revision', '=', revision)
    .execute()
}

/** Temporal has lost it: it is to be told anew, also of the slots that go on. */
export async function markLost(db: Queryable, id: string): Promise<void> {
  await db.updateTable('schedules').set({ handed_revision: 0 }).where('id', '=', id).execute()
  await db
    .updateTable('schedule_slots')
    .set({ known_at: null })
    .where('schedule_id', '=', id)
    .where('told_at', 'is', null)
    .execute()
}

/** Those that Temporal should know for a while already. */
export async function deliveredSchedules(db: Queryable, forSeconds: number): Promise<string[]> {
  const rows = await db
    .selectFrom('schedules')
    .select('id')
    .where('deleted_at', 'is', null)
    .where('handed_revision', '>', 0)
    .where('handed_at', '<', sql<Date>`now() - make_interval(secs => ${forSeconds})`)
    .execute()
  return rows.map(({ id }) => id)
}

/** Schedules that have had a time so many seconds ago, or before, of which it is not known what became of it. */
export async function unaccountedSchedules(db: Queryable, agoSeconds: number): Promise<ScheduleRow[]> {
  return (
    db
      .selectFrom('schedules')
      .selectAll()
      .where('enabled', '=', true)
      .where('deleted_at', 'is', null)
      .whereRef('handed_revision', '=', 'revision')
      .where(sql<boolean>`upcoming[1] <= now() - make_interval(secs => ${agoSeconds})`)
      // Some stay open for long, while runs wait for one another: they are not to keep the others out.
      .orderBy(sql`random()`)
      .limit(AT_ONCE)
      .execute()
  )
}

/** What became of each time up to `to` is written down. Nothing, when the schedule has changed since. */
export async function markAccounted(
  db: Queryable,
  { id, revision }: Pick<ScheduleRow, 'id' | 'revision'>,
  to: Date,
  upcoming: readonly Date[],
): Promise<void> {
  await db
    .updateTable('schedules')
    .set({ accounted_to: to, upcoming: timesOf(upcoming) })
    .where('id', '=', id)
    .where('revision', '=', revision)
    .execute()
}

export interface UndeliveredBackfill {
  id: string
  scheduleId: string
  from: Date
  to: Date
  overlap: OverlapPolicy
}

export async function undeliveredBackfills(db: Queryable): Promise<UndeliveredBackfill[]> {
  return db
    .selectFrom('schedule_backfills')
    .innerJoin('schedules', 'schedules.id', 'schedule_backfills.schedule_id')
    .select([
      'schedule_backfills.id',
      'schedule_id as scheduleId',
      'from_time as from',
      'to_time as to',
      'schedule_backfills.overlap_policy as overlap',
    ])
    .where('schedule_backfills.handed_at', 'is', null)
    .where('schedules.deleted_at', 'is', null)
    .whereRef('schedules.handed_revision', '=', 'schedules.revision')
    .orderBy('schedule_backfills.created_at')
    .limit(AT_ONCE)
    .execute()
}

export async function markBackfillDelivered(db: Queryable, id: string): Promise<void> {
  await db.updateTable('schedule_backfills').set({ handed_at: sql`now()` }).where('id', '=', id).execute()
}
