// The ledger, what is spent by whom, budgets and what they have stopped, and how long sandboxes were there.
// Safe while older workers run: sandboxes are noted by a trigger, whoever writes the timeline.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table ledger (
      -- Given under the team's lock: later commits of a team have higher ones.
      position bigint generated always as identity primary key,
      -- What it is for, said once: call/<id>, compute/<meter>/<second>, grant/<uid>.
      key text not null unique,
      team text not null,
      kind text not null check (kind in ('grant', 'purchase', 'inference', 'compute')),
      -- In millionths. Above zero: given; below: used.
      micro_credits bigint not null,
      micro_usd bigint not null,
      -- Whose run it was for; of a grant, who gave it.
      person_type text,
      person text,
      run_id uuid,
      execution integer,
      schedule_id text,
      detail jsonb not null,
      created_at timestamptz(3) not null default now()
    );
    create index ledger_team on ledger (team, position);
    create index ledger_run on ledger (run_id, position) where run_id is not null;
    create index ledger_person on ledger (team, person, position);
    create index ledger_schedule on ledger (schedule_id, position) where schedule_id is not null;

    create function refuse_ledger_change() returns trigger language plpgsql as $$
    begin
      raise exception 'the ledger is only added to';
    end
    $$;
    create trigger ledger_kept before update or delete on ledger
      for each row execute function refuse_ledger_change();
    create trigger ledger_not_emptied before truncate on ledger
      for each statement execute function refuse_ledger_change();

    -- Sums over the ledger, kept in the transaction of each entry.
    create table spending (
      team text not null,
      -- run, tree, schedule, person, team
      scope text not null,
      thing text not null,
      -- Its first day; 0001-01-01: all of them together.
      month date not null,
      inference_micro_usd bigint not null default 0,
      compute_micro_usd bigint not null default 0,
      inference_micro_credits bigint not null default 0,
      compute_micro_credits bigint not null default 0,
      granted_micro_credits bigint not null default 0,
      purchased_micro_credits bigint not null default 0,
      tokens bigint not null default 0,
      compute_seconds bigint not null default 0,
      unpriced_calls bigint not null default 0,
      primary key (scope, thing, month, team)
    ) with (fillfactor = 70);

    -- What a run has had of each model.
    create table run_usage (
      run_id uuid not null,
      model text not null,
      -- At an endpoint of the team itself.
      is_own_endpoint boolean not null,
      input_tokens bigint not null,
      cache_read_tokens bigint not null,
      cache_write_tokens bigint not null,
      output_tokens bigint not null,
      input_micro_usd bigint not null,
      cache_read_micro_usd bigint not null,
      cache_write_micro_usd bigint not null,
      output_micro_usd bigint not null,
      calls bigint not null,
      primary key (run_id, model, is_own_endpoint)
    ) with (fillfactor = 70);

    create table budgets (
      uid text primary key,
      team text not null,
      scope text not null check (scope in ('run', 'tree', 'schedule', 'person', 'team')),
      thing text not null,
      period text not null check (period in ('month', 'total')),
      limit_micro_usd bigint not null check (limit_micro_usd > 0),
      percents integer[] not null,
      created_by_type text not null,
      created_by text not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now(),
      unique (scope, thing, period, team)
    );
    create index budgets_team on budgets (team, created_at);

    -- That a share of a budget is reached: told once for each limit and period.
    create table budget_alerts (
      -- No foreign key: a charge is not to fail for a budget that is deleted at the same moment.
      budget_uid text not null,
      month date not null,
      limit_micro_usd bigint not null,
      percent integer not null,
      spent_micro_usd bigint not null,
      -- The one that reached it.
      run_id uuid,
      created_at timestamptz(3) not null default now(),
      told_at timestamptz(3),
      primary key (budget_uid, month, limit_micro_usd, percent)
    );
    create index budget_alerts_untold on budget_alerts (created_at) where told_at is null;

    -- A run whose calls are not passed on, from the first of them until it may go on.
    create table budget_stops (
      uid text primary key,
      run_id uuid not null references runs (id) on delete cascade,
      execution integer not null,
      -- The message that it worked on.
      mail_id uuid not null,
      -- budget, credits
      reason text not null,
      budget_uid text,
      title text not null,
      created_at timestamptz(3) not null default now(),
      -- Since when the transcript tells of it.
      told_at timestamptz(3),
      closed_at timestamptz(3)
    );
    create unique index budget_stops_open on budget_stops (run_id, mail_id) where closed_at is null;

    -- From the moment a sandbox is ready until it is gone.
    create table sandbox_meters (
      id uuid primary key default gen_random_uuid(),
      run_id uuid not null,
      execution integer not null,
      host_id text,
      cpus double precision,
      memory_mb integer,
      began_at timestamptz(3) not null,
      ended_at timestamptz(3),
      charged_seconds bigint not null default 0,
      -- What was left of a division by 3600, for the next slice.
      remainder bigint not null default 0,
      charged_at timestamptz(3) not null default now(),
      is_settled boolean not null default false
    );
    create index sandbox_meters_open on sandbox_meters (charged_at) where not is_settled;
    create index sandbox_meters_running on sandbox_meters (run_id) where ended_at is null;

    -- How large the sandboxes of a host are; null: it does not say.
    alter table hosts add column cpus double precision, add column memory_mb integer;

    alter table run_statistics
      add column total_tokens bigint not null default 0,
      add column cost_micro_usd bigint not null default 0;

    create function note_sandbox() returns trigger language plpgsql as $$
    begin
      if new.event_type = 'worker_container_ready' then
        insert into sandbox_meters (run_id, execution, host_id, cpus, memory_mb, began_at)
        select runs.id, new.execution, runs.host_id, hosts.cpus, hosts.memory_mb, new.time
        from runs left join hosts on hosts.id = runs.host_id
        where runs.id = new.run_id;
      else
        -- A host that is lost had it no longer than it was heard of.
        update sandbox_meters
        set ended_at = case
            when new.payload ->> 'reason' = 'host_lost' then greatest(
              began_at, least(new.time, (select reported_at from hosts where hosts.id = sandbox_meters.host_id)))
            else new.time
          end
        where run_id = new.run_id and ended_at is null;
      end if;
      return null;
    end
    $$;
    create trigger timeline_sandboxes after insert on timeline for each row
      when (new.event_type in ('worker_container_ready', 'vm_shutdown'))
      execute function note_sandbox();

    -- Those that are there are counted from here on.
    insert into sandbox_meters (run_id, execution, host_id, began_at)
    select id, execution, host_id, now() from runs where sandbox_running;
  `.execute(db)
}
