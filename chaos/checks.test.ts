import { describe, expect, test } from 'vitest'
import { check } from './checks.ts'
import type { Evidence, JournalEntry } from './evidence.ts'
import type { Kill } from './kills.ts'
import { type Message, type Plan, scripted } from './plan.ts'

const message: Message = scripted('m', [{ text: 'Working. ', shell: 'echo m/1 >> ledger.txt' }, { text: 'Done. ' }])

const plan: Plan = {
  name: 'run1',
  scenario: 'plain',
  agent: 'acp',
  host: 'direct',
  request: { prompt: message.text, config: {}, environment: {} },
  messages: [message],
  steer: async () => {},
  expected: { ends: 'SUCCEEDED', executions: [1, 1], questions: [0, 0], setup: 'setup', setupEnds: true },
}

const said = (text: string): JournalEntry => ({
  what: 'said',
  update: { sessionUpdate: 'agent_message_chunk', content: { type: 'text', text } },
})
const toolCall = { toolCallId: 'call', status: 'pending' }
const toolEnd = { toolCallId: 'call', status: 'completed' }

/** Everything as it should be. */
function evidence(): Evidence {
  const happenings: [Evidence['events'][number]['kind'], Record<string, unknown>][] = [
    ['state', { state: 'QUEUED' }],
    ['prompt', { text: message.text }],
    ['message', { text: 'Working. ' }],
    ['tool_call', toolCall],
    ['tool_update', toolEnd],
    ['message', { text: 'Done. ' }],
    ['turn_end', { stop_reason: 'end_turn' }],
    ['state', { state: 'SUCCEEDED' }],
  ]
  const time = new Date(0).toISOString()
  const events = happenings.map(([kind, data], index) => ({ sequence: index + 1, time, kind, execution: 1, data }))
  const item = { state: 'SUCCEEDED', execution: 1, last_event_sequence: events.length, questions: [] }
  return {
    item: { ...item, is_sandbox_running: false } as unknown as Evidence['item'],
    events,
    seen: structuredClone(events),
    timeline: ['oz_run_created', 'oz_run_claimed', 'agent_started', 'oz_run_done'].map((event_type) => ({
      execution: 1,
      event_type,
    })),
    diff: ['m/1'],
    ledger: ['setup', 'm/1'],
    journal: [
      { what: 'start', pid: 1 },
      { what: 'prompt', id: 'p', text: message.text },
      said('Working. '),
      { what: 'said', update: { sessionUpdate: 'tool_call', ...toolCall } },
      { what: 'said', update: { sessionUpdate: 'tool_call_update', ...toolEnd } },
      said('Done. '),
      { what: 'end', id: 'p', stopReason: 'end_turn' },
    ],
    requests: [0, 1].map((step) => ({ messageId: 'm', step, history: ['m'], at: 1_000 * (step + 1) })),
  }
}

const differencesOf = (found: Evidence, kills: Kill[] = [], as = plan) =>
  check(as, 'id', found, kills).differences.map(({ what }) => what)

/** Numbers and counts fit again after a change. */
function renumbered(found: Evidence, events: Evidence['events']): Evidence {
  const numbered = events.map((event, index) => ({ ...event, sequence: index + 1 }))
  const item = { ...found.item, last_event_sequence: numbered.length }
  return { ...found, item, events: numbered, seen: structuredClone(numbered) }
}

const without = <T>(list: readonly T[], index: number) => list.toSpliced(index, 1)
const twice = <T>(list: readonly T[], index: number) => list.toSpliced(index, 0, list[index] as T)

test('there is no difference where all is well, and the figures tell how much was compared', () => {
  expect(check(plan, 'id', evidence(), [])).toEqual({
    differences: [],
    figures: { events: 8, modelRequests: 2, askedAgain: 0, answersRepeated: 0, uncollected: 0 },
  })
})

