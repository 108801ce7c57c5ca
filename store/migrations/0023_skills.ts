// Skills of the repositories of stored environments, when they were read, and which of them each run works by.
// Safe while older workers run: nothing that they know is touched.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- One look of a host at the repositories of an environment.
    create table skill_readings (
      id uuid primary key,
      environment_id text not null references environments (id) on delete cascade,
      host_id text not null,
      created_at timestamptz(3) not null default now(),
      dispatched_at timestamptz(3),
      finished_at timestamptz(3),
      -- Why nothing was read.
      failure text,
      -- [{url, owner, repo, revision, failure}]
      repositories jsonb
    );
    create unique index skill_readings_open on skill_readings (environment_id) where finished_at is null;
    create index skill_readings_newest on skill_readings (environment_id, created_at desc);

    -- What a skill says and its files, by their hash: many environments and runs share one.
    create table skill_contents (
      hash text primary key,
      text text not null,
      -- gzip of [{path, executable, content}], each content in base64.
      files bytea not null
    );

    -- As they were read last.
    create table skills (
      environment_id text not null references environments (id) on delete cascade,
      -- The repository's place among those of the environment.
      position integer not null,
      path text not null,
      owner text not null,
      repo text not null,
      url text not null,
      revision text not null,
      name text not null,
      description text not null,
      -- Why it cannot be used.
      problem text,
      -- Null where there is a problem.
      content text references skill_contents (hash),
      primary key (environment_id, position, path)
    );
    create index skills_content on skills (content);

    create table run_skills (
      run_id uuid not null references runs (id) on delete cascade,
      position integer not null,
      team text not null,
      name text not null,
      description text not null,
      owner text not null,
      repo text not null,
      url text not null,
      path text not null,
      revision text not null,
      content text not null references skill_contents (hash),
      primary key (run_id, position)
    );
    create index run_skills_name on run_skills (team, lower(name));
    create index run_skills_path on run_skills (team, path);
    create index run_skills_content on run_skills (content);
  `.execute(db)
}
