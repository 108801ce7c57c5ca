// Checkpoints of workspaces, in pieces. Safe while older workers run: they know nothing of these tables.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table checkpoints (
      id uuid primary key,
      run_id uuid not null references runs (id),
      execution integer not null,
      bytes bigint not null default 0,
      created_at timestamptz(3) not null default now(),
      -- Null while it is being received, and once a newer one has taken its place.
      completed_at timestamptz(3)
    );
    create unique index checkpoints_newest on checkpoints (run_id) where completed_at is not null;
    create index checkpoints_run on checkpoints (run_id);

    create table checkpoint_pieces (
      checkpoint_id uuid not null references checkpoints (id) on delete cascade,
      number integer not null,
      bytes bytea not null,
      primary key (checkpoint_id, number)
    );
    -- They come compressed.
    alter table checkpoint_pieces alter column bytes set storage external;
  `.execute(db)
}
