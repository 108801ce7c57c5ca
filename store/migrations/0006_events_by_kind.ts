// Finding the few events of one kind among very many. Safe while older workers run; whatever is written waits until the index is made.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // As long as it takes. Whoever writes takes a run's lock first, so nobody who waits here holds what a later step needs.
  await sql`set local statement_timeout = 0`.execute(db)
  await sql`lock table runs in exclusive mode`.execute(db)
  // Without those that come by the thousand: their appends pay nothing, and a page of them is full soon.
  await sql`
    create index events_rare on events (run_id, kind, sequence)
      where kind not in ('message', 'thought', 'tool_call', 'tool_update', 'output')
  `.execute(db)
}