describe('a difference is told of', () => {
  const cases: [string, (right: Evidence) => Evidence, string][] = [
    [
      'a hole in the sequence',
      (right) => ({ ...right, events: without(right.events, 3) }),
      'sequence of the transcript',
    ],
    ['a lost event', (right) => renumbered(right, without(right.events, 4)), 'the next of what the agent said'],
    ['a doubled event', (right) => renumbered(right, twice(right.events, 4)), 'the next of what the agent said'],
    ['an event of nobody', (right) => renumbered(right, twice(right.events, 6)), 'what the agent did not say'],
    [
      'a stream that misses one',
      (right) => ({ ...right, seen: without(right.seen, 3) }),
      'events that the stream told',
    ],
    ['a second end', (right) => renumbered(right, twice(right.events, 7)), 'ends in the transcript'],
    ['a second end', (right) => ({ ...right, timeline: twice(right.timeline, 3) }), 'ends in the timeline'],
    ['no end', (right) => ({ ...right, timeline: without(right.timeline, 3) }), 'ends in the timeline'],
    ['another end', (right) => ({ ...right, item: { ...right.item, state: 'ERROR' } }), 'state of the run'],
    [
      'a repeated prompt',
      (right) => ({ ...right, journal: twice(right.journal ?? [], 1) }),
      'message m as the agent got it',
    ],
    ['a prompt told twice', (right) => renumbered(right, twice(right.events, 1)), 'message m in the transcript'],
    [
      'a command run twice',
      (right) => ({ ...right, ledger: twice(right.ledger ?? [], 1) }),
      'lines of the ledger that nobody should have written',
    ],
    ['a command not run', (right) => ({ ...right, ledger: ['setup'] }), 'ledger'],
    ['a set-up run twice', (right) => ({ ...right, ledger: twice(right.ledger ?? [], 0) }), 'ledger'],
    ['a lost work product', (right) => ({ ...right, diff: [] }), 'lines of the ledger in the diff'],
    [
      'a repeated model call',
      (right) => ({ ...right, requests: twice(right.requests, 1) }),
      'steps of m that the model was asked for',
    ],
    [
      'a lost memory',
      (right) => ({ ...right, requests: right.requests.map((each) => ({ ...each, history: [] })) }),
      'messages that the model knows of',
    ],
  ]
  test.each(cases)('%s', (_, change, what) => expect(differencesOf(change(evidence()))).toContain(what))
})

test('a model call may be repeated when the gateway was killed in the middle of it, and is counted then', () => {
  const right = evidence()
  const again = { ...right, requests: [...right.requests, { messageId: 'm', step: 1, history: ['m'], at: 5_000 }] }
  const kill = (target: Kill['target'], at: number): Kill => ({ target, from: at, to: at })
  expect(differencesOf(again, [kill('gateway', 3_000)])).toEqual([])
  expect(check(plan, 'id', again, [kill('all', 3_000)]).figures.askedAgain).toBe(1)
  expect(differencesOf(again, [kill('host', 3_000)])).toContain('steps of m that the model was asked for')
  expect(differencesOf(again, [kill('gateway', 6_000)])).toContain('steps of m that the model was asked for')
})

test('of a message that was broken off there may be a beginning, and nothing beyond it', () => {
  const right = evidence()
  const cancelled: Plan = {
    ...plan,
    messages: [{ ...message, isBrokenOff: true }],
    expected: { ...plan.expected, ends: 'SUCCEEDED' },
  }
  const begun = { ...renumbered(right, right.events.toSpliced(4, 3)), requests: right.requests.slice(0, 1) }
  const journal = (right.journal ?? []).slice(0, 5)
  expect(differencesOf({ ...begun, journal, ledger: ['setup'], diff: [] }, [], cancelled)).toEqual([])
  expect(differencesOf({ ...begun, journal, ledger: ['setup', 'm/2'], diff: [] }, [], cancelled)).toContain(
    'lines of the ledger that nobody should have written',
  )
})

test('an answer that reaches the agent twice is counted, and must be the same', () => {
  const right = evidence()
  const answer = (optionId: string): JournalEntry => ({ what: 'answer', id: 0, optionId })
  const withAnswers = (...answers: string[]) => ({
    ...right,
    journal: [...(right.journal ?? []), ...answers.map(answer)],
  })
  expect(check(plan, 'id', withAnswers('yes', 'yes'), [])).toMatchObject({
    differences: [],
    figures: { answersRepeated: 1 },
  })
  expect(differencesOf(withAnswers('yes', 'no'))).toEqual(['a second answer to question 0'])
})

test('a run that was cancelled while its host was killed may have no work product, which is counted', () => {
  const right = evidence()
  const end = (state: string) => ({ sequence: 9, time: new Date(9_000).toISOString(), kind: 'state', data: { state } })
  const events = right.events.toSpliced(
    7,
    1,
    { ...end('INPROGRESS'), execution: 1 } as Evidence['events'][number],
    {
      ...end('CANCELLED'),
      execution: 1,
    } as Evidence['events'][number],
  )
  const cancelled: Plan = { ...plan, expected: { ...plan.expected, ends: 'CANCELLED' } }
  const item = { ...right.item, state: 'CANCELLED' } as Evidence['item']
  const timeline = right.timeline.toSpliced(3, 1, { execution: 1, event_type: 'oz_run_cancelled' })
  const found = { ...renumbered({ ...right, item }, events), timeline, diff: [] }
  expect(check(cancelled, 'id', found, [{ target: 'host', from: 9_000, to: 9_000 }])).toMatchObject({
    differences: [],
    figures: { uncollected: 1 },
  })
  expect(differencesOf(found, [], cancelled)).toEqual(['lines of the ledger in the diff'])
})
