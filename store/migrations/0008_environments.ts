// Stored environments and their builds. Safe while older workers run: they know nothing of either.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table environments (
      id text primary key,
      team text not null references teams (name),
      name text not null,
      -- An EnvironmentConfig, with the values of its variables.
      config jsonb not null,
      -- The line is looked at for each run; the whole of a large config would be read for it.
      run_limit integer generated always as ((config ->> 'run_limit')::integer) stored,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now(),
      -- Runs that named it keep their own copy, so it can go.
      deleted_at timestamptz
    );
    create unique index environments_name on environments (team, name) where deleted_at is null;

    -- The environment that a run named; what it was then is in the run's own column.
    alter table runs add column environment_id text references environments (id);
    create index runs_environment on runs (environment_id, created_at) where environment_id is not null;
    alter table places add column environment_id text references environments (id);

    create table builds (
      id uuid primary key,
      environment_id text not null references environments (id),
      host_id text not null,
      reason text not null,
      force boolean not null,
      state text not null,
      -- An InlineEnvironment: what is built. Once it is over, without the values of its variables.
      config jsonb not null,
      result jsonb,
      failure jsonb,
      created_at timestamptz not null default now(),
      started_at timestamptz,
      finished_at timestamptz,
      -- When a run last started from it.
      used_at timestamptz,
      -- Its workflow was started.
      dispatched_at timestamptz,
      cancel_asked_at timestamptz,
      -- Its workflow was told of the cancel.
      cancel_dispatched_at timestamptz,
      log_bytes bigint not null default 0
    );
    create index builds_environment on builds (environment_id, created_at);
    -- One at a time of an environment on a host.
    create unique index builds_going_on on builds (environment_id, host_id) where finished_at is null;
    create index builds_undelivered on builds (created_at)
      where dispatched_at is null or (cancel_asked_at is not null and cancel_dispatched_at is null);

    create table build_log (
      build_id uuid not null references builds (id) on delete cascade,
      position bigint generated always as identity,
      source text not null,
      line integer not null,
      text text not null,
      time timestamptz not null default now(),
      primary key (build_id, source, line)
    );
    create index build_log_position on build_log (build_id, position);
  `.execute(db)
}
