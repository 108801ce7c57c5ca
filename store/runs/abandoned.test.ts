import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { startTestPostgres, type TestPostgres } from '../../test/support/postgres.ts'
import { givenRun } from '../../test/support/runs.ts'
import type { Database } from '../database.ts'
import type { RunsTable } from '../schema.ts'
import { quietRuns, seeToAbandoned } from './abandoned.ts'
import { insertMail, promptBody } from './mail.ts'

let postgres: TestPostgres
let database: Database
beforeAll(async () => {
  postgres = await startTestPostgres()
})
afterAll(() => postgres.stop())
beforeEach(async () => {
  database = await postgres.database()
})

const lost = { terminated: false, reason: 'It is lost.' }
const terminated = { terminated: true, reason: 'Somebody wanted it so.' }

/** A run that has been like this for a while, and whose workflow was given all its mail. */
async function given(state: RunsTable['state'], { isRead }: { isRead: boolean }): Promise<string> {
  const { runId } = await givenRun(database.db)
  const longAgo = new Date(Date.now() - 60_000)
  await database.db.updateTable('runs').set({ state, updated_at: longAgo }).where('id', '=', runId).execute()
  await database.db
    .updateTable('mail')
    .set({ dispatched_at: longAgo, ...(isRead ? { accepted_at: longAgo } : {}) })
    .where('run_id', '=', runId)
    .execute()
  return runId
}

const undelivered = (runId: string) =>
  database.db
    .selectFrom('mail')
    .select('kind')
    .where('run_id', '=', runId)
    .where('dispatched_at', 'is', null)
    .execute()
    .then((rows) => rows.map(({ kind }) => kind))

test('those that should have a workflow are looked for, by pages, once nothing of them is on its way', async () => {
  const found = [
    await given('QUEUED', { isRead: false }),
    await given('INPROGRESS', { isRead: true }),
    await given('BLOCKED', { isRead: true }),
    await given('SUCCEEDED', { isRead: false }),
  ].toSorted()
  await given('SUCCEEDED', { isRead: true })
  await givenRun(database.db)
  const onItsWay = await given('QUEUED', { isRead: false })
  await database.db.transaction().execute((tx) => insertMail(tx, onItsWay, 'prompt', promptBody('More', 'queue')))

  const first = await quietRuns(database.db, { after: null, limit: 3 })
  expect(first).toEqual(found.slice(0, 3))
  expect(await quietRuns(database.db, { after: first[2] ?? null, limit: 3 })).toEqual(found.slice(3))
})

test.each([
  ['QUEUED', false, lost, 'begins anew', ['prompt']],
  ['SUCCEEDED', false, lost, 'begins anew', ['prompt']],
  ['SUCCEEDED', false, terminated, 'begins anew', ['prompt']],
  ['QUEUED', false, terminated, 'is cancelled', ['cancel']],
  ['INPROGRESS', true, lost, 'is cancelled', ['cancel']],
  // What came after the message in hand is not worked on as if that had been done.
  ['INPROGRESS', false, lost, 'is cancelled', ['cancel']],
  ['BLOCKED', true, terminated, 'is cancelled', ['cancel']],
  ['FAILED', true, lost, 'is over', []],
] as const)('one that is %s, its message read: %s, with %j, %s', async (state, isRead, end, outcome, mail) => {
  const runId = await given(state, { isRead })
  expect(await seeToAbandoned(database.db, runId, end)).toBe(outcome)
  expect(await undelivered(runId)).toEqual(mail)
  // Asked again before anything has come of it, nothing more is done.
  await seeToAbandoned(database.db, runId, end)
  expect(await undelivered(runId)).toEqual(mail)
})

test('one to which a message comes while it is looked at is left alone', async () => {
  const runId = await given('INPROGRESS', { isRead: true })
  await database.db.transaction().execute((tx) => insertMail(tx, runId, 'prompt', promptBody('More', 'queue')))
  await database.db.updateTable('runs').set({ updated_at: new Date() }).where('id', '=', runId).execute()
  expect(await seeToAbandoned(database.db, runId, lost)).toBe('moves')
  expect(await undelivered(runId)).toEqual(['prompt'])
})
