// Stored MCP servers. Safe while older workers run: they know nothing of this table.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table mcp_servers (
      uid text primary key,
      team text not null,
      name text not null,
      description text,
      -- How it is reached: command, args, env, url, headers, type, required. Values of env and headers are sealed.
      config jsonb not null,
      created_by_type text not null,
      created_by text not null,
      created_at timestamptz(3) not null default now(),
      updated_at timestamptz(3) not null default now(),
      unique (team, name)
    );
  `.execute(db)
}
