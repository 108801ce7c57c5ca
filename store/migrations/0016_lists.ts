// Indexes for lists of very many runs, what they are searched by, what statistics are made of, conversations, scores.
// Safe while older workers run: what they write is kept up by triggers. Whatever is written waits until the indexes are made.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // As long as it takes. Whoever writes takes a run's lock first, so nobody who waits here holds what a later step needs.
  await sql`set local statement_timeout = 0`.execute(db)
  await sql`lock table runs in exclusive mode`.execute(db)
  await sql`
    -- One for each order, and one for each filter in the order that most lists have.
    drop index runs_updated;
    drop index runs_created;
    create index runs_team_updated on runs (team, updated_at, id) include (created_at);
    create index runs_team_created on runs (team, created_at, id) include (updated_at);
    create index runs_team_title on runs (team, title, id);
    create index runs_team_agent on runs (team, agent, id);
    create index runs_team_state on runs (team, state, updated_at, id);
    create index runs_team_source on runs (team, source, updated_at, id);
    create index runs_team_environment on runs (team, environment_id, updated_at, id);
    create index runs_team_creator on runs (team, created_by, updated_at, id);
    create index runs_team_executor on runs (team, executor, updated_at, id);
    create index runs_team_name on runs (team, name, updated_at, id) where name is not null;
    create index runs_team_model on runs (team, model, updated_at, id) where model is not null;
    -- The few that had something happen to them long after they began. See store/runs/run-branches.ts.
    create index runs_late on runs (team, updated_at, id) include (created_at)
      where updated_at - created_at > interval '24 hours';
    create index runs_late_created on runs (team, created_at, id) include (updated_at)
      where updated_at - created_at > interval '24 hours';
    -- A change of a run writes into every index of its row. What never changes is searched in a table of its own.
    drop index runs_metadata;

    create table run_search (
      run_id uuid primary key references runs (id) on delete cascade,
      -- The words of title and prompt; and, behind a '=', the team and the metadata.
      words tsvector not null
    );
    alter table run_search alter column words set statistics 500;

    alter table runs
      add column mode text not null default 'normal',
      -- The run that the conversation began with; null: this one.
      add column conversation_id uuid references runs (id);
    create index runs_conversation on runs (conversation_id, created_at) where conversation_id is not null;

    create table run_scores (
      run_id uuid not null references runs (id) on delete cascade,
      scorer text not null,
      value double precision not null,
      passed boolean,
      explanation text,
      metadata jsonb not null,
      created_by_type text not null,
      created_by text not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now(),
      primary key (run_id, scorer)
    );
  `.execute(db)
  await makeStatistics(db)
  await fillSearch(db)
  await sql`
    -- Short steps: whoever writes a run is to find little that he has to put in order first.
    create index run_search_words on run_search using gin (words) with (gin_pending_list_limit = 256);
  `.execute(db)
}

const ended = sql`('SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED')`

