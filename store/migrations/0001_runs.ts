// Runs and everything that hangs on them. The first one: no older workers to be safe for.
import { type Kysely, sql } from 'kysely'

/** Times are kept to the millisecond, as JavaScript reads them, so that a cursor made from one finds its row again. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table runs (
      id uuid primary key,
      state text not null,
      title text not null,
      prompt text not null,
      source text not null,
      name text,
      agent text not null,
      model text,
      reasoning_level text,
      command jsonb,
      policy text,
      base_prompt text,
      pool text not null,
      idle_minutes integer,
      config jsonb not null,
      environment jsonb,
      metadata jsonb not null,
      demo boolean not null,
      parent_run_id uuid references runs (id),
      root_run_id uuid not null references runs (id),
      -- The newest execution; 0 before the first has begun. It is the fence that older writers run into.
      execution integer not null default 0,
      -- The newest event's sequence. Whoever appends holds this row's lock, which is why there are no holes.
      last_event_sequence integer not null default 0,
      host_id text,
      sandbox_running boolean not null default false,
      workspace_kept boolean not null default false,
      workspace_until timestamptz(3),
      failure jsonb,
      message text,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now(),
      started_at timestamptz(3),
      finished_at timestamptz(3)
    ) with (fillfactor = 80);
    create index runs_updated on runs (updated_at, id);
    create index runs_created on runs (created_at, id);
    create index runs_parent on runs (parent_run_id) where parent_run_id is not null;
    create index runs_root on runs (root_run_id) where root_run_id <> id;
    create index runs_metadata on runs using gin (metadata jsonb_path_ops);
    create index runs_active on runs (pool) where state in ('QUEUED', 'PENDING', 'CLAIMED', 'INPROGRESS', 'BLOCKED');

    create table executions (
      run_id uuid not null references runs (id),
      execution integer not null,
      key text not null,
      plan jsonb not null,
      host_id text,
      created_at timestamptz(3) not null default now(),
      started_at timestamptz(3),
      finished_at timestamptz(3),
      primary key (run_id, execution),
      unique (run_id, key)
    );

    create table state_changes (
      run_id uuid not null references runs (id),
      key text not null,
      number integer not null,
      execution integer not null,
      state text not null,
      time timestamptz(3) not null default now(),
      primary key (run_id, key)
    );

    create table events (
      run_id uuid not null references runs (id),
      sequence integer not null,
      execution integer not null,
      journal text not null,
      line bigint not null,
      part integer not null,
      time timestamptz(3) not null,
      kind text not null,
      data jsonb not null,
      primary key (run_id, sequence),
      unique (run_id, journal, line, part)
    );

    create table journals (
      run_id uuid not null references runs (id),
      journal text not null,
      read_to bigint not null,
      primary key (run_id, journal)
    );

    create table timeline (
      id uuid primary key default gen_random_uuid(),
      position bigint generated always as identity,
      run_id uuid not null references runs (id),
      key text not null,
      execution integer not null,
      event_type text not null,
      time timestamptz(3) not null default now(),
      payload jsonb not null,
      unique (run_id, key)
    );
    create unique index timeline_one_end on timeline (run_id, execution)
      where event_type in ('oz_run_done', 'oz_run_failed', 'oz_run_errored', 'oz_run_cancelled');

    create table mail (
      id uuid primary key,
      -- The order of arrival: a run's mail is handed over in it.
      position bigint generated always as identity,
      run_id uuid not null references runs (id),
      kind text not null,
      body jsonb not null,
      created_at timestamptz(3) not null default now(),
      dispatched_at timestamptz(3),
      accepted_at timestamptz(3),
      accepted_by text
    );
    create index mail_undelivered on mail (run_id, position) where dispatched_at is null;
    create index mail_unread on mail (run_id, position) where accepted_at is null;

    create table questions (
      run_id uuid not null references runs (id),
      question_id text not null,
      execution integer not null,
      title text not null,
      options jsonb not null,
      asked_at timestamptz(3) not null default now(),
      answer_id uuid references mail (id),
      option_id text,
      closed_at timestamptz(3),
      primary key (run_id, question_id)
    );

    create table run_credentials (
      run_id uuid not null references runs (id),
      execution integer not null,
      token_hash text not null unique,
      created_at timestamptz(3) not null default now(),
      primary key (run_id, execution)
    );

    create table results (
      run_id uuid not null references runs (id),
      execution integer not null,
      position integer not null,
      path text not null,
      summary jsonb not null,
      patch bytea,
      bundle bytea,
      created_at timestamptz(3) not null default now(),
      primary key (run_id, execution, position)
    );

    create table idempotency (
      scope text not null,
      key text not null,
      body_hash text not null,
      status integer not null,
      response jsonb not null,
      created_at timestamptz(3) not null default now(),
      answered_at timestamptz(3),
      primary key (scope, key)
    );
    create index idempotency_resent on idempotency (scope, body_hash, created_at) where answered_at is null;
    create index idempotency_age on idempotency (created_at);

    create table hosts (
      id text primary key,
      pool text not null,
      kind text not null,
      version text not null,
      capacity integer not null,
      created_at timestamptz(3) not null default now(),
      reported_at timestamptz(3) not null default now()
    );
  `.execute(db)
}
