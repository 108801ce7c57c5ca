// Secrets, sealed by the vault, and which of them each run was given.
// Safe while older workers run: they know nothing of these tables. An older server cannot read newer checkpoints.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table secrets (
      uid text primary key,
      team text not null references teams (name),
      scope text not null check (scope in ('team', 'person', 'environment', 'agent')),
      -- The person, the environment or the service account; of a team's, empty.
      owner text not null,
      name text not null,
      kind text not null check (kind in ('env', 'file')),
      path text,
      description text not null,
      version integer not null default 1,
      sealed bytea not null,
      -- The value before the newest one: what runs still have of it is kept out of their transcripts.
      former_sealed bytea,
      created_by_type text not null,
      created_by text not null,
      updated_by_type text not null,
      updated_by text not null,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now(),
      last_used_at timestamptz,
      unique (team, scope, owner, name)
    );
    create index secrets_name on secrets (team, name, uid);

    -- What its pieces are sealed with, sealed by the vault. Null: they are not.
    alter table checkpoints add column sealed_key bytea;

    create table run_secrets (
      run_id uuid not null references runs (id) on delete cascade,
      execution integer not null,
      name text not null,
      version integer not null,
      -- The secret may be deleted since.
      secret text not null,
      scope text not null,
      kind text not null,
      given_at timestamptz not null default now(),
      primary key (run_id, execution, name, version)
    );
  `.execute(db)
}
