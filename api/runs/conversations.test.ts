import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConversationResponse } from '../../domain/conversation.ts'
import type { EventKind } from '../../domain/event.ts'
import { appendEvents } from '../../store/runs/events.ts'
import { messageText } from '../../store/runs/mail.ts'
import { recordState } from '../../store/runs/states.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { givenRun } from '../../test/support/runs.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi({ env: { ANTHROPIC_API_KEY: 'k', AMBIENT_MODEL: 'house-model' } })
})
afterAll(() => api.close())

const time = '2026-05-01T10:00:00.000Z'
const ASKED = '0198c0de-7a11-7000-8000-000000000001'

/** A run whose transcript has these events. */
async function runWith(...events: [kind: EventKind, data: Record<string, unknown>][]): Promise<string> {
  const { runId } = await givenRun(api.db)
  for (let from = 0; from < events.length; from += 500) {
    const part = events.slice(from, from + 500)
    await appendEvents(api.db, {
      runId,
      execution: 1,
      journal: 'agent-1',
      events: part.map(([kind, data], at) => ({ line: from + at + 1, part: 0, time, kind, data })),
      readTo: from + part.length,
    })
  }
  return runId
}

const conversation = async (path: string) => {
  const { status, body } = await api.call('GET', `/agent/${path}`)
  expect(status).toBe(200)
  return ConversationResponse.parse(body)
}

