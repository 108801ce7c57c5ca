import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { givenRun } from '../test/support/runs.ts'
import type { Database } from './database.ts'
import { FencedError, lockRun, RunNotFoundError } from './locking.ts'
import { bindCredential, findCredential, issueCredentials } from './runs/credentials.ts'

let postgres: TestPostgres
let database: Database
beforeAll(async () => {
  postgres = await startTestPostgres()
  database = await postgres.database()
})
afterAll(() => postgres.stop())

const isWaiting = async () => {
  const { rows } = await sql`select from pg_stat_activity where wait_event_type = 'Lock'`.execute(database.db)
  return rows.length > 0
}

test('what an execution writes in one statement waits for the run, and is refused when a newer one has begun meanwhile', async () => {
  const { db } = database
  const { runId } = await givenRun(db)
  const ref = { runId, execution: 1 }
  const { token } = await issueCredentials(db, ref, { kind: 'nowhere' })
  const late = await db.transaction().execute(async (tx) => {
    await lockRun(tx, runId)
    const late = [issueCredentials(db, ref), bindCredential(db, ref, { kind: 'first' })]
    const ended = Promise.allSettled(late)
    await expect.poll(isWaiting).toBe(true)
    await tx.updateTable('runs').set({ execution: 2 }).where('id', '=', runId).execute()
    return { ended }
  })
  for (const { status, reason } of (await late.ended) as PromiseRejectedResult[]) {
    expect(status).toBe('rejected')
    expect(reason).toBeInstanceOf(FencedError)
  }
  expect(await findCredential(db, token)).toMatchObject({ binding: { kind: 'nowhere' } })
  expect(await db.selectFrom('tool_credentials').selectAll().where('run_id', '=', runId).execute()).toHaveLength(1)
})

test('nothing is written for a run that is not there', async () => {
  const ref = { runId: '00000000-0000-4000-8000-000000000000', execution: 1 }
  await expect(issueCredentials(database.db, ref)).rejects.toThrow(RunNotFoundError)
})
