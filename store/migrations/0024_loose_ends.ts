// Which key another was made with, names of schedules, teams and people that are deleted. Safe while older workers run: they
// write none of it, and are told of a name that is taken as of any row that cannot be written.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- The key that somebody made it with, or had signed in with; null: the admin key, or a provider's sign-in.
    alter table api_keys add column made_with text references api_keys (uid);
    create index api_keys_made_with on api_keys (made_with) where made_with is not null;

    -- Runs and the audit log name them, so their rows stay.
    alter table teams add column deleted_at timestamptz(3);
    alter table people add column deleted_at timestamptz(3);

    -- Somebody asked for another one while this one was being cancelled: whether with force.
    alter table builds add column again_with_force boolean;

    lock table schedules in share row exclusive mode;
    update schedules set name = name || ' (' || schedules.id || ')', revision = revision + 1
    from (
      select id, row_number() over (partition by team, coalesce(owner, ''), name order by created_at, id) as number
      from schedules where deleted_at is null
    ) as alike
    where alike.id = schedules.id and alike.number > 1;
    -- Somebody's personal ones have names of their own: nobody else sees them.
    create unique index schedules_name on schedules (team, coalesce(owner, ''), name) where deleted_at is null;
  `.execute(db)
}
