// Finding the few events of one kind among very many. Safe while older workers run; appends wait until the index is made.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // Without those that come by the thousand: their appends pay nothing, and a page of them is full soon.
  await sql`
    create index events_rare on events (run_id, kind, sequence)
      where kind not in ('message', 'thought', 'tool_call', 'tool_update', 'output')
  `.execute(db)
}
