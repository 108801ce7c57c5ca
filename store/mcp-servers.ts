// Stored MCP servers of teams. A team in every query. Values come and go sealed.
import { type Selectable, sql } from 'kysely'
import type { McpServer, McpServerConfig, McpServerItem, McpServers } from '../domain/mcp/server.ts'
import { managedServer } from '../domain/mcp/values.ts'
import type { Principal } from '../domain/permission.ts'
import { profileIn, profilesOf } from './accounts/principals.ts'
import type { Queryable, Tx } from './database.ts'
import { jsonb } from './json.ts'
import type { McpServersTable } from './schema.ts'
import { isTaken } from './taken.ts'
import { newUid } from './uid.ts'

/** Another one of the team has this name. */
export class McpServerNameTakenError extends Error {
  override readonly name = 'McpServerNameTakenError'
  constructor(taken: string) {
    super(`There is an MCP server "${taken}" already.`)
  }
}

/** @throws {McpServerNameTakenError} */
export async function insertMcpServer(
  tx: Tx,
  team: string,
  { name, description, ...config }: McpServerConfig,
  by: Principal,
): Promise<McpServerItem> {
  const row = await named(name, () =>
    tx
      .insertInto('mcp_servers')
      .values({
        uid: newUid(),
        team,
        name,
        description: description ?? null,
        config: jsonb(config),
        created_by_type: by.type,
        created_by: by.uid,
      })
      .returningAll()
      .executeTakeFirstOrThrow(),
  )
  return serveOne(tx, row)
}

/** Puts what `change` makes of it in its place. Null when there is none. @throws {McpServerNameTakenError} */
export async function replaceMcpServer(
  tx: Tx,
  team: string,
  uid: string,
  change: (stored: McpServer) => McpServerConfig,
): Promise<McpServerItem | null> {
  const stored = await select(tx, team).where('uid', '=', uid).forNoKeyUpdate().executeTakeFirst()
  if (!stored) return null
  const { name, description, ...config } = change(stored.config)
  const row = await named(name, () =>
    tx
      .updateTable('mcp_servers')
      .set({ name, description: description ?? null, config: jsonb(config), updated_at: sql`now()` })
      .where('uid', '=', uid)
      .returningAll()
      .executeTakeFirstOrThrow(),
  )
  return serveOne(tx, row)
}

/** Null when there is none. Runs that named it keep their copies. */
export async function deleteMcpServer(tx: Tx, team: string, uid: string): Promise<{ name: string } | null> {
  const row = await tx
    .deleteFrom('mcp_servers')
    .where('team', '=', team)
    .where('uid', '=', uid)
    .returning('name')
    .executeTakeFirst()
  return row ?? null
}

/** Null when there is none. */
export async function findMcpServer(db: Queryable, team: string, uid: string): Promise<McpServerItem | null> {
  const row = await select(db, team).where('uid', '=', uid).executeTakeFirst()
  return row ? serveOne(db, row) : null
}

export async function listMcpServers(db: Queryable, team: string): Promise<McpServerItem[]> {
  return serve(db, await select(db, team).orderBy('name').orderBy('uid').execute())
}

export async function countMcpServers(db: Queryable, team: string): Promise<number> {
  const row = await db
    .selectFrom('mcp_servers')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('team', '=', team)
    .executeTakeFirstOrThrow()
  return Number(row.count)
}

/** Those that have one of these uids or names, by both. With sealed values, for the copies of runs. */
export async function mcpServersNamed(
  db: Queryable,
  team: string,
  named: readonly string[],
): Promise<Map<string, McpServer>> {
  if (named.length === 0) return new Map()
  const rows = await select(db, team)
    .where((eb) => eb.or([eb('uid', 'in', named), eb('name', 'in', named)]))
    .execute()
  // A uid counts before the name of another one.
  return new Map([
    ...rows.map(({ name, config }) => [name, config] as const),
    ...rows.map(({ uid, config }) => [uid, config] as const),
  ])
}

const select = (db: Queryable, team: string) => db.selectFrom('mcp_servers').selectAll().where('team', '=', team)

async function named<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isTaken(error)) throw new McpServerNameTakenError(name)
    throw error
  }
}

async function serveOne(db: Queryable, row: Selectable<McpServersTable>): Promise<McpServerItem> {
  const [item] = await serve(db, [row])
  if (!item) throw new TypeError('every row is served')
  return item
}

async function serve(db: Queryable, rows: readonly Selectable<McpServersTable>[]): Promise<McpServerItem[]> {
  const makerOf = (row: Selectable<McpServersTable>): Principal => ({ type: row.created_by_type, uid: row.created_by })
  const profiles = await profilesOf(db, rows.map(makerOf))
  return rows.map((row) => ({
    uid: row.uid,
    name: row.name,
    description: row.description,
    ...managedServer(row.config),
    team: row.team,
    creator: profileIn(profiles, makerOf(row)),
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  }))
}

/** What a run's servers are made with at the moment at which they are used. */
export interface McpServersOfRun {
  team: string
  servers: McpServers
  /** The variables of its environment. */
  env: Readonly<Record<string, string>>
}

/** Null when there is no such run. */
export async function mcpServersOfRun(db: Queryable, runId: string): Promise<McpServersOfRun | null> {
  const row = await db
    .selectFrom('runs')
    .select(['team', 'environment', sql<McpServers | null>`config -> 'mcp_servers'`.as('servers')])
    .where('id', '=', runId)
    .executeTakeFirst()
  return row ? { team: row.team, servers: row.servers ?? {}, env: row.environment?.env ?? {} } : null
}
