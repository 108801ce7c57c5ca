// What runs make outside: pull requests, references, webhooks. Safe while older workers run: they write to none of these, and the trigger adds rows beside theirs.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table pull_requests (
      run_id uuid not null references runs (id) on delete cascade,
      -- Of the repository, in the workspace.
      path text not null,
      repository text not null,
      branch text not null,
      -- The newest execution whose commits it has.
      execution integer not null,
      -- asked, waiting, opened, failed
      state text not null,
      url text,
      number integer,
      status text,
      notes jsonb not null default '[]',
      failure jsonb,
      attempts integer not null default 0,
      -- Events of the transcript that tell of it: each has the next number as its line.
      told integer not null default 0,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now(),
      primary key (run_id, path)
    );

    create table external_references (
      team text not null,
      -- The URL in one spelling, see referenceKey.
      key text not null,
      run_id uuid not null references runs (id) on delete cascade,
      created_at timestamptz(3) not null default now(),
      primary key (team, key, run_id)
    );
    create index external_references_run on external_references (run_id);

    create table webhooks (
      id text primary key,
      team text not null,
      name text not null,
      url text not null,
      events text[] not null,
      -- environment_ids, sources, metadata: only runs that are like this; absent: all.
      filter jsonb not null,
      enabled boolean not null,
      -- The secret is made from the server's key, the id and this number.
      secret_number integer not null default 1,
      disabled_reason text,
      -- Since when nothing has arrived; null: the last delivery did.
      failing_since timestamptz(3),
      created_by_type text not null,
      created_by text not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now()
    );
    create index webhooks_team on webhooks (team, created_at);

    create table webhook_deliveries (
      id uuid primary key default gen_random_uuid(),
      webhook_id text not null references webhooks (id) on delete cascade,
      -- Null: a test, about no run.
      run_id uuid references runs (id) on delete cascade,
      event text not null,
      data jsonb not null,
      -- What is sent, as made at the first attempt: every attempt sends the same.
      body text,
      -- pending, delivered, failed
      state text not null default 'pending',
      attempts integer not null default 0,
      -- Pending: not before. One that is being sent is due again when its sender has had time enough.
      due_at timestamptz(3) not null default now(),
      -- When it is given up, where it was sent again by a person: counted from then.
      since timestamptz(3) not null default now(),
      status integer,
      error text,
      response text,
      duration_ms integer,
      created_at timestamptz(3) not null default now(),
      attempted_at timestamptz(3),
      delivered_at timestamptz(3)
    );
    create index webhook_deliveries_due on webhook_deliveries (webhook_id, due_at) where state = 'pending';
    create index webhook_deliveries_list on webhook_deliveries (webhook_id, created_at desc, id desc);
    create index webhook_deliveries_run on webhook_deliveries (run_id);

    create function note_for_webhooks(p_run uuid, p_event text, p_data jsonb) returns void
    language plpgsql as $$
    begin
      insert into webhook_deliveries (webhook_id, run_id, event, data)
      select webhooks.id, runs.id, p_event, p_data
      from runs join webhooks on webhooks.team = runs.team
      -- Of a personal run the team is not told.
      where runs.id = p_run and runs.scope = 'Team' and webhooks.enabled and p_event = any (webhooks.events)
        and (not webhooks.filter ? 'environment_ids' or webhooks.filter -> 'environment_ids' ? runs.environment_id)
        and (not webhooks.filter ? 'sources' or webhooks.filter -> 'sources' ? runs.source)
        and (not webhooks.filter ? 'metadata' or runs.metadata @> (webhooks.filter -> 'metadata'));
      if found then
        perform pg_notify('ambient_webhooks', '');
      end if;
    end
    $$;

    -- In the transaction that changes the state, whoever does it, and without a round trip of its own.
    create function state_change_for_webhooks() returns trigger
    language plpgsql as $$
    begin
      if not exists (select from webhooks where enabled) then
        return null;
      end if;
      perform note_for_webhooks(new.run_id, case new.state
        when 'QUEUED' then 'run.queued'
        when 'PENDING' then 'run.pending'
        when 'CLAIMED' then 'run.claimed'
        when 'INPROGRESS' then 'run.in_progress'
        when 'BLOCKED' then 'run.blocked'
        when 'SUCCEEDED' then 'run.succeeded'
        when 'FAILED' then 'run.failed'
        when 'ERROR' then 'run.errored'
        when 'CANCELLED' then 'run.cancelled'
      end, jsonb_build_object('state', new.state, 'execution', new.execution));
      return null;
    end
    $$;
    create trigger state_change_for_webhooks after insert on state_changes
      for each row execute function state_change_for_webhooks();
  `.execute(db)
}
