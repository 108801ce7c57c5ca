// The most that a run of a team may take. Safe while older workers run: they heed no limit of a team.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table teams add column limits jsonb not null default '{}'`.execute(db)
}
