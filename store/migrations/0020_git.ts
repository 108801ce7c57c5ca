// What the git broker gets at repositories with, and by what runs, builds and hosts reach the broker.
// Safe while older workers run: they know nothing of it, and go on to clone by themselves.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table git_credentials (
      id text primary key,
      team text not null references teams (name),
      -- The person whose runs alone it is for; null: it is the team's.
      person text,
      name text not null,
      -- Scheme, host and path.
      url text not null,
      type text not null check (type in ('token', 'github_app')),
      -- The token or the private key, sealed by the vault.
      secret bytea not null,
      username text,
      app_id text,
      api_url text,
      access text not null check (access in ('read', 'write')),
      forge text,
      -- Counts changes: what was made with an older secret is not used any more.
      revision integer not null default 1,
      last_used_at timestamptz(3),
      created_by_type text not null,
      created_by text not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now()
    );
    create index git_credentials_by_team on git_credentials (team);

    -- By which the broker is reached: from the sandboxes of a run, or by the host that has the run, the build or the environment in hand.
    create table git_tokens (
      token_hash text primary key,
      run_id uuid references runs (id) on delete cascade,
      execution integer,
      build_id uuid references builds (id) on delete cascade,
      environment_id text,
      for_host boolean not null,
      -- From where it is good; null: from anywhere.
      binding jsonb,
      created_at timestamptz(3) not null default now(),
      -- Null: until the run's sandbox is gone.
      expires_at timestamptz(3)
    );
    create index git_tokens_by_run on git_tokens (run_id) where run_id is not null;
    create index git_tokens_by_build on git_tokens (build_id) where build_id is not null;
    create index git_tokens_by_end on git_tokens (expires_at) where expires_at is not null
  `.execute(db)
}
