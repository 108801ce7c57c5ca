import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { EnvironmentConfig } from '../../domain/environment.ts'
import { startTestPostgres, type TestPostgres } from '../../test/support/postgres.ts'
import { givenHost } from '../../test/support/runs.ts'
import { deleteEnvironment, insertEnvironment, replaceEnvironment } from '../builds/environments.ts'
import { createDatabase, type Database } from '../database.ts'
import { migrate } from '../migrate.ts'
import { newUid } from '../uid.ts'
import { askForDueReadings, type FoundSkill, recordReading, recordReadingFailure, tidyReadings } from './readings.ts'
import { knownSkills } from './skills.ts'

const TEAM = 'default'
const POOL = 'default'

let postgres: TestPostgres
let database: Database
let id: string
beforeAll(async () => {
  postgres = await startTestPostgres()
  database = createDatabase(await postgres.databaseUrl())
  await migrate(database.db)
  await givenHost(database.db, { id: 'host-1' })
})
afterAll(async () => {
  await database.close()
  await postgres.stop()
})

const configOf = (fields: object = {}) =>
  EnvironmentConfig.parse({ name: newUid(), repos: [{ url: 'https://github.com/you/app' }], prepare: false, ...fields })

beforeEach(async () => {
  const made = await database.db.transaction().execute((tx) => insertEnvironment(tx, TEAM, configOf(), POOL))
  id = made.uid
})

const skill = (name: string): FoundSkill => ({
  path: `skills/${name}/SKILL.md`,
  ...{ name, description: `For ${name}.`, problem: null, text: `${name} of ${id}`, files: [] },
})
const found = (...names: string[]) => [
  {
    url: 'https://github.com/you/app',
    owner: 'you',
    repo: 'app',
    revision: 'a1',
    failure: null,
    skills: names.map(skill),
  },
]

/** The reading that is asked for now, where one is due. */
async function due(): Promise<string | null> {
  await askForDueReadings(database.db, { pool: POOL, ageMinutes: 60 })
  const row = await database.db
    .selectFrom('skill_readings')
    .select('id')
    .where('environment_id', '=', id)
    .where('finished_at', 'is', null)
    .executeTakeFirst()
  return row?.id ?? null
}

async function read(...names: string[]): Promise<void> {
  await recordReading(database.db, (await due()) ?? '', found(...names))
}

/** All that has happened to it is so much longer ago. */
async function later(minutes: number): Promise<void> {
  const ago = sql`make_interval(mins => ${minutes}::integer)`
  await sql`update environments set updated_at = updated_at - ${ago} where id = ${id}`.execute(database.db)
  await sql`
    update skill_readings
    set created_at = created_at - ${ago}, finished_at = finished_at - ${ago}, dispatched_at = dispatched_at - ${ago}
    where environment_id = ${id}
  `.execute(database.db)
}

const texts = async () => {
  const rows = await database.db.selectFrom('skill_contents').select('text').execute()
  return rows.map(({ text }) => text).filter((text) => text.endsWith(id))
}

test('the skills of a new environment are read, and again when they have become old', async () => {
  await read('x')
  expect(await due()).toBeNull()
  await later(59)
  expect(await due()).toBeNull()
  await later(2)
  expect(await due()).not.toBeNull()
})

test('they are read again when the environment changes, and when it was built', async () => {
  await read('x')
  await later(1)
  await database.db
    .transaction()
    .execute((tx) =>
      replaceEnvironment(tx, { team: TEAM, id, pool: POOL }, (stored) => ({ ...stored, description: 'x' })),
    )
  await read('x')
  expect(await due()).toBeNull()
  await sql`
    insert into builds (id, environment_id, host_id, reason, force, state, config, finished_at)
    values (gen_random_uuid(), ${id}, 'host-1', 'manual', false, 'READY', '{}', now() + interval '1 second')
  `.execute(database.db)
  expect(await due()).not.toBeNull()
})

test('one that failed is tried again after ten minutes, and what was known stays known', async () => {
  await read('x')
  await later(61)
  await recordReadingFailure(database.db, (await due()) ?? '', 'The host does not answer.')
  expect((await knownSkills(database.db, TEAM)).filter(({ environmentId }) => environmentId === id)).toHaveLength(1)
  await later(9)
  expect(await due()).toBeNull()
  await later(2)
  expect(await due()).not.toBeNull()
})

test('one whose workflow is lost ends', async () => {
  await due()
  await sql`update skill_readings set dispatched_at = now() where environment_id = ${id}`.execute(database.db)
  await tidyReadings(database.db)
  expect(await due()).not.toBeNull()
  await later(31)
  await tidyReadings(database.db)
  const row = await database.db
    .selectFrom('skill_readings')
    .select('failure')
    .where('environment_id', '=', id)
    .executeTakeFirstOrThrow()
  expect(row.failure).toContain('has not answered')
})

test('what no environment has any more is not kept', async () => {
  await read('x', 'y')
  expect((await texts()).toSorted()).toEqual([`x of ${id}`, `y of ${id}`])
  await later(61)
  await read('y')
  expect(await texts()).toEqual([`y of ${id}`])
  await database.db.transaction().execute((tx) => deleteEnvironment(tx, TEAM, id))
  await tidyReadings(database.db)
  expect(await texts()).toEqual([])
})
