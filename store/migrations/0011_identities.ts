// Teams of several people, service accounts, API keys, whose a run is and with whom it is shared. Safe while older workers
// run: they write none of it, and what they begin counts as the operator's, in the team that everything was in until now.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- "name" is what a team is known by everywhere, its uid. That of the first one is the word "default".
    alter table teams
      add column display_name text,
      -- Its limit was set for it alone, and does not follow the server's setting.
      add column has_own_limit boolean not null default false,
      add column created_at timestamptz(3) not null default now(),
      add column updated_at timestamptz(3) not null default now();
    update teams set display_name = name;
    alter table teams
      alter column display_name set not null,
      alter column display_name set default '';

    create table people (
      uid text primary key,
      -- In lower case: addresses that differ in nothing else are one.
      email text not null unique,
      display_name text not null,
      photo_url text,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now(),
      disabled_at timestamptz(3)
    );

    create table members (
      team text not null references teams (name),
      person text not null references people (uid),
      role text not null,
      joined_at timestamptz(3) not null default now(),
      primary key (person, team)
    );
    create index members_team on members (team);

    -- Service accounts; Oz calls them agents, and their routes identities.
    create table identities (
      uid text primary key,
      team text not null references teams (name),
      name text not null,
      -- What its runs are begun with where their request does not say.
      config jsonb not null,
      on_behalf_of_enabled boolean not null default false,
      -- The one that every team has, which cannot be deleted.
      is_default boolean not null default false,
      created_by_type text not null,
      created_by text not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now(),
      -- Runs name it as their creator, so its row stays.
      deleted_at timestamptz(3)
    );
    create unique index identities_name on identities (team, name) where deleted_at is null;
    create unique index identities_default on identities (team) where is_default;
    insert into identities (uid, team, name, config, is_default, created_by_type, created_by)
    select left(replace(gen_random_uuid()::text, '-', ''), 22), name, 'Default', '{}', true, 'operator', 'operator'
    from teams;

    create table api_keys (
      uid text primary key,
      name text not null,
      -- The first characters of the key, by which people tell keys apart.
      prefix text not null,
      key_hash text not null unique,
      -- Whose it is: one of the two.
      person text references people (uid),
      agent text references identities (uid),
      -- The only team that it is good for; null: all of the person's.
      team text references teams (name),
      scope text not null,
      created_by_type text not null,
      created_by text not null,
      created_at timestamptz(3) not null default now(),
      expires_at timestamptz(3),
      last_used_at timestamptz(3),
      revoked_at timestamptz(3),
      check ((person is null) <> (agent is null)),
      check (agent is null or team is not null)
    );
    create index api_keys_person on api_keys (person) where person is not null;
    create index api_keys_team on api_keys (team) where team is not null;

    alter table runs
      -- Whose it is: Team, or User, which its creator and the admins of the team alone may see.
      add column scope text not null default 'Team',
      add column created_by_type text not null default 'operator',
      add column created_by text not null default 'operator',
      add column executor_type text not null default 'operator',
      add column executor text not null default 'operator';

    alter table environments
      add column created_by_type text not null default 'operator',
      add column created_by text not null default 'operator',
      add column updated_by_type text not null default 'operator',
      add column updated_by text not null default 'operator';

    create table run_shares (
      uid text primary key,
      run_id uuid not null references runs (id) on delete cascade,
      -- person, team, or link.
      shared_with text not null,
      person text references people (uid),
      team text references teams (name),
      level text not null,
      -- Of a link: the hash of its token, and whether it is good for somebody who has not signed in.
      token_hash text unique,
      is_public boolean not null default false,
      expires_at timestamptz(3),
      created_by_type text not null,
      created_by text not null,
      created_at timestamptz(3) not null default now(),
      check (num_nonnulls(person, team, token_hash) = 1)
    );
    create index run_shares_run on run_shares (run_id);
    create unique index run_shares_person on run_shares (person, run_id) where person is not null;
    create unique index run_shares_team on run_shares (team, run_id) where team is not null;
  `.execute(db)
}
