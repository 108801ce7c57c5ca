// Keys of hosts, whose run a host may speak of, draining, and the trace that a message belongs to. Safe while older
// workers run. Hosts of the version before are refused until they are brought up to date: they do not say who they are.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table worker_keys (
      id uuid primary key,
      name text not null,
      -- The first characters of the key, by which people tell keys apart.
      prefix text not null,
      key_hash text not null unique,
      -- The only pool that hosts with this key may be of; null for any.
      pool text,
      created_at timestamptz(3) not null default now(),
      last_used_at timestamptz(3),
      revoked_at timestamptz(3)
    );

    alter table hosts
      -- Of a secret that the machine made for itself: nobody else can speak for its id.
      add column secret_hash text,
      -- The key of its last report; null for the key of the settings.
      add column key_id uuid references worker_keys (id),
      -- Runs that it held at its last report.
      add column in_use integer not null default 0,
      -- Since when it takes no new run.
      add column draining_at timestamptz(3);

    -- The host that asked last to carry an execution out. It may, until the workflow's word (host_id) is written down.
    alter table executions add column claimed_by text;

    -- Of the request that wrote it, as in the W3C's traceparent header.
    alter table mail add column trace text;
  `.execute(db)
}
