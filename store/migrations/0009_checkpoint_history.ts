// The former checkpoints of a run, and runs that begin from one. Safe while older workers run: an older server keeps only
// the newest checkpoint, which it finds as before, and forks no runs.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- completed_at stays what it was: set for the newest whole one alone. The others are whole where replaced_at is set.
    alter table checkpoints
      add column replaced_at timestamptz(3),
      -- Counts within the run; null until it is whole.
      add column number integer,
      -- What its host says of it.
      add column summary jsonb,
      -- Of an execution that another one had taken over from: kept for forks, never the newest.
      add column late boolean not null default false;
    update checkpoints set number = 1 where completed_at is not null;
    create unique index checkpoints_number on checkpoints (run_id, number) where number is not null;

    alter table runs
      -- How many checkpoints the run ever had: numbers are not given twice.
      add column checkpoints integer not null default 0,
      add column forked_from_run_id uuid references runs (id),
      add column forked_from_checkpoint integer,
      add column fork_session text,
      -- What it begins with, until it has a checkpoint of its own. It is not dropped meanwhile.
      add column forked_checkpoint_id uuid references checkpoints (id);
    update runs set checkpoints = 1
    where exists (select from checkpoints where run_id = runs.id and completed_at is not null);
    create index runs_forked_checkpoint on runs (forked_checkpoint_id) where forked_checkpoint_id is not null;
  `.execute(db)
}
