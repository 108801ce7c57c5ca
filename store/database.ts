// The way to Postgres.
import { Kysely, PostgresDialect, type Transaction } from 'kysely'
import { Pool, types } from 'pg'
import { prepareStatements } from './prepared.ts'
import type { Schema } from './schema.ts'

export type Db = Kysely<Schema>
/** Either a pool or a transaction on it. */
export type Queryable = Kysely<Schema> | Transaction<Schema>
export type Tx = Transaction<Schema>

export interface Database {
  readonly url: string
  readonly db: Db
  readonly pool: Pool
  close(): Promise<void>
}

export interface DatabaseOptions {
  /** Most connections of this process. */
  connections?: number
}

/** Counts and sums come as int8. Ours stay far below 2^53, where a number is exact. */
types.setTypeParser(types.builtins.INT8, Number)

/**
 * Opens no connection until the first query, so it works before Postgres is up.
 * Takes the URL, or the settings that hold it.
 */
export function createDatabase(
  from: string | { readonly DATABASE_URL?: string | undefined },
  options: DatabaseOptions = {},
): Database {
  const url = typeof from === 'string' ? from : from.DATABASE_URL
  if (url === undefined) {
    throw new Error("DATABASE_URL is not set. 'npm start' brings a Postgres of its own and sets it for each part.")
  }
  const pool = new Pool({
    connectionString: url,
    max: options.connections ?? 10,
    application_name: 'ambient',
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 30_000,
    // A query that hangs must not hold a connection for ever. A migration that needs longer has to say so itself.
    statement_timeout: 30_000,
  })
  // The pool replaces broken connections by itself, and queries on them are rejected. Without a listener the event
  // would end the process: the pool's is for idle connections, the other for one that breaks between two queries.
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  prepareStatements(pool)
  const db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) })
  return { url, db, pool, close: () => db.destroy() }
}
