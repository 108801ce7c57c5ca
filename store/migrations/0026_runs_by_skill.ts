// The skill that a run works by, in its own row, for lists that are sorted by it. Safe while older workers run: they leave it
// out, and their runs come last. Whoever reads or writes runs waits until the index is made: a few seconds among a million.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`set local statement_timeout = 0`.execute(db)
  await sql`
    -- 0025 has the lock already, where both are new.
    alter table runs add column skill text;
    update runs set skill = run_skills.name
    from run_skills where run_skills.run_id = runs.id and run_skills.position = 0;
    -- In the place of the one by harness, which nobody sorts by any more.
    drop index runs_team_agent;
    create index runs_team_skill on runs (team, skill, id);
  `.execute(db)
}
