import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { createDatabase, type Database } from './database.ts'

let postgres: TestPostgres
let database: Database
beforeAll(async () => {
  postgres = await startTestPostgres()
  database = createDatabase(await postgres.databaseUrl(), { connections: 1 })
})
afterAll(async () => {
  await database.close()
  await postgres.stop()
})

const find = (name: string) => database.db.selectFrom('hosts').select('id').where('id', '=', name)
const findAll = (name: string) => database.db.selectFrom('hosts').selectAll().where('id', '=', name)
const prepared = async () =>
  (await sql<{ statement: string }>`select statement from pg_prepared_statements`.execute(database.db)).rows.map(
    ({ statement }) => statement,
  )

test('a statement with parameters is prepared once, whatever its parameters are', async () => {
  for (const name of ['a', 'b', 'c']) await find(name).execute()
  expect((await prepared()).filter((statement) => statement === find('a').compile().sql)).toHaveLength(1)
})

test('a column that a migration adds breaks no statement of a connection that is open', async () => {
  const both = async () => {
    await find('a').execute()
    await findAll('a').execute()
    await sql`select * from hosts where id = ${'a'}`.execute(database.db)
    await sql`delete from hosts where id = ${'a'} returning *`.execute(database.db)
  }
  await both()
  await sql`alter table hosts add column added_meanwhile text`.execute(database.db)
  await both()
})

test('lists of any length do not fill a connection with statements', async () => {
  const { db } = database
  for (let length = 1; length <= 600; length++) {
    const names = Array.from({ length }, (_, number) => String(number))
    await db.selectFrom('hosts').select('id').where('id', 'in', names).execute()
  }
  expect((await prepared()).length).toBeLessThanOrEqual(500)
})
