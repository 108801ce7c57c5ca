// The audit log, which nobody edits, and how people get in with a browser. Safe while older workers run: they know neither.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table audit_log (
      position bigint primary key,
      time timestamptz(3) not null,
      actor_type text not null,
      actor_uid text not null,
      -- As they were called then.
      actor_name text,
      -- The API key, or the browser session, that it was done with.
      key_id text,
      address text,
      user_agent text,
      -- Null: about no team, such as a sign-in.
      team text,
      action text not null,
      thing_type text,
      thing_uid text,
      detail jsonb not null,
      -- SHA-256 of the hash before it and of this entry.
      hash bytea not null
    );
    create index audit_log_by_team on audit_log (team, position desc);
    create index audit_log_by_actor on audit_log (actor_uid, position desc);
    create index audit_log_by_thing on audit_log (thing_uid, position desc);

    -- Entries on their way into the log: each leaves it in the transaction that wrote it, so nothing here has to last.
    create unlogged table audit_inbox (
      id bigint generated always as identity primary key,
      time timestamptz(3) not null default now(),
      actor_type text not null,
      actor_uid text not null,
      actor_name text,
      key_id text,
      address text,
      user_agent text,
      team text,
      action text not null,
      thing_type text,
      thing_uid text,
      detail jsonb not null
    );

    -- What is hashed, after the hash before it: this JSON array, as jsonb is written.
    create function audit_hash(previous bytea, entry audit_log) returns bytea language sql stable as $$
      select sha256(previous || convert_to(jsonb_build_array(
        entry.position, to_char(entry.time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        entry.actor_type, entry.actor_uid, entry.actor_name, entry.key_id, entry.address, entry.user_agent,
        entry.team, entry.action, entry.thing_type, entry.thing_uid, entry.detail
      )::text, 'UTF8'))
    $$;

    create function audit_seal() returns trigger language plpgsql as $$
    declare last record;
    begin
      perform pg_advisory_xact_lock(4203118);
      select position, hash into last from audit_log order by position desc limit 1;
      new.position := coalesce(last.position, 0) + 1;
      new.hash := audit_hash(coalesce(last.hash, ''), new);
      return new;
    end $$;
    create trigger audit_seal before insert on audit_log for each row execute function audit_seal();

    create function audit_append() returns trigger language plpgsql as $$
    begin
      insert into audit_log (
        time, actor_type, actor_uid, actor_name, key_id, address, user_agent, team, action, thing_type, thing_uid, detail
      ) values (
        new.time, new.actor_type, new.actor_uid, new.actor_name, new.key_id, new.address, new.user_agent, new.team,
        new.action, new.thing_type, new.thing_uid, new.detail
      );
      delete from audit_inbox where id = new.id;
      return null;
    end $$;
    -- At the commit: the lock on the chain is then the last that a transaction takes, and is held for a moment only.
    create constraint trigger audit_append after insert on audit_inbox
      deferrable initially deferred for each row execute function audit_append();

    create function audit_refuse() returns trigger language plpgsql as $$
    begin
      raise exception 'The audit log is only ever added to: % is refused.', tg_op using errcode = 'insufficient_privilege';
    end $$;
    create trigger audit_refuse before update or delete or truncate on audit_log
      for each statement execute function audit_refuse();
    -- Also in a session that has switched triggers off as replication does.
    alter table audit_log enable always trigger audit_refuse;
    alter table audit_log enable always trigger audit_seal;

    -- Who a person is for a provider of identities.
    create table person_logins (
      issuer text not null,
      subject text not null,
      person text not null references people (uid),
      created_at timestamptz(3) not null default now(),
      last_used_at timestamptz(3) not null default now(),
      primary key (issuer, subject)
    );
    create unique index person_logins_person on person_logins (person, issuer);

    -- Sign-ins that have gone to the provider and not come back.
    create table sign_ins (
      token_hash text primary key,
      state text not null,
      nonce text not null,
      verifier text not null,
      expires_at timestamptz(3) not null
    );
    create index sign_ins_expires on sign_ins (expires_at);

    -- Browser sessions. One that has ended has no row.
    create table sessions (
      uid text primary key,
      token_hash text not null unique,
      -- Null: the operator, by the admin key of this hash.
      person text references people (uid),
      operator_key_hash text,
      -- The key that it was begun with, and lasts no longer than; null: by a provider of identities.
      key_uid text references api_keys (uid),
      address text not null,
      user_agent text,
      created_at timestamptz(3) not null default now(),
      last_used_at timestamptz(3) not null default now(),
      expires_at timestamptz(3) not null,
      check (num_nonnulls(person, operator_key_hash) = 1)
    );
    create index sessions_person on sessions (person);
    create index sessions_expires on sessions (expires_at);
  `.execute(db)
}
