import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { auditHead, listAuditEntries, type Note, note, verifyAuditLog } from './audit.ts'
import type { Db } from './database.ts'

let postgres: TestPostgres
let db: Db
beforeAll(async () => {
  postgres = await startTestPostgres()
})
afterAll(() => postgres.stop())
beforeEach(async () => {
  db = (await postgres.database()).db
})

const SAM = { type: 'user', uid: 'sam', name: 'Sam', team: 'default', address: '192.0.2.7', userAgent: 'x' } as const

const write = (action: string, more: Partial<Note> = {}) =>
  db.transaction().execute((tx) => note(tx, { caller: SAM, action, thing: { type: 'run', uid: 'r1' }, ...more }))
const all = () => listAuditEntries(db, { team: null, actions: [] }, { after: null, limit: 500, newestFirst: false })

test('an entry says who did what, when, from where, to which thing', async () => {
  await write('runs.cancel', { caller: { ...SAM, key: { uid: 'key1' } }, detail: { cascade: true } })
  expect(await all()).toEqual([
    {
      position: 1,
      occurred_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      action: 'runs.cancel',
      actor: { type: 'user', uid: 'sam', name: 'Sam', key_uid: 'key1' },
      address: '192.0.2.7',
      user_agent: 'x',
      team: 'default',
      thing: { type: 'run', uid: 'r1' },
      detail: { cascade: true },
      hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    },
  ])
})

test('what is not done is not in it', async () => {
  const failing = db.transaction().execute(async (tx) => {
    await note(tx, { caller: SAM, action: 'runs.cancel' })
    throw new Error('not done')
  })
  await expect(failing).rejects.toThrow('not done')
  expect(await all()).toEqual([])
})

test.each([
  ['update audit_log set actor_uid = $$somebody$$'],
  ['update audit_log set actor_uid = $$somebody$$ where false'],
  ['delete from audit_log where position = 1'],
  ['truncate audit_log'],
  ['set local session_replication_role = replica; delete from audit_log'],
])('nobody edits it: %s is refused', async (statement) => {
  await write('runs.cancel')
  const edit = db.transaction().execute((tx) => sql.raw(statement).execute(tx))
  await expect(edit).rejects.toThrow('The audit log is only ever added to')
  expect(await all()).toHaveLength(1)
})

test('entries that are written at once form one chain without holes, and no two wait for each other', async () => {
  // Each notes first and locks then, in opposite orders: only a lock taken at the commit lets both through.
  await sql`create table things (id integer primary key, n integer not null default 0)`.execute(db)
  await sql`insert into things (id) values (0), (1)`.execute(db)
  const work = (index: number) =>
    db.transaction().execute(async (tx) => {
      await note(tx, { caller: SAM, action: `work.${index}` })
      await sql`update things set n = n + 1 where id = ${index % 2}`.execute(tx)
      await note(tx, { caller: SAM, action: `work.${index}.again` })
    })
  await Promise.all(Array.from({ length: 20 }, (_, index) => work(index)))
  expect((await all()).map(({ position }) => position)).toEqual(Array.from({ length: 40 }, (_, index) => index + 1))
  expect(await verifyAuditLog(db, null)).toEqual({
    intact: true,
    head: await auditHead(db),
    broken_at: null,
    known: null,
  })
})

/** As somebody may who owns the database: past the triggers. */
const tamper = async (statement: string) => {
  await sql`alter table audit_log disable trigger all`.execute(db)
  await sql.raw(statement).execute(db)
  await sql`alter table audit_log enable always trigger audit_refuse`.execute(db)
  await sql`alter table audit_log enable always trigger audit_seal`.execute(db)
}

test.each([
  ['an entry that was changed', "update audit_log set actor_uid = 'eve' where position = 2", 2],
  ['a detail that was changed', `update audit_log set detail = '{"cascade": false}' where position = 2`, 2],
  ['an entry that was taken out', 'delete from audit_log where position = 2', 3],
  ['a log whose beginning was taken out', 'delete from audit_log where position < 3', 3],
  [
    'two entries that were exchanged',
    'update audit_log set position = case position when 2 then -3 when 3 then -2 end where position in (2, 3); update audit_log set position = -position where position < 0',
    2,
  ],
])('%s is found out', async (_what, statement, brokenAt) => {
  for (const action of ['one', 'two', 'three', 'four']) await write(action, { detail: { cascade: true } })
  await tamper(statement)
  expect(await verifyAuditLog(db, null)).toMatchObject({ intact: false, broken_at: brokenAt })
})

test('a log that was cut off at its end is found out by an entry that was noted elsewhere', async () => {
  for (const action of ['one', 'two', 'three']) await write(action)
  const known = await auditHead(db)
  await write('four')
  expect(await verifyAuditLog(db, known)).toMatchObject({ intact: true, known: 'found', head: { position: 4 } })
  await tamper('delete from audit_log where position > 2')
  expect(await verifyAuditLog(db, null)).toMatchObject({ intact: true })
  expect(await verifyAuditLog(db, known)).toMatchObject({ intact: false, known: 'missing', broken_at: 3 })
})
