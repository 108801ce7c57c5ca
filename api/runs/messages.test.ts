import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { appendEvents } from '../../store/runs/events.ts'
import { acceptMail } from '../../store/runs/mail.ts'
import { recordState } from '../../store/runs/states.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { givenRun } from '../../test/support/runs.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

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
  const { runId, messageId } = await givenRun(api.db)
  await acceptMail(api.db, { runId, key: 'w', ids: [messageId] })
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
  await api.hold(runId)
  const text = await api.host('GET', `/runs/${runId}/messages/${queued.body.message_id}`)
  expect(text.body).toEqual({ message_id: queued.body.message_id, text: 'And then?', decision: null })
  expect(await api.host('GET', `/runs/${randomUUID()}/messages/${queued.body.message_id}`)).toMatchObject({
    status: 404,
  })
  expect(await post(runId, 'followups', { message: ' ' })).toMatchObject({ status: 400 })
  expect(await post(runId, 'followups', { message: 'Plan it', mode: 'planned' })).toMatchObject({
    status: 400,
    body: { detail: expect.stringContaining('mode') },
  })
})

test('a run that has ended reads as QUEUED from the moment a follow-up is accepted, everywhere it is read', async () => {
  const { runId, messageId } = await givenRun(api.db)
  await acceptMail(api.db, { runId, key: 'w', ids: [messageId] })
  const failure = { code: 'command_failed', phase: 'turn', message: 'It ended with 1.' } as const
  await recordState(api.db, { runId, execution: 1, key: 'end', state: 'FAILED', failure })
  const read = async () => (await api.call('GET', `/agent/runs/${runId}`)).body
  const listed = async (state: string) =>
    (await api.call('GET', `/agent/runs?state=${state}&limit=500`)).body.runs.map(
      (run: { run_id: string }) => run.run_id,
    )
  expect(await read()).toMatchObject({
    state: 'FAILED',
    failure: { code: 'command_failed' },
    // No code of Oz's set says that a command failed.
    status_message: { message: 'It ended with 1.', retryable: false },
  })
  expect((await read()).status_message).not.toHaveProperty('error_code')

  const sent = await post(runId, 'followups', { message: 'Again' })
  expect(sent.body).toMatchObject({ state: 'QUEUED' })
  expect(await read()).toMatchObject({ state: 'QUEUED', failure: null, status_message: null, finished_at: null })
  expect(await listed('QUEUED')).toContain(runId)
  expect(await listed('FAILED')).not.toContain(runId)
  // What waits can be called off.
  expect(await post(runId, 'cancel')).toMatchObject({ status: 200 })

  // The workflow has dealt with both.
  await acceptMail(api.db, { runId, key: 'w', ids: [sent.body.message_id] })
  await recordState(api.db, { runId, execution: 1, key: 'end2', state: 'CANCELLED' })
  expect(await read()).toMatchObject({ state: 'CANCELLED' })
  expect(await post(runId, 'cancel')).toMatchObject({ status: 400 })
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

test('a question is served whole, with what the agent wants to do, though the workflow has its beginning only', async () => {
  const { runId } = await givenRun(api.db)
  const command = `set -e\n${'echo more\n'.repeat(200)}rm -rf build`
  const toolCall = { toolCallId: 't', kind: 'execute', title: command, rawInput: { command } }
  const asked = (line: number, id: string, title: string) => ({
    line,
    part: 1,
    time: new Date().toISOString(),
    kind: 'question' as const,
    data: { question_id: id, title, tool_call: toolCall, options: [] },
  })
  const events = [asked(1, 'agent-1:6', 'an older one'), asked(2, 'agent-1:7', command)]
  await appendEvents(api.db, { runId, execution: 1, journal: 'agent-1', events, readTo: 2 })
  const cut = { ...question, title: `${command.slice(0, 299)}…` }
  await recordState(api.db, { runId, execution: 1, key: 'b', state: 'BLOCKED', question: cut })
  const { body } = await api.call('GET', `/agent/runs/${runId}`)
  expect(body.questions).toEqual([
    {
      question_id: 'agent-1:7',
      title: command,
      tool_call: toolCall,
      options: question.options.map(({ optionId, ...option }) => ({ option_id: optionId, ...option })),
    },
  ])
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
