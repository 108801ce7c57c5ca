// How large each transcript is. Safe while older workers run: they append by the same functions, and pass over what is new.
import { type Kysely, sql } from 'kysely'

/** Counted from here on: what is stored already counts as nothing. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- The data of its events, as Postgres holds it before it is compressed.
    alter table runs add column transcript_bytes bigint not null default 0;

    create or replace function store_events(p_run uuid, p_execution integer, p_journal text, p_events jsonb)
    returns integer
    language plpgsql as $$
    declare
      v_last integer;
      v_new integer;
      v_bytes bigint;
    begin
      select last_event_sequence into v_last from runs where id = p_run;
      with batch as (
        select distinct on (line, part) place, line, part, event
        from (
          select place, (event ->> 'line')::bigint as line, (event ->> 'part')::integer as part, event
          from jsonb_array_elements(p_events) with ordinality as element (event, place)
        ) as numbered
        order by line, part, place
      ), fresh as (
        select row_number() over (order by place) as number, line, part, event
        from batch
        where not exists (
          select from events
          where events.run_id = p_run and events.journal = p_journal
            and events.line = batch.line and events.part = batch.part
        )
      ), stored as (
        insert into events (run_id, sequence, execution, journal, line, part, time, kind, data)
        select p_run, v_last + number, p_execution, p_journal, line, part,
          (event ->> 'time')::timestamptz, event ->> 'kind', event -> 'data'
        from fresh
        returning pg_column_size(data) as bytes
      )
      select count(*), coalesce(sum(bytes), 0) into v_new, v_bytes from stored;
      if v_new = 0 then
        return v_last;
      end if;
      update runs set last_event_sequence = v_last + v_new, transcript_bytes = transcript_bytes + v_bytes
      where id = p_run;
      perform pg_notify('ambient_events', p_run::text);
      return v_last + v_new;
    end
    $$;

    drop function append_events;
    create function append_events(
      p_run uuid, p_execution integer, p_journal text, p_read_to bigint, p_events jsonb
    ) returns table (current_execution integer, line bigint, transcript_size bigint)
    language plpgsql as $$
    declare
      v_execution integer;
      v_bytes bigint;
      v_line bigint;
    begin
      select execution into v_execution from runs where id = p_run for update;
      if not found then
        return;
      end if;
      if p_execution < v_execution then
        return query select v_execution, null::bigint, null::bigint;
        return;
      end if;
      if jsonb_array_length(p_events) > 0 then
        perform store_events(p_run, p_execution, p_journal, p_events);
      end if;
      insert into journals (run_id, journal, read_to) values (p_run, p_journal, p_read_to)
      on conflict (run_id, journal) do update set read_to = greatest(journals.read_to, excluded.read_to)
      returning journals.read_to into v_line;
      select transcript_bytes into v_bytes from runs where id = p_run;
      return query select v_execution, v_line, v_bytes;
    end
    $$;
  `.execute(db)
}
