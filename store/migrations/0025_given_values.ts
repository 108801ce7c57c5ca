// What runs were given of secrets, for as long as they may say it; and by what the gateway shows that a tool's call came
// through it. Safe while older workers run: they write neither, and every credential has its pass from the database. Tools wait
// for a gateway of this version: an older one has nothing to show.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`set local statement_timeout = 0`.execute(db)
  // First of all, with what 0026 needs in the same transaction: to be given a stronger lock later could end in a deadlock
  // with who writes runs.
  await sql`lock table runs, tool_credentials in access exclusive mode`.execute(db)
  await sql`
    -- A secret may be changed or deleted while a run that has it goes on: its value stays known here, to be hidden.
    create table given_values (
      run_id uuid not null references runs (id) on delete cascade,
      secret text not null,
      version integer not null,
      -- As it lay in secrets.sealed.
      sealed bytea not null,
      primary key (run_id, secret, version)
    );

    alter table tool_credentials add column pass uuid not null default gen_random_uuid();
  `.execute(db)
}