describe('a conversation', () => {
  test('has a step for each message, with what was said, done and asked', async () => {
    const runId = await runWith(
      ['setup', { step: 'setup-1', command: 'npm ci' }],
      ['setup', { step: 'setup-1', stream: 'stdout', text: 'added 3 packages' }],
      ['prompt', { message_id: ASKED, text: 'Fix the test\nplease' }],
      ['thought', { text: 'It may ' }],
      ['thought', { text: 'be sorting.' }],
      ['message', { text: 'I look ', message_id: 'a' }],
      ['message', { text: 'at it.', message_id: 'a' }],
      ['message', { text: 'Now.', message_id: 'b' }],
      ['tool_call', { toolCallId: 't1', title: 'npm test', kind: 'execute', status: 'pending' }],
      ['tool_update', { toolCallId: 't1', rawInput: { command: 'npm test' }, status: 'in_progress' }],
      [
        'tool_update',
        {
          toolCallId: 't1',
          status: 'completed',
          content: [{ type: 'content', content: { type: 'text', text: '1 failed' } }],
        },
      ],
      ['tool_call', { toolCallId: 't2', title: 'Edit a.ts', kind: 'edit', status: 'pending' }],
      [
        'question',
        {
          question_id: 'q1',
          title: 'Edit a.ts?',
          tool_call: { toolCallId: 't2' },
          options: [{ option_id: 'no', name: 'No', kind: 'reject_once' }],
        },
      ],
      ['answer', { question_id: 'q1', option_id: 'no', by: 'person' }],
      ['tool_update', { toolCallId: 't2', status: 'failed' }],
      ['plan', { entries: [{ content: 'Sort', status: 'pending' }] }],
      ['usage', { used: 5 }],
      ['turn_end', { stop_reason: 'end_turn' }],
      ['prompt', { message_id: '0198c0de-7a11-7000-8000-000000000002', text: 'And now?' }],
      ['tool_call', { toolCallId: 't3', title: 'Read b.ts', kind: 'read', rawInput: { path: 'b.ts' } }],
    )
    const { conversation_id, steps } = await conversation(`runs/${runId}/conversation`)
    expect(conversation_id).toBe(runId)
    expect(await conversation(`conversations/${runId}`)).toEqual({ conversation_id, request_usage: null, steps })
    const [setup, first, second] = steps
    expect(steps).toHaveLength(3)
    expect(setup?.messages.at(-1)).toMatchObject({
      role: 'system',
      content: [{ type: 'text', text: '$ npm ci\nadded 3 packages\n' }],
    })
    expect(first).toMatchObject({
      id: ASKED,
      description: 'Fix the test',
      started_at: time,
      completed_at: time,
      steps: [],
    })
    expect(first?.messages.map(({ role, content }) => [role, content[0]])).toEqual([
      ['user', { type: 'text', text: 'Fix the test\nplease' }],
      ['assistant', { type: 'event', name: 'thought', data: { text: 'It may be sorting.' } }],
      ['assistant', { type: 'text', text: 'I look at it.' }],
      ['assistant', { type: 'text', text: 'Now.' }],
      [
        'assistant',
        { type: 'action', id: 't1', category: 'command', name: 'npm test', input: { command: 'npm test' } },
      ],
      [
        'tool',
        {
          type: 'action_result',
          action_id: 't1',
          category: 'command',
          name: 'npm test',
          state: 'completed',
          output: '1 failed',
        },
      ],
      ['assistant', { type: 'event', name: 'question', data: expect.objectContaining({ question_id: 'q1' }) }],
      ['user', { type: 'event', name: 'answer', data: expect.objectContaining({ option_id: 'no' }) }],
      ['assistant', { type: 'action', id: 't2', category: 'files', name: 'Edit a.ts', input: {} }],
      [
        'tool',
        { type: 'action_result', action_id: 't2', category: 'files', name: 'Edit a.ts', state: 'denied', output: '' },
      ],
      ['assistant', { type: 'event', name: 'plan', data: { entries: [{ content: 'Sort', status: 'pending' }] } }],
    ])
    // It is going on.
    expect(second).not.toHaveProperty('completed_at')
    expect(second?.messages.at(-1)?.content).toMatchObject([
      { type: 'action_result', action_id: 't3', state: 'running' },
    ])
  })

  test('of a command is its output', async () => {
    const runId = await runWith(
      ['output', { stream: 'stdout', text: 'one' }],
      ['output', { stream: 'stdout', text: 'two' }],
    )
    const { steps } = await conversation(`runs/${runId}/conversation`)
    expect(steps[0]?.messages).toMatchObject([{ role: 'assistant', content: [{ type: 'text', text: 'one\ntwo\n' }] }])
  })

  test('is read whole, however long', async () => {
    const lines = Array.from(
      { length: 1_201 },
      (_, at) => ['message', { text: `line ${at}\n`, message_id: `${at % 7}` }] as const,
    )
    const runId = await runWith(
      ['prompt', { message_id: ASKED, text: 'Talk' }],
      ...lines.map(([kind, data]): [EventKind, typeof data] => [kind, data]),
    )
    const { steps } = await conversation(`runs/${runId}/conversation`)
    const said = steps.flatMap(({ messages }) => messages.slice(1)).flatMap(({ content }) => content)
    expect(said).toHaveLength(1_201)
    expect(said.at(-1)).toEqual({ type: 'text', text: 'line 1200\n' })
  })

  test('that nobody had is not there', async () => {
    expect(await api.call('GET', `/agent/conversations/${ASKED}`)).toMatchObject({ status: 404 })
    expect(await api.call('GET', `/agent/runs/${ASKED}/conversation`)).toMatchObject({ status: 404 })
  })
})

test('a transcript is a link that needs no key: all events, one a line', async () => {
  const runId = await runWith(['message', { text: 'Hello' }])
  const answer = await fetch(`${api.url}/api/v1/agent/runs/${runId}/transcript`, {
    headers: { authorization: `Bearer ${api.key}` },
    redirect: 'manual',
  })
  expect(answer.status).toBe(302)
  const link = answer.headers.get('location') ?? ''
  const file = await fetch(link)
  expect(file.headers.get('content-type')).toContain('application/x-ndjson')
  const events = (await file.text())
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(events.map(({ kind }) => kind)).toEqual(['state', 'message'])
  expect(events[1]).toMatchObject({ run_id: runId, sequence: 2, data: { text: 'Hello' } })
  const other = (await givenRun(api.db)).runId
  expect((await fetch(link.replace(runId, other))).status).toBe(403)
  expect((await fetch(link.replace(/expires=\d+/, 'expires=1'))).status).toBe(403)
})

