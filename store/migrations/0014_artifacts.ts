// What runs hand over and are handed, and the tools of their agents. Safe while older workers run: they know nothing of it.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- What is in the object store. Written before the object, so that none is there that nobody knows of; what nothing
    -- names after a day is removed.
    create table contents (
      uid text primary key,
      bytes bigint not null,
      sha256 text not null,
      created_at timestamptz not null default now()
    );
    create index contents_by_age on contents (created_at);

    create table artifacts (
      uid text primary key,
      run_id uuid not null references runs (id) on delete cascade,
      execution integer not null,
      -- By which a second report of the same is known.
      key text not null,
      type text not null,
      data jsonb not null,
      -- Null: it has none, it is still to be fetched, or it is not kept any more.
      content_uid text references contents (uid),
      -- A file of the workspace that its host has still to hand over.
      wanted_path text,
      created_at timestamptz not null default now(),
      unique (run_id, key)
    );
    create index artifacts_by_type on artifacts (type, run_id);
    create index artifacts_by_content on artifacts (content_uid) where content_uid is not null;
    create index artifacts_wanted on artifacts (run_id) where wanted_path is not null;

    -- Files that came with a message.
    create table attachments (
      uid text primary key,
      run_id uuid not null references runs (id) on delete cascade,
      mail_id uuid not null,
      position integer not null,
      file_name text not null,
      mime_type text not null,
      content_uid text references contents (uid),
      unique (mail_id, position)
    );
    create index attachments_by_content on attachments (content_uid) where content_uid is not null;
    create index attachments_by_run on attachments (run_id);

    -- By which an agent reaches its tools: like run_credentials, but several of one execution may be good at once.
    create table tool_credentials (
      token_hash text primary key,
      run_id uuid not null references runs (id) on delete cascade,
      execution integer not null,
      created_at timestamptz not null default now()
    );
    create index tool_credentials_by_run on tool_credentials (run_id);

    -- What an agent's calls of its tools were answered: the same call is answered alike and done once.
    create table tool_calls (
      run_id uuid not null references runs (id) on delete cascade,
      key text not null,
      number integer not null,
      tool text not null,
      answer jsonb not null,
      created_at timestamptz not null default now(),
      primary key (run_id, key)
    );

    -- What agents want to know of people. A question is opened, as a row of questions, when the turn has ended.
    create table asks (
      uid text primary key,
      run_id uuid not null references runs (id) on delete cascade,
      -- The message that the agent works on: a later one overtakes the question.
      mail_id uuid not null,
      title text not null,
      options jsonb not null,
      free_text boolean not null,
      number integer not null
    );
    create index asks_by_run on asks (run_id);
  `.execute(db)
}
