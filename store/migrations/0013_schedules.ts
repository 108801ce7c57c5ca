// Schedules and their slots. Safe while older workers run: they know nothing of either.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table schedules (
      id text primary key,
      team text not null,
      -- The person whose it is; null: the team's.
      owner text,
      name text not null,
      cron_schedule text not null,
      time_zone text not null,
      enabled boolean not null,
      prompt text not null,
      mode text,
      agent_uid text,
      agent_config jsonb,
      metadata jsonb not null,
      overlap_policy text not null,
      catchup_seconds integer not null,
      jitter_seconds integer not null,
      -- Null: as the server has it.
      pause_after_failures integer,
      failures integer not null default 0,
      -- Why it was paused, where nobody has done so.
      paused_reason text,
      last_spawn_error text,
      last_ran timestamptz,
      created_by_type text not null,
      created_by text not null,
      updated_by_type text not null,
      updated_by text not null,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now(),
      deleted_at timestamptz,
      -- Counts the changes that Temporal has to know of, and how far it does.
      revision integer not null default 1,
      handed_revision integer not null default 0,
      handed_at timestamptz,
      -- The next times, as Temporal has told them.
      upcoming timestamptz[] not null default '{}',
      -- What became of each time up to this one is written down.
      accounted_to timestamptz not null default now()
    );
    create index schedules_team on schedules (team, name) where deleted_at is null;
    create index schedules_undelivered on schedules (updated_at) where handed_revision < revision;

    create table schedule_slots (
      schedule_id text not null references schedules (id),
      -- The time that the schedule names, or at which somebody asked for a run.
      slot timestamptz not null,
      kind text not null,
      outcome text not null,
      -- Why nothing was started.
      reason text,
      run_id uuid references runs (id) on delete set null,
      created_at timestamptz not null default now(),
      -- Temporal has a workflow of it, or had one.
      known_at timestamptz,
      -- Its run is over, or it is to have none; and its workflow, where it has one, knows.
      over_at timestamptz,
      told_at timestamptz,
      primary key (schedule_id, slot)
    );
    -- At most one slot for a run, and those that go on.
    create unique index schedule_slots_run on schedule_slots (run_id) where run_id is not null;
    create index schedule_slots_open on schedule_slots (schedule_id) where told_at is null;

    create table schedule_backfills (
      id uuid primary key,
      schedule_id text not null references schedules (id),
      from_time timestamptz not null,
      to_time timestamptz not null,
      overlap_policy text not null,
      created_at timestamptz not null default now(),
      handed_at timestamptz
    );
    create index schedule_backfills_schedule on schedule_backfills (schedule_id);
    create index schedule_backfills_undelivered on schedule_backfills (created_at) where handed_at is null;

    -- A RunSchedule: the schedule that made the run, as it was then.
    alter table runs add column schedule jsonb;
    create index runs_team_schedule on runs (team, (schedule ->> 'schedule_id'), updated_at, id) where schedule is not null;
  `.execute(db)
}