describe('a conversation that goes on in a new run', () => {
  const goOn = (conversationId: string, body: object = {}) =>
    api.call('POST', '/agent/runs', { conversation_id: conversationId, ...body })

  async function endedRun(): Promise<string> {
    const { runId } = await givenRun(api.db, { agent: 'codex', prompt: 'First', metadata: { ticket: '7' } })
    await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '=', runId).execute()
    await recordState(api.db, { runId, execution: 1, key: 'end', state: 'SUCCEEDED' })
    return runId
  }
  async function checkpoint(runId: string): Promise<void> {
    await api.db
      .insertInto('checkpoints')
      .values({ id: crypto.randomUUID(), run_id: runId, execution: 1, number: 1, completed_at: new Date() })
      .execute()
    await api.db.updateTable('runs').set({ checkpoints: 1 }).where('id', '=', runId).execute()
  }

  test('begins with the last checkpoint of its last run, and belongs to it', async () => {
    const first = await endedRun()
    await checkpoint(first)
    const { status, body } = await goOn(first)
    expect(status).toBe(200)
    const { body: run } = await api.call('GET', `/agent/runs/${body.run_id}`)
    expect(run).toMatchObject({
      conversation_id: first,
      forked_from: { run_id: first, checkpoint: 1, session: 'continue' },
      metadata: { ticket: '7' },
      agent_config: { harness: { type: 'codex' } },
      prompt: expect.stringContaining('Go on'),
    })
    // It has not ended: a second one would part the conversation in two.
    expect(await goOn(first, { prompt: 'More' })).toMatchObject({
      status: 409,
      body: { detail: expect.stringContaining('follow-up') },
    })
    await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '=', body.run_id).execute()
    await recordState(api.db, { runId: body.run_id, execution: 1, key: 'end', state: 'FAILED' })
    // It never came to a checkpoint of its own.
    const again = await goOn(first, { prompt: 'More' })
    const third = (await api.call('GET', `/agent/runs/${again.body.run_id}`)).body
    expect(third).toMatchObject({ prompt: 'More', conversation_id: first, forked_from: { run_id: first } })
    await appendEvents(api.db, {
      runId: third.run_id,
      execution: 1,
      journal: 'agent-1',
      events: [{ line: 1, part: 0, time, kind: 'message', data: { text: 'Later' } }],
      readTo: 1,
    })
    const { steps } = await conversation(`conversations/${first}`)
    expect(steps.map(({ run_id }) => run_id)).toEqual([third.run_id])
    // Whoever is in several teams asks, as a rule, with another one in mind.
    const { body: team } = await api.call('POST', '/agent/teams', { name: 'Other' })
    await api.db.updateTable('runs').set({ team: team.uid }).where('conversation_id', '=', first).execute()
    await api.db.updateTable('runs').set({ team: team.uid }).where('id', '=', first).execute()
    expect((await conversation(`conversations/${first}`)).steps).toEqual(steps)
  })

  test('goes on in one run, however many ask at once', async () => {
    const first = await endedRun()
    await checkpoint(first)
    const answers = await Promise.all([1, 2, 3].map((number) => goOn(first, { prompt: `More ${number}` })))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409])
  })

  test('goes on in a follow-up or in a new run, and never in both', async () => {
    for (let round = 0; round < 5; round += 1) {
      const first = await endedRun()
      await checkpoint(first)
      const [followUp, run] = await Promise.all([
        api.call('POST', `/agent/runs/${first}/followups`, { message: 'More' }),
        goOn(first, { prompt: 'More' }),
      ])
      expect([followUp.status, run.status].sort()).toEqual([200, 409])
    }
  })

  test('goes on where it is, as long as that is not over', async () => {
    const first = await endedRun()
    await checkpoint(first)
    const { body } = await goOn(first)
    const say = (message: string) => api.call('POST', `/agent/runs/${first}/followups`, { message })
    expect(await say('More')).toMatchObject({ status: 409, body: { detail: expect.stringContaining(body.run_id) } })
    await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '=', body.run_id).execute()
    await recordState(api.db, { runId: body.run_id, execution: 1, key: 'end', state: 'SUCCEEDED' })
    expect((await say('More')).status).toBe(200)
    // And the other way round.
    expect(await goOn(first)).toMatchObject({ status: 409, body: { detail: expect.stringContaining(first) } })
  })

  test('takes a follow-up without a message where what was said is kept', async () => {
    const first = await endedRun()
    const say = (message?: string) => api.call('POST', `/agent/runs/${first}/followups`, { message })
    expect(await say()).toMatchObject({ status: 400, body: { detail: expect.stringContaining('nothing is kept') } })
    await checkpoint(first)
    const { status, body } = await say(' ')
    expect({ status, state: body.state }).toEqual({ status: 200, state: 'QUEUED' })
    expect(await messageText(api.db, first, body.message_id)).toMatchObject({ text: 'Go on with what you were doing.' })
    expect(await say()).toMatchObject({ status: 400, body: { detail: expect.stringContaining('going on') } })
  })

  test('is refused where there is none, or nothing to go on from', async () => {
    expect(await goOn(ASKED)).toMatchObject({
      status: 400,
      body: { detail: expect.stringContaining('conversation_id') },
    })
    expect(await goOn(await endedRun())).toMatchObject({ status: 409 })
    const first = await endedRun()
    expect(await goOn(first, { fork_from: { run_id: first } })).toMatchObject({ status: 400 })
  })
})

