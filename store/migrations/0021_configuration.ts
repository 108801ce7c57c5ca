// Agent profiles, rules and saved prompts, with their versions, and what a run's configuration was resolved from. Safe
// while older workers run: they read and write none of it.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table shared_items (
      uid text primary key,
      team text not null references teams (name),
      -- profile, rule, or prompt.
      kind text not null,
      -- Whose it is, by a uid; null: the team's.
      owner text,
      name text not null,
      version integer not null default 1,
      content jsonb not null,
      -- Of a profile: it holds where no other is named.
      is_default boolean not null default false,
      created_by_type text not null,
      created_by text not null,
      updated_by_type text not null,
      updated_by text not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now(),
      -- Runs name it, so its row stays.
      deleted_at timestamptz(3)
    );
    create unique index shared_items_name on shared_items (team, kind, coalesce(owner, ''), name)
      where deleted_at is null;
    create unique index shared_items_default on shared_items (team) where is_default and deleted_at is null;

    -- Written once each: runs go on with the one that they began with.
    create table shared_item_versions (
      uid text not null references shared_items (uid),
      version integer not null,
      name text not null,
      content jsonb not null,
      created_by_type text not null,
      created_by text not null,
      created_at timestamptz(3) not null default now(),
      primary key (uid, version)
    );

    alter table runs
      -- Which values came from where, and which of these were used. Null: of before there were any.
      add column configuration jsonb;
    alter table schedules
      -- In the place of its prompt.
      add column saved_prompt jsonb;
  `.execute(db)
}
