// What models were called for and cost, teams' own endpoints and rules, and where a run's credential is good.
// Safe while older workers run: they know nothing of it, and a credential without a place is good anywhere.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table model_calls (
      id uuid primary key,
      -- No foreign key: a call is not to wait for whoever holds the run's row.
      run_id uuid not null,
      execution integer not null,
      team text not null,
      provider text not null,
      -- The uid of the team's own endpoint; null: one of the server's.
      endpoint text,
      model text,
      path text not null,
      -- The process that makes the call. While it lives it touches its open calls again and again.
      gateway uuid not null,
      state text not null default 'open' check (state in ('open', 'settled', 'broken')),
      started_at timestamptz(3) not null default now(),
      touched_at timestamptz(3) not null default now(),
      ended_at timestamptz(3),
      status smallint,
      complete boolean,
      request_bytes bigint,
      input_tokens bigint,
      cache_read_tokens bigint,
      cache_write_tokens bigint,
      cache_write_hour_tokens bigint,
      output_tokens bigint,
      reasoning_tokens bigint,
      estimated boolean not null default false,
      -- In millionths of a US dollar; null: the price or the usage is unknown.
      input_cost bigint,
      cache_read_cost bigint,
      cache_write_cost bigint,
      output_cost bigint
    );
    create index model_calls_run on model_calls (run_id, started_at);
    create index model_calls_team on model_calls (team, started_at);
    create index model_calls_open on model_calls (touched_at) where state = 'open';

    create table model_providers (
      uid text primary key,
      team text not null references teams (name),
      name text not null,
      -- The wire format: anthropic, openai, gemini.
      format text not null,
      base_url text not null,
      -- Whose models go there: patterns such as 'gpt-*'.
      models text[] not null,
      -- Sealed by the vault; null: it asks for none.
      api_key bytea,
      -- Sealed JSON: header names and values.
      headers bytea,
      created_by_type text not null,
      created_by text not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now(),
      unique (team, name)
    );

    create table model_rules (
      team text primary key references teams (name),
      -- Patterns. An empty list of what is allowed stands for everything.
      allow text[] not null,
      deny text[] not null,
      updated_at timestamptz(3) not null default now()
    );

    -- From where the credential may be used; null: from anywhere. See docs/model-gateway.md.
    alter table run_credentials add column binding jsonb;
  `.execute(db)
}
