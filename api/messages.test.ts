import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { recordState } from '../store/states.ts'
import { startTestApi, type TestApi } from '../test/support/api.ts'
import { startTestPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { givenRun } from '../test/support/runs.ts'

let postgres: TestPostgres
let api: TestApi
beforeAll(async () => {
  postgres = await startTestPostgres()
  api = await startTestApi({ databaseUrl: await postgres.databaseUrl() })
})
afterAll(async () => {
  await api.close()
  await postgres.stop()
})

const post = (runId: string, what: string, body?: object) => api.call('POST', `/agent/runs/${runId}/${what}`, body)
const mail = (runId: string, kind: 'prompt' | 'answer' | 'cancel') =>
  api.db.selectFrom('mail').select('body').where('run_id', '=', runId).where('kind', '=', kind).execute()

const question = {
  questionId: 'agent-1:7',
  title: 'Run rm?',
  options: [
    { optionId: 'y', name: 'Yes', kind: 'allow_once' },
    { optionId: 'n', name: 'No', kind: 'reject_once' },
  ],
}

async function blockedRun() {
  const { runId } = await givenRun(api.db)
  await recordState(api.db, { runId, execution: 1, key: 'b', state: 'BLOCKED', question })
  return runId
}

test('a run is cancelled once, by either path, and not when it is over', async () => {
  const { runId } = await givenRun(api.db)
  expect(await post(runId, 'cancel')).toMatchObject({ status: 200, body: runId })
  expect(await api.call('POST', `/agent/tasks/${runId}/cancel`)).toMatchObject({ status: 200, body: runId })
  expect(await mail(runId, 'cancel')).toHaveLength(1)
  await recordState(api.db, { runId, execution: 1, key: 'end', state: 'CANCELLED' })
  expect(await post(runId, 'cancel')).toMatchObject({
    status: 400,
    body: { type: '/errors/invalid-request', detail: 'The run is over: CANCELLED.' },
  })
})

test('a follow-up is kept with its text and the way it is to be delivered', async () => {
  const { runId } = await givenRun(api.db)
  const queued = await post(runId, 'followups', { message: 'And then?' })
  expect(queued).toMatchObject({ status: 200, body: { run_id: runId, message_id: expect.any(String) } })
  await post(runId, 'followups', { message: 'Stop that', delivery: 'interrupt' })
  expect((await mail(runId, 'prompt')).map((row) => row.body)).toEqual([
    { text: 'Do it', delivery: 'queue' },
    { text: 'And then?', delivery: 'queue' },
    { text: 'Stop that', delivery: 'interrupt' },
  ])
  const text = await api.host('GET', `/runs/${runId}/messages/${queued.body.message_id}`)
  expect(text.body).toEqual({ message_id: queued.body.message_id, text: 'And then?' })
  expect(await api.host('GET', `/runs/${randomUUID()}/messages/${queued.body.message_id}`)).toMatchObject({
    status: 404,
  })
  expect(await post(runId, 'followups', { message: ' ' })).toMatchObject({ status: 400 })
  expect(await post(runId, 'followups', { message: 'Plan it', mode: 'plan' })).toMatchObject({
    status: 422,
    body: { detail: expect.stringContaining('mode') },
  })
})

test('a question is answered by its option or by a word, once', async () => {
  const runId = await blockedRun()
  expect(await post(runId, 'answers', {})).toMatchObject({ status: 400 })
  expect(await post(runId, 'answers', { option_id: 'maybe' })).toMatchObject({
    status: 400,
    body: { detail: 'option_id: must be allow, deny or one of: y (Yes), n (No)' },
  })
  expect(await post(runId, 'answers', { option_id: 'y', question_id: 'other' })).toMatchObject({ status: 404 })
  expect(await post(runId, 'answers', { option_id: 'allow' })).toMatchObject({
    status: 200,
    body: { question_id: 'agent-1:7', option_id: 'y' },
  })
  expect(await post(runId, 'answers', { option_id: 'n' })).toMatchObject({ status: 409, body: { retryable: false } })
  expect((await mail(runId, 'answer')).map((row) => row.body)).toEqual([{ questionId: 'agent-1:7', optionId: 'y' }])
})

test('of two people who answer at once, one is heard', async () => {
  const runId = await blockedRun()
  const replies = await Promise.all(['y', 'n'].map((option) => post(runId, 'answers', { option_id: option })))
  expect(replies.map((reply) => reply.status).sort()).toEqual([200, 409])
  expect(await mail(runId, 'answer')).toHaveLength(1)
})

test('a run that asks nothing takes no answer', async () => {
  const { runId } = await givenRun(api.db)
  expect(await post(runId, 'answers', { option_id: 'allow' })).toMatchObject({ status: 409 })
})
