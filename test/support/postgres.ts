// Databases for tests, in the one Postgres of all test files: migrated, and nobody else in them.
import { randomBytes } from 'node:crypto'
import { Client } from 'pg'
import { inject } from 'vitest'
import { createDatabase, type Database } from '../../store/database.ts'

/** The database with all tables that each new one is a copy of. */
export const TEMPLATE = 'migrated'

export interface TestPostgres {
  /** The URL of a new database with all tables, and nobody else in it. */
  databaseUrl(): Promise<string>
  /** The same, opened. Closed at the end. */
  database(): Promise<Database>
  /** Removes the databases. */
  stop(): Promise<void>
}

/** For a test that is to kill the server: {@link startOwnPostgres}. */
export async function startTestPostgres(): Promise<TestPostgres> {
  const answer = await fetch(inject('postgres'))
  if (!answer.ok) throw new Error(await answer.text())
  return createDatabases(await answer.text())
}

/** In the cluster at this URL. */
export function createDatabases(url: string): TestPostgres {
  const names: string[] = []
  const opened: Database[] = []

  async function administer(statements: readonly string[]): Promise<void> {
    const client = new Client({ connectionString: `${url}/postgres` })
    await client.connect()
    for (const statement of statements) await client.query(statement)
    await client.end()
  }

  async function databaseUrl(): Promise<string> {
    const name = `test_${randomBytes(8).toString('hex')}`
    await administer([`create database ${name} template ${TEMPLATE}`])
    names.push(name)
    return `${url}/${name}`
  }

  return {
    databaseUrl,
    async database() {
      const database = createDatabase(await databaseUrl())
      opened.push(database)
      return database
    },
    async stop() {
      await Promise.all(opened.map((database) => database.close()))
      await administer(names.map((name) => `drop database ${name} with (force)`))
    },
  }
}
