import pc from 'picocolors'
import { describe, expect, test } from 'vitest'
import type { EventKind, RunEvent } from '../domain/event.ts'
import { plainStyle } from './render/style.ts'
import { createRenderer, renderTranscript } from './render.ts'

const transcript = (...rows: [EventKind, Record<string, unknown>][]): RunEvent[] =>
  rows.map(([kind, data], index) => ({
    sequence: index + 1,
    time: '2030-01-01T12:00:00.000Z',
    kind,
    execution: 1,
    data,
  }))

const narrow = { colours: pc.createColors(false), width: 40 }

describe('a transcript on the screen', () => {
  test('reads from the queue to the end', () => {
    const events = transcript(
      ['state', { state: 'QUEUED', execution: 1 }],
      ['state', { state: 'PENDING', execution: 1 }],
      ['setup', { step: 1, command: 'npm ci' }],
      ['setup', { step: 1, stream: 'stdout', text: 'added 12 packages' }],
      ['setup', { step: 1, exit_code: 0, duration_ms: 1200 }],
      ['state', { state: 'INPROGRESS', execution: 1 }],
      ['prompt', { message_id: 'p1', text: 'Fix the greeting\n\nIt says goodbye.' }],
      ['thought', { text: 'I should ' }],
      ['thought', { text: 'look first.' }],
      ['message', { text: 'I look at ' }],
      ['message', { text: 'the code.' }],
      [
        'plan',
        {
          entries: [
            { content: 'Look', priority: 'high', status: 'completed' },
            { content: 'Fix', priority: 'high', status: 'in_progress' },
            { content: 'Test', priority: 'low', status: 'pending' },
          ],
        },
      ],
      ['tool_call', { toolCallId: 't1', title: 'npm test', kind: 'execute', status: 'in_progress' }],
      [
        'tool_update',
        {
          toolCallId: 't1',
          status: 'failed',
          content: [
            {
              type: 'content',
              content: { type: 'text', text: '```console\none\ntwo\nthree\nfour\nfive\nsix\nseven\n```' },
            },
          ],
        },
      ],
      [
        'tool_call',
        {
          toolCallId: 't2',
          title: 'Read greet.ts',
          kind: 'read',
          status: 'completed',
          content: [{ type: 'content', content: { type: 'text', text: 'secret of the file' } }],
        },
      ],
      [
        'tool_call',
        {
          toolCallId: 't3',
          title: 'Edit greet.ts',
          kind: 'edit',
          status: 'completed',
          content: [{ type: 'diff', path: 'greet.ts', oldText: 'a\nbye\nc\n', newText: 'a\nhello\nc\nd\n' }],
        },
      ],
      [
        'plan',
        {
          entries: [
            { content: 'Look', priority: 'high', status: 'completed' },
            { content: 'Fix', priority: 'high', status: 'completed' },
            { content: 'Test', priority: 'low', status: 'pending' },
          ],
        },
      ],
      [
        'question',
        {
          question_id: 'q1',
          tool_call: { title: 'git push' },
          options: [
            { option_id: 'a', name: 'Allow once', kind: 'allow_once' },
            { option_id: 'r', name: 'Reject', kind: 'reject_once' },
          ],
        },
      ],
      ['state', { state: 'BLOCKED', execution: 1 }],
      ['answer', { question_id: 'q1', option_id: 'a', by: 'person' }],
      ['warning', { code: 'unparsable_output', message: 'A line of the agent was not understood.' }],
      ['message', { text: 'Done.' }],
      ['turn_end', { stop_reason: 'end_turn' }],
      ['state', { state: 'SUCCEEDED', execution: 1 }],
    )
    expect(`\n${renderTranscript(events, plainStyle)}`).toMatchInlineSnapshot(`
      "
      · queued
      · waiting for a host

      $ npm ci
        added 12 packages

      · the agent works

      › Fix the greeting
      ›
      › It says goodbye.

      I should look first.

      I look at the code.

      ☑ Look
      ▸ Fix
      ☐ Test

      ✗ npm test
        … 3 lines above
        four
        five
        six
        seven
      ✓ Read greet.ts
      ✓ Edit greet.ts
        greet.ts +2 −1
          - bye
          + hello
          + d

      ☑ Fix

      ? git push
        answered: Allow once

      ! A line of the agent was not understood.

      Done.
      "
    `)
  })

  test('wraps at words, and leaves code alone', () => {
    const events = transcript(
      ['message', { text: 'A sentence that is a good deal longer than the scr' }],
      ['message', { text: 'een is wide, in two chunks.\n\n- an item of a list that needs two lines, or more\n' }],
      ['message', { text: '```\nconst long = "a line of code that is longer than the screen"\n```\nThe end.' }],
    )
    expect(`\n${renderTranscript(events, narrow)}`).toMatchInlineSnapshot(`
      "
      A sentence that is a good deal longer
      than the screen is wide, in two chunks.

      - an item of a list that needs two
        lines, or more
      \`\`\`
      const long = "a line of code that is longer than the screen"
      \`\`\`
      The end.
      "
    `)
  })

  test('shows a message chunk by chunk, without waiting for its end', () => {
    const renderer = createRenderer(narrow)
    const [first, second] = transcript(['message', { text: 'One two' }], ['message', { text: ' three' }])
    expect(renderer.push(first as RunEvent)).toBe('One')
    expect(renderer.push(second as RunEvent)).toBe(' two')
    expect(renderer.end()).toBe(' three\n')
  })

  test('keeps messages of different ids apart', () => {
    const events = transcript(
      ['message', { text: 'One.', message_id: 'a' }],
      ['message', { text: 'Two.', message_id: 'b' }],
    )
    expect(renderTranscript(events, plainStyle)).toBe('One.\n\nTwo.\n')
  })

  test('says which tool is running, and shows what never finished when the run ends', () => {
    const renderer = createRenderer(plainStyle)
    const [call, end] = transcript(
      ['tool_call', { toolCallId: 't', title: 'sleep 1000', kind: 'execute', status: 'in_progress' }],
      ['state', { state: 'CANCELLED', execution: 1 }],
    )
    expect(renderer.push(call as RunEvent)).toBe('')
    expect(renderer.running()).toBe('sleep 1000')
    expect(renderer.push(end as RunEvent)).toBe('… sleep 1000\n')
    expect(renderer.running()).toBeNull()
  })

  test('shows a tool call of which only the last update came', () => {
    const events = transcript([
      'tool_update',
      { toolCallId: 't', title: 'ls', kind: 'execute', status: 'completed', rawOutput: { formatted_output: 'a\nb' } },
    ])
    expect(renderTranscript(events, plainStyle)).toBe('✓ ls\n  a\n  b\n')
  })

  test('tells the end of an execution that a later one follows', () => {
    const failure = { code: 'agent_exited', message: 'The agent ended.' }
    const events = transcript(
      ['state', { state: 'FAILED', execution: 1, failure }],
      ['state', { state: 'QUEUED', execution: 2 }],
      ['state', { state: 'SUCCEEDED', execution: 2 }],
    )
    expect(renderTranscript(events, plainStyle)).toBe('· failed: The agent ended.\n· queued\n')
  })

  test('lets no escape sequence through to the terminal', () => {
    const hostile = 'red \u001b[31mtext\u001b[0m, title \u001b]0;owned\u0007, c1 \u009b2J, back\b\b, turned \u202eback'
    const events = transcript(
      ['message', { text: hostile }],
      ['output', { stream: 'stdout', text: hostile }],
      ['tool_call', { toolCallId: 't', title: hostile, status: 'completed', rawOutput: hostile }],
      ['prompt', { text: hostile }],
      ['question', { title: hostile, options: [{ option_id: 'a', name: hostile }] }],
      ['setup', { step: 1, command: hostile }],
      ['setup', { step: 1, text: hostile }],
      ['warning', { message: hostile }],
      ['error', { failure: { message: hostile } }],
      ['plan', { entries: [{ content: hostile, status: 'pending' }] }],
    )
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there.
    expect(renderTranscript(events, plainStyle)).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/)
  })

  test('passes over kinds that are newer than the command', () => {
    const events = transcript(['hologram' as EventKind, {}], ['message', { text: 'Hello.' }])
    expect(renderTranscript(events, plainStyle)).toBe('Hello.\n')
  })
})
