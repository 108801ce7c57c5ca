import { afterAll, beforeAll, expect, test } from 'vitest'
import type { NewEvent } from '../../domain/event.ts'
import { startOwnPostgres } from '../../test/support/postgres-cluster.ts'
import { executionDefaults, givenRun } from '../../test/support/runs.ts'
import { createDatabase, type Database } from '../database.ts'
import { createEventListener } from '../listener.ts'
import { FencedError } from '../locking.ts'
import { migrate } from '../migrate.ts'
import { appendEvents, journalPosition, readEvents, transcriptEnd } from './events.ts'
import { beginExecution } from './executions.ts'
import { insertMail, promptBody } from './mail.ts'
import { recordState } from './states.ts'

let postgres: Awaited<ReturnType<typeof startOwnPostgres>>
let database: Database
beforeAll(async () => {
  postgres = await startOwnPostgres()
  database = await postgres.database()
})
afterAll(() => postgres.stop())

const defaults = executionDefaults
const message = (line: number, text = `line ${line}`, part = 0): NewEvent => ({
  line,
  part,
  time: '2026-01-02T03:04:05.678Z',
  kind: 'message',
  data: { text },
})
const appended = (runId: string, events: NewEvent[], journal = 'agent-1', execution = 1) =>
  appendEvents(database.db, { runId, execution, journal, events, readTo: Math.max(0, ...events.map((e) => e.line)) })
const append = async (...args: Parameters<typeof appended>) => (await appended(...args)).line
const sequences = async (runId: string) => (await readEvents(database.db, runId, 0, 10_000)).map((e) => e.sequence)

test('migrations may be run by several processes at once, and again', async () => {
  const url = await postgres.databaseUrl()
  const databases = [createDatabase(url), createDatabase(url), createDatabase(url)]
  await databases[0]?.pool.query('drop schema public cascade; create schema public')
  const applied = await Promise.all(databases.map(({ db }) => migrate(db)))
  expect(applied.flat()).toEqual([
    '0001_runs',
    '0002_append_events',
    '0003_places',
    '0004_workers',
    '0005_checkpoints',
    '0006_events_by_kind',
    '0007_transcript_bytes',
    '0008_environments',
    '0009_checkpoint_history',
    '0010_egress',
    '0011_identities',
    '0012_audit_log',
    '0013_schedules',
    '0014_artifacts',
    '0015_outside',
    '0016_lists',
    '0017_secrets',
    '0018_models',
    '0019_money',
    '0020_git',
    '0021_configuration',
    '0022_mcp_servers',
    '0023_skills',
    '0024_loose_ends',
    '0025_given_values',
    '0026_runs_by_skill',
    '0027_team_limits',
  ])
  expect(await migrate((databases[0] as Database).db)).toEqual([])
  await Promise.all(databases.map((each) => each.close()))
})

test('writers that append at the same time get one sequence without holes', async () => {
  const { runId } = await givenRun(database.db)
  const writers = Array.from({ length: 8 }, async (_, writer) => {
    for (let line = 1; line <= 20; line++)
      await append(runId, [message(line), message(line, 'b', 1)], `journal-${writer}`)
  })
  await Promise.all(writers)
  // The first event is the run's own: it is queued.
  expect(await sequences(runId)).toEqual(Array.from({ length: 1 + 8 * 40 }, (_, index) => index + 1))
})

test('a batch sent again changes nothing, and one that overlaps adds only what is new', async () => {
  const { runId } = await givenRun(database.db)
  expect(await append(runId, [message(1), message(2)])).toBe(2)
  expect(await append(runId, [message(1, 'changed'), message(2)])).toBe(2)
  expect(await append(runId, [message(2), message(3), message(3), message(3, 'second part', 1)])).toBe(3)
  const events = await readEvents(database.db, runId, 1, 100)
  expect(events.map(({ sequence, data }) => [sequence, data.text])).toEqual([
    [2, 'line 1'],
    [3, 'line 2'],
    [4, 'line 3'],
    [5, 'second part'],
  ])
  expect(events[0]).toEqual({
    sequence: 2,
    time: '2026-01-02T03:04:05.678Z',
    kind: 'message',
    execution: 1,
    data: { text: 'line 1' },
  })
})

