// Which hosts runs were refused, and what the sandboxes of a host may reach. Safe while older workers run: they know nothing of either.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table blocked_hosts (
      run_id uuid not null references runs (id) on delete cascade,
      -- The sandbox, by its number within the run: each counts for itself.
      sandbox integer not null,
      host text not null,
      port integer not null,
      count bigint not null,
      first_seen timestamptz not null,
      primary key (run_id, sandbox, host, port)
    );

    -- Null: the host does not say.
    alter table hosts add column egress text;
  `.execute(db)
}
