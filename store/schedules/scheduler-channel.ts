// How the process that keeps schedules is called: what it is called for is in the tables.
import { sql } from 'kysely'
import type { Queryable } from '../database.ts'

/** `pg_notify` channel: a slot is due, or its run is over. The payload is the schedule's id. */
export const SLOTS_CHANNEL = 'ambient_slots'

export async function callScheduler(db: Queryable, scheduleId: string): Promise<void> {
  await sql`select pg_notify(${SLOTS_CHANNEL}, ${scheduleId})`.execute(db)
}