test('the size of a transcript is that of its events, each counted once', async () => {
  const { runId } = await givenRun(database.db)
  const { transcriptBytes: before } = await appended(runId, [])
  const text = 'x'.repeat(10_000)
  const { transcriptBytes: one } = await appended(runId, [message(1, text)])
  expect(one - before).toBeGreaterThan(10_000)
  expect(one - before).toBeLessThan(10_100)
  const { transcriptBytes: two } = await appended(runId, [message(1, text), message(2, text)])
  expect(two - one).toBe(one - before)
  await recordState(database.db, { runId, execution: 1, key: 'x', state: 'INPROGRESS', message: text })
  expect((await appended(runId, [])).transcriptBytes - two).toBeGreaterThan(10_000)
})

test('a journal is read up to the furthest position ever told', async () => {
  const { runId } = await givenRun(database.db)
  expect(await journalPosition(database.db, runId, 'agent-1')).toBe(0)
  const read = (readTo: number) =>
    appendEvents(database.db, { runId, execution: 1, journal: 'agent-1', events: [], readTo }).then(({ line }) => line)
  expect(await read(7)).toBe(7)
  expect(await read(3)).toBe(7)
  expect(await journalPosition(database.db, runId, 'agent-1')).toBe(7)
})

test('an execution that is over can no longer write', async () => {
  const { runId, messageId } = await givenRun(database.db)
  await beginExecution(database.db, { runId, key: 'first', mail: [messageId] }, defaults)
  await append(runId, [message(1)])
  const followUp = await database.db
    .transaction()
    .execute((tx) => insertMail(tx, runId, 'prompt', promptBody('more', 'queue')))
  await beginExecution(database.db, { runId, key: 'second', mail: [followUp] }, defaults)
  await expect(append(runId, [message(2)])).rejects.toThrow(FencedError)
  expect(await append(runId, [message(2)], 'agent-2', 2)).toBe(2)
})

test('what jsonb cannot hold is replaced, and the rest of the batch is stored', async () => {
  const { runId } = await givenRun(database.db)
  const texts = ['nul \0 here', 'half \ud83d pair', 'literal \\u0000 stays', 'whole \u{1f600} pair']
  await append(
    runId,
    texts.map((text, index) => message(index + 1, text)),
  )
  const events = await readEvents(database.db, runId, 1, 10)
  expect(events.map((event) => event.data.text)).toEqual([
    'nul \uFFFD here',
    'half \uFFFD pair',
    'literal \\u0000 stays',
    'whole \u{1f600} pair',
  ])
})

test('the transcript of a run that ended is not over while a message waits to begin another execution', async () => {
  const { runId, messageId } = await givenRun(database.db)
  const begin = (key: string, mail: string) => beginExecution(database.db, { runId, key, mail: [mail] }, defaults)
  const isOver = async () => (await transcriptEnd(database.db, runId))?.isOver
  await begin('a', messageId)
  await database.db.updateTable('mail').set({ accepted_at: new Date() }).where('id', '=', messageId).execute()
  expect(await isOver()).toBe(false)
  await recordState(database.db, { runId, execution: 1, key: '1/1', state: 'SUCCEEDED' })
  expect(await isOver()).toBe(true)
  await database.db.transaction().execute((tx) => insertMail(tx, runId, 'prompt', promptBody('more', 'queue')))
  expect(await isOver()).toBe(false)
})

test('a listener hears of new events at once, and again after the database was away', async () => {
  const { runId } = await givenRun(database.db)
  const errors: Error[] = []
  const listener = createEventListener({ url: database.url, onError: (error) => errors.push(error) })
  let heard = Promise.withResolvers<void>()
  listener.subscribe(runId, () => heard.resolve())
  // The first connect calls everyone too.
  await heard.promise
  for (let line = 1; line <= 2; line++) {
    heard = Promise.withResolvers()
    await append(runId, [message(line)])
    await heard.promise
    if (line === 2) break
    heard = Promise.withResolvers()
    await postgres.restart()
    await heard.promise
  }
  expect(errors.length).toBeGreaterThan(0)
  await listener.close()
})
