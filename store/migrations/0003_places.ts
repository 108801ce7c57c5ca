// The queue: who works, who waits. Safe while older workers run: what they begin is counted once a host has it.
// Servers are brought up to date before workers: an older one does not know the mail by which a run is let in.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table teams (
      name text primary key,
      -- Runs that are at work at once.
      run_limit integer not null
    );
    insert into teams values ('default', 1000);

    alter table runs
      add column team text not null default 'default' references teams (name),
      add column priority integer not null default 0,
      -- At most so many runs of the team's group are at work when this one begins.
      add column concurrency_group text,
      add column concurrency_limit integer;

    -- Every run that waits in line, is at work, or keeps a sandbox; no others. What is counted is in this small table alone.
    create table places (
      run_id uuid primary key references runs (id),
      execution integer not null,
      -- waiting: in line. working: admitted, and its execution has not ended. idle: ended, the sandbox is kept.
      stage text not null,
      since timestamptz(3) not null default now(),
      -- Counts against the capacity of its host, or of its pool before a host has claimed it.
      takes_capacity boolean not null,
      -- Where its sandbox or its workspace is. A run that waits goes to no other host.
      host_id text,
      pool text not null,
      team text not null,
      priority integer not null,
      concurrency_group text,
      concurrency_limit integer,
      -- The position of the message that the execution is begun for: the order in which requests were written down.
      arrival bigint not null,
      -- Its workflow has been told that others need the sandbox.
      release_asked_at timestamptz(3)
    ) with (fillfactor = 50);
    create index places_waiting on places (pool) where stage = 'waiting';
    create index places_working on places (team, concurrency_group) where stage = 'working';
    create index places_capacity on places (pool, host_id) where takes_capacity;

    insert into places (run_id, execution, stage, takes_capacity, host_id, pool, team, priority, arrival)
    select runs.id, runs.execution,
      case when runs.state in ('SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED') then 'idle' else 'working' end,
      true,
      coalesce(executions.host_id, executions.plan ->> 'heldBy', case when runs.sandbox_running then runs.host_id end),
      runs.pool, runs.team, runs.priority, 0
    from runs
    join executions on executions.run_id = runs.id and executions.execution = runs.execution
    where runs.sandbox_running or runs.state not in ('SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED');
  `.execute(db)
}