/** One narrow row for each run, kept by triggers, whoever writes. */
async function makeStatistics(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table run_statistics (
      run_id uuid primary key references runs (id) on delete cascade,
      team text not null,
      created_at timestamptz(3) not null,
      source text not null,
      agent text not null,
      model text,
      environment_id text,
      creator text not null,
      executor text not null,
      -- How it ended; null while it is going on.
      state text,
      -- Of how long it worked, and waited in line, the class: see duration_class.
      run_class smallint,
      wait_class smallint,
      failure_code text,
      failure_phase text
    ) with (fillfactor = 90);

    -- Milliseconds by classes that are 4 % apart: 25 classes to a factor of e. Quantiles of very many are read from counts of them.
    create function duration_class(milliseconds double precision) returns smallint language sql immutable as $$
      select case when milliseconds is not null then round(25 * ln(greatest(milliseconds, 1)))::smallint end
    $$;

    create function worked_class(p_run uuid) returns smallint language sql stable as $$
      select duration_class(sum(extract(epoch from coalesce(finished_at, now()) - started_at) * 1000)::double precision)
      from executions
      where run_id = p_run and started_at is not null
    $$;

    create function waited_class(p_run uuid) returns smallint language sql stable as $$
      select duration_class(sum(extract(epoch from let_in.time - queued.time) * 1000)::double precision)
      from state_changes as let_in
      join state_changes as queued on queued.run_id = let_in.run_id and queued.number = let_in.number - 1
      where let_in.run_id = p_run and let_in.state = 'PENDING' and queued.state = 'QUEUED'
    $$;

    insert into run_statistics
    select id, team, created_at, source, agent, model, environment_id, created_by, executor,
      case when state in ${ended} then state end,
      worked_class(id), waited_class(id), failure ->> 'code', failure ->> 'phase'
    from runs
    order by created_at;
    create index run_statistics_created on run_statistics (team, created_at);

    create function note_run() returns trigger language plpgsql as $$
    begin
      insert into run_statistics (run_id, team, created_at, source, agent, model, environment_id, creator, executor)
      values (
        new.id, new.team, new.created_at, new.source, new.agent, new.model, new.environment_id, new.created_by,
        new.executor
      );
      return null;
    end
    $$;
    create trigger runs_noted after insert on runs for each row execute function note_run();

    create function note_run_end() returns trigger language plpgsql as $$
    begin
      if new.state in ${ended} then
        update run_statistics
        set state = new.state, run_class = worked_class(new.id), wait_class = waited_class(new.id),
          failure_code = new.failure ->> 'code', failure_phase = new.failure ->> 'phase'
        where run_id = new.id;
      else
        update run_statistics set state = null, failure_code = null, failure_phase = null where run_id = new.id;
      end if;
      return null;
    end
    $$;
    create trigger runs_ended after update of state on runs for each row
      when (old.state <> new.state and (old.state in ${ended} or new.state in ${ended}))
      execute function note_run_end();
  `.execute(db)
}

interface Searchable {
  id: string
  team: string
  title: string
  prompt: string
  metadata: Readonly<Record<string, string>>
}

const PAGE = 500

/** What runs are searched by, for those that are there. Written out here, as it was then: how it is made may change. */
async function fillSearch(db: Kysely<unknown>): Promise<void> {
  for (let after: string | null = null; ; ) {
    const { rows }: { rows: Searchable[] } = await sql<Searchable>`
      select id, team, title, prompt, metadata from runs
      where ${after}::uuid is null or id > ${after}::uuid
      order by id limit ${PAGE}
    `.execute(db)
    const last = rows.at(-1)
    if (last === undefined) return
    const words = rows.map((run) => JSON.stringify(termsOf(run)))
    await sql`
      insert into run_search (run_id, words)
      select id, array_to_tsvector(array(select distinct jsonb_array_elements_text(terms::jsonb)))
      from unnest(${rows.map(({ id }) => id)}::uuid[], ${words}::text[]) as filled (id, terms)
      on conflict do nothing
    `.execute(db)
    after = last.id
  }
}

const termsOf = ({ team, title, prompt, metadata }: Searchable): string[] => [
  `=team=${team}`,
  ...Object.entries(metadata).map(([key, value]) => `=meta=${key}=${value}`),
  ...wordsOf(`${title}\n${prompt}`),
]

const SEARCHED_CHARS = 64 * 1024
const WORD_CHARS = 64

const dense =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u

const hump = /(?<=[\p{Ll}\p{N}])(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})/u

const plain = (token: string): string => [...token.toLowerCase()].slice(0, WORD_CHARS).join('')

function wordsOf(text: string): Set<string> {
  const words = new Set<string>()
  const tokens =
    text
      .slice(0, SEARCHED_CHARS)
      .toWellFormed()
      .normalize('NFKC')
      .match(/[\p{L}\p{M}\p{N}]+/gu) ?? []
  for (const token of tokens) {
    words.add(plain(token))
    for (const part of token.split(hump)) words.add(plain(part))
    if (!dense.test(token)) continue
    const characters = [...token.toLowerCase()]
    for (const [at, character] of characters.slice(1).entries()) words.add(`${characters[at]}${character}`)
  }
  return words
}