test('the mode of a message reaches the host beside its text', async () => {
  const { status, body } = await api.call('POST', '/agent/runs', { prompt: 'Rework it', mode: 'plan' })
  expect({ status, body }).toMatchObject({ status: 200 })
  expect((await api.call('GET', `/agent/runs/${body.run_id}`)).body.mode).toBe('plan')
  const more = await api.call('POST', `/agent/runs/${body.run_id}/followups`, {
    message: 'Split it',
    mode: 'orchestrate',
  })
  const mail = await api.db
    .selectFrom('mail')
    .select('id')
    .where('run_id', '=', body.run_id)
    .orderBy('position')
    .execute()
  const texts = await Promise.all(mail.map(({ id }) => messageText(api.db, body.run_id, id)))
  expect(texts).toMatchObject([
    { text: 'Rework it', mode: 'plan' },
    { text: 'Split it', mode: 'orchestrate', message_id: more.body.message_id },
  ])
  const command = { prompt: 'x', mode: 'plan', config: { harness: { type: 'command', command: ['true'] } } }
  expect(await api.call('POST', '/agent/runs', command)).toMatchObject({ status: 422 })
})

test('scores are kept one for each scorer, and those that do not fit are told', async () => {
  const { runId } = await givenRun(api.db)
  const score = (scores: unknown[]) => api.call('POST', `/agent/runs/${runId}/scores`, { scores })
  expect(await score([{ scorer: 'tests', value: 0.5 }])).toMatchObject({ status: 200, body: { errors: [] } })
  const partly = await score([
    { scorer: 'tests', value: 1, passed: true },
    { scorer: 'style', value: 'good' },
  ])
  expect(partly).toMatchObject({
    status: 206,
    body: {
      scores: [{ scorer: 'tests', value: 1 }],
      errors: [{ index: 1, message: expect.stringContaining('value') }],
    },
  })
  expect(await score([{ scorer: 'style' }])).toMatchObject({ status: 400 })
  expect(await score([])).toMatchObject({ status: 400 })
  const { body: run } = await api.call('GET', `/agent/runs/${runId}`)
  expect(run.scores).toEqual([
    { scorer: 'tests', value: 1, passed: true, explanation: null, metadata: {}, scored_at: expect.any(String) },
  ])
})

test('models are listed with the default, and with what there is no key for', async () => {
  const { body } = await api.call('GET', '/agent/models')
  expect(body.default_model_id).toBe('house-model')
  const of = (id: string) => body.models.find((model: { id: string }) => model.id === id)
  expect(of('house-model')).toMatchObject({ provider: 'UNKNOWN' })
  expect(of('claude-sonnet-5-5')).not.toHaveProperty('disable_reason')
  expect(of('gpt-6.1-sol')).toMatchObject({
    provider: 'OPENAI',
    disable_reason: 'ADMIN_DISABLED',
    vision_supported: true,
  })
})

test.each([
  ['repo=nobody', 400],
  ['sort_by=age', 400],
  ['refresh=perhaps', 400],
  ['repo=owner/repo&refresh=true&sort_by=last_run&include_malformed_skills=false', 200],
])('the list of skills with %s answers %d', async (query, status) => {
  expect((await api.call('GET', `/agent?${query}`)).status).toBe(status)
})
