// Appending to a transcript in one statement. Safe while older workers run: they go on with statements of their own.
import { type Kysely, sql } from 'kysely'

/** A host hands over a batch every few milliseconds while an agent talks: nine statements were most of its cost. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- Stores what is new of a batch, in its order, under the next sequences. The caller holds the lock on the run's row.
    create function store_events(p_run uuid, p_execution integer, p_journal text, p_events jsonb) returns integer
    language plpgsql as $$
    declare
      v_last integer;
      v_new integer;
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
        returning 1
      )
      select count(*) into v_new from stored;
      if v_new = 0 then
        return v_last;
      end if;
      update runs set last_event_sequence = v_last + v_new where id = p_run;
      perform pg_notify('ambient_events', p_run::text);
      return v_last + v_new;
    end
    $$;

    -- A host's batch: refused (no position) when a newer execution has the run; no row where there is no run.
    create function append_events(
      p_run uuid, p_execution integer, p_journal text, p_read_to bigint, p_events jsonb
    ) returns table (current_execution integer, line bigint)
    language plpgsql as $$
    declare
      v_execution integer;
    begin
      select execution into v_execution from runs where id = p_run for update;
      if not found then
        return;
      end if;
      if p_execution < v_execution then
        return query select v_execution, null::bigint;
        return;
      end if;
      if jsonb_array_length(p_events) > 0 then
        perform store_events(p_run, p_execution, p_journal, p_events);
      end if;
      return query
        insert into journals (run_id, journal, read_to) values (p_run, p_journal, p_read_to)
        on conflict (run_id, journal) do update set read_to = greatest(journals.read_to, excluded.read_to)
        returning v_execution, journals.read_to;
    end
    $$;
  `.execute(db)
}
