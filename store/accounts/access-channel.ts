// Calls those whose answers go on for long: somebody may see less than before.
import { sql } from 'kysely'
import type { Queryable } from '../database.ts'

/** What {@link EventListener.subscribe} takes in the place of a run's id. */
export const ACCESS_TOPIC = 'access'

/** Once the transaction is through, every open stream asks again whether its reader may go on. */
export async function tellAccessChanged(db: Queryable): Promise<void> {
  await sql`select pg_notify('ambient_events', ${ACCESS_TOPIC})`.execute(db)
}
