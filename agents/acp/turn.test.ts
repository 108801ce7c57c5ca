import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { NewEvent } from '../../domain/event.ts'
import type { PermissionPolicy } from '../../domain/harness.ts'
import { createRedactor } from '../../domain/vault/redaction.ts'
import { AgentStuckError } from './failures.ts'
import { memoryClaims, memoryTranscript } from './testing/memory.ts'
import { permissionOptions, type ScriptedAgent, SESSION, scriptedAgent } from './testing/scripted-agent.ts'
import { runTurn } from './turn.ts'
import type { RunTurn, TurnMessage } from './turn-options.ts'

/** A run with a scripted agent whose session is open. Every turn is run by a new caller, who knows only what is stored. */
function run(policy: PermissionPolicy = 'ask', agent: ScriptedAgent = scriptedAgent()) {
  const claims = memoryClaims()
  const transcript = memoryTranscript()
  agent.says({ id: 'new:1', result: { sessionId: SESSION } })
  const interrupt = new AbortController()
  const detach = new AbortController()
  const options = (turn: TurnMessage): RunTurn => ({
    journal: agent.journal,
    claims,
    sessionId: SESSION,
    cwd: '/workspace',
    quirks: { resume: 'load' },
    policy,
    turn,
    storedLine: Math.max(1, transcript.storedLine('agent-1')),
    record: transcript.record,
    signals: { interrupt: interrupt.signal, detach: detach.signal },
    times: { graceMs: 5_000, evidenceMs: 40 },
  })
  return {
    agent,
    claims,
    transcript,
    interrupt,
    detach,
    options,
    turn: (turn: TurnMessage, changes: Partial<RunTurn> = {}) => runTurn({ ...options(turn), ...changes }),
  }
}

const prompt = (messageId = 'm1', previousMessageId: string | null = null): TurnMessage => ({
  kind: 'prompt',
  messageId,
  text: `do ${messageId}`,
  previousMessageId,
})
const answer = (optionId: string, questionId = 'agent-1:7'): TurnMessage => ({ kind: 'answer', questionId, optionId })
const told = (events: readonly NewEvent[]) => events.map(({ kind, data }) => ({ kind, data }))
const choices = permissionOptions.map(({ optionId, name, kind }) => ({ optionId, name, kind }))

test('a turn tells the message, what the agent does, and how it ended', async () => {
  const { agent, transcript, turn } = run()
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  agent.text('Hello')
  agent.updates({ sessionUpdate: 'agent_thought_chunk', content: { type: 'text', text: 'hm' } })
  agent.updates({ sessionUpdate: 'tool_call', toolCallId: 't1', title: 'ls', status: 'pending' })
  agent.updates({ sessionUpdate: 'tool_call_update', toolCallId: 't1', status: 'completed' })
  agent.updates({ sessionUpdate: 'plan', entries: [{ content: 'a', priority: 'high', status: 'pending' }] })
  agent.updates({ sessionUpdate: 'current_mode_update', currentModeId: 'plan' })
  agent.updates({ sessionUpdate: 'available_commands_update', availableCommands: [{ name: 'x', description: 'y' }] })
  agent.updates({ sessionUpdate: 'usage_update', used: 5, size: 10 })
  agent.updates({ sessionUpdate: 'user_message_chunk', content: { type: 'text', text: 'do m1' } })
  agent.updates({ sessionUpdate: 'brand_new', thing: 1 })
  agent.text('not ours')
  agent.answers(asked, { stopReason: 'end_turn', usage: { inputTokens: 3, outputTokens: 4, totalTokens: 7 } })

  expect(await outcome).toEqual({ kind: 'ended', stopReason: 'end_turn' })
  expect(asked.params).toEqual({ sessionId: SESSION, prompt: [{ type: 'text', text: 'do m1' }] })
  expect(told(transcript.events)).toEqual([
    { kind: 'prompt', data: { message_id: 'm1', text: 'do m1' } },
    { kind: 'message', data: { text: 'Hello' } },
    { kind: 'thought', data: { text: 'hm' } },
    { kind: 'tool_call', data: { toolCallId: 't1', title: 'ls', status: 'pending' } },
    { kind: 'tool_update', data: { toolCallId: 't1', status: 'completed' } },
    { kind: 'plan', data: { entries: [{ content: 'a', priority: 'high', status: 'pending' }] } },
    { kind: 'mode', data: { mode_id: 'plan' } },
    { kind: 'commands', data: { commands: [{ name: 'x', description: 'y' }] } },
    { kind: 'usage', data: { used: 5, size: 10 } },
    { kind: 'unknown_update', data: { sessionUpdate: 'brand_new', thing: 1 } },
    { kind: 'message', data: { text: 'not ours' } },
    {
      kind: 'turn_end',
      data: { stop_reason: 'end_turn', usage: { input_tokens: 3, output_tokens: 4, total_tokens: 7 } },
    },
  ])
  expect(transcript.storedLine('agent-1')).toBe(13)
})

test('pictures are given within the prompt, and are not in the transcript', async () => {
  const { agent, transcript, turn } = run()
  const images = [{ mimeType: 'image/png', data: 'cGl4ZWxz' }]
  const outcome = turn({ ...prompt(), images } as TurnMessage)
  const asked = await agent.hears('session/prompt')
  agent.answers(asked, { stopReason: 'end_turn' })
  await outcome
  expect(asked.params?.prompt).toEqual([
    { type: 'text', text: 'do m1' },
    { type: 'image', mimeType: 'image/png', data: 'cGl4ZWxz' },
  ])
  expect(JSON.stringify(transcript.events)).not.toContain('cGl4ZWxz')
})

test('a value that an agent says in pieces is not in the transcript, whatever it tells in between', async () => {
  const { agent, transcript, turn } = run('allow')
  const outcome = turn(prompt(), { redactor: createRedactor(['planted-value']) })
  const asked = await agent.hears('session/prompt')
  agent.text('It is plan')
  agent.updates({ sessionUpdate: 'usage_update', used: 5, size: 10 })
  agent.text('ted-va')
  agent.text('lue, I say')
  agent.answers(asked, { stopReason: 'end_turn' })
  await outcome
  const texts = transcript.events.filter(({ kind }) => kind === 'message').map(({ data }) => data.text)
  expect(texts).toEqual(['It is ***', '', ', I say'])
  expect(transcript.events.map(({ kind }) => kind)).toContain('usage')
})

test('an update that is not what the protocol says is kept as it came', async () => {
  const { agent, transcript, turn } = run()
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  agent.updates({ sessionUpdate: 'agent_message_chunk' })
  agent.updates({ sessionUpdate: 'available_commands_update', availableCommands: 7 })
  agent.says({ method: 'session/update', params: { sessionId: SESSION, update: null } })
  agent.says({ method: 'session/update', params: [] })
  agent.answers(asked, {})
  expect(await outcome).toEqual({ kind: 'ended', stopReason: 'end_turn' })
  expect(transcript.of('unknown_update')).toEqual([
    { sessionUpdate: 'agent_message_chunk' },
    { sessionUpdate: 'available_commands_update', availableCommands: 7 },
  ])
})

test('the tokens of a turn are those of its calls, where the agent tells no sum', async () => {
  const { agent, transcript, turn } = run()
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  for (const inputTokens of [10, 20]) {
    const content = { type: 'text', text: '' }
    agent.updates({ sessionUpdate: 'agent_message_chunk', content, _meta: { usage: { inputTokens, outputTokens: 1 } } })
  }
  agent.answers(asked, { stopReason: 'end_turn' })
  await outcome
  expect(transcript.of('turn_end')).toEqual([
    { stop_reason: 'end_turn', usage: { input_tokens: 30, output_tokens: 2 } },
  ])
})

test('updates of another session are not told', async () => {
  const { agent, transcript, turn } = run()
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  agent.updates({ sessionUpdate: 'agent_message_chunk', content: { type: 'text', text: 'other' } }, 'session-2')
  agent.answers(asked, { stopReason: 'end_turn' })
  await outcome
  expect(transcript.of('message')).toEqual([])
})

test('a turn that is asked for again after its end gives the same and sends nothing', async () => {
  const { agent, transcript, turn } = run()
  const outcome = turn(prompt())
  agent.answers(await agent.hears('session/prompt'), { stopReason: 'max_tokens' })
  await outcome
  const before = [...transcript.events]
  expect(await turn(prompt())).toEqual({ kind: 'ended', stopReason: 'max_tokens' })
  expect(transcript.events).toEqual(before)
  expect(agent.heard.length).toBe(1)
})

test('what comes after the end of a turn is told with the next one, and only once', async () => {
  const { agent, transcript, turn } = run()
  const first = turn(prompt('m1'))
  agent.answers(await agent.hears('session/prompt'), { stopReason: 'end_turn' })
  agent.updates({ sessionUpdate: 'session_info_update', title: 'late' })
  await first
  const second = turn(prompt('m2', 'm1'))
  agent.answers(await agent.hears('session/prompt'), { stopReason: 'end_turn' })
  await second
  expect(told(transcript.events).map(({ kind }) => kind)).toEqual([
    'prompt',
    'turn_end',
    'prompt',
    'session_info',
    'turn_end',
  ])
})

test('lines that are no messages leave a warning, torn and blank ones do no harm', async () => {
  const { agent, transcript, turn } = run()
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  agent.says('')
  agent.says(`debug: ${'x'.repeat(600)}\u0000`)
  agent.says('{"jsonrpc":"2.0","method":"session/upd')
  agent.says('{"jsonrpc":"2.0","method":"session/update"', 40)
  agent.says({ id: null, error: { code: -32700, message: 'Parse error' } })
  agent.says('[1,2]')
  agent.says({ id: 99, method: 'session/request_permission', params: { nonsense: true } })
  agent.answers(asked, { stopReason: 'end_turn' })
  await outcome
  expect(transcript.of('warning').map(({ code, text }) => [code, String(text ?? '').length])).toEqual([
    ['unparsable_output', 500],
    ['unparsable_output', 38],
    ['oversized_line', 0],
    ['unparsable_output', 5],
  ])
})

test('a request that this client never offered is refused, so that the agent does not wait', async () => {
  const { agent, turn } = run()
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  agent.says({ id: 3, method: 'fs/read_text_file', params: { path: '/etc/passwd' } })
  expect(await agent.hears(null)).toMatchObject({ id: 3, error: { code: -32601 } })
  agent.answers(asked, { stopReason: 'end_turn' })
  expect(await outcome).toMatchObject({ kind: 'ended' })
})

test('a question ends the turn, and its answer goes on with it, though callers come and go', async () => {
  const { agent, transcript, turn } = run('ask')
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  agent.text('May I?')
  agent.asksPermission(7)
  const question = { questionId: 'agent-1:7', title: 'touch file', options: choices }
  expect(await outcome).toEqual({ kind: 'question', question })
  expect(await turn(prompt())).toEqual({ kind: 'question', question })

  const second = turn(answer('yes'))
  expect(await agent.hears(null)).toMatchObject({
    id: 7,
    result: { outcome: { outcome: 'selected', optionId: 'yes' } },
  })
  agent.text('Done')
  agent.answers(asked, { stopReason: 'end_turn' })
  expect(await second).toEqual({ kind: 'ended', stopReason: 'end_turn' })
  expect(await turn(answer('yes'))).toEqual({ kind: 'ended', stopReason: 'end_turn' })
  expect(await turn(prompt())).toEqual({ kind: 'ended', stopReason: 'end_turn' })

  expect(agent.heard.length).toBe(2)
  const toolCall = { toolCallId: 'tool-7', title: 'touch file' }
  const options = choices.map(({ optionId, name, kind }) => ({ option_id: optionId, name, kind }))
  expect(told(transcript.events)).toEqual([
    { kind: 'prompt', data: { message_id: 'm1', text: 'do m1' } },
    { kind: 'message', data: { text: 'May I?' } },
    { kind: 'tool_call', data: toolCall },
    {
      kind: 'question',
      data: { question_id: 'agent-1:7', title: 'touch file', tool_call: toolCall, options },
    },
    { kind: 'answer', data: { question_id: 'agent-1:7', option_id: 'yes', by: 'person' } },
    { kind: 'message', data: { text: 'Done' } },
    { kind: 'turn_end', data: { stop_reason: 'end_turn' } },
  ])
})

test('a question holds the whole command, also where the agent asks by the id of its tool call alone', async () => {
  const { agent, transcript, turn } = run('ask')
  const command = `set -e\n${'echo a line of the script\n'.repeat(40)}rm -rf build`
  const outcome = turn(prompt())
  await agent.hears('session/prompt')
  agent.updates({ sessionUpdate: 'tool_call', toolCallId: 'tool-7', title: 'bash', status: 'pending' })
  agent.updates({ sessionUpdate: 'tool_call_update', toolCallId: 'tool-7', title: command, rawInput: { command } })
  agent.asksPermission(7, { toolCallId: 'tool-7', title: null, content: [] })
  const asked = await outcome
  expect(transcript.events.find(({ kind }) => kind === 'question')?.data).toMatchObject({
    title: command,
    tool_call: { toolCallId: 'tool-7', title: command, rawInput: { command } },
  })
  // The workflow's history gets its beginning, and it shows that it is one.
  expect(asked).toMatchObject({ question: { title: `${command.slice(0, 299)}…` } })
})

test.each([
  ['allow', 'yes'],
  ['deny', 'no'],
  ['always', 'always'],
])('the answer "%s" chooses the option "%s"', async (word, optionId) => {
  const { agent, turn } = run('ask')
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  agent.asksPermission(7)
  await outcome
  const second = turn(answer(word))
  expect(await agent.hears(null)).toMatchObject({ id: 7, result: { outcome: { outcome: 'selected', optionId } } })
  agent.answers(asked, { stopReason: 'end_turn' })
  await second
})

test('of two questions at once each is asked and answered in its turn', async () => {
  const { agent, turn } = run('ask')
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  agent.asksPermission(7)
  agent.asksPermission(8)
  expect(await outcome).toMatchObject({ question: { questionId: 'agent-1:7' } })
  expect(await turn(answer('allow', 'agent-1:7'))).toMatchObject({ question: { questionId: 'agent-1:8' } })
  const last = turn(answer('deny', 'agent-1:8'))
  expect(await agent.hears(null)).toMatchObject({ id: 7, result: { outcome: { optionId: 'yes' } } })
  expect(await agent.hears(null)).toMatchObject({ id: 8, result: { outcome: { optionId: 'no' } } })
  agent.answers(asked, { stopReason: 'end_turn' })
  expect(await last).toEqual({ kind: 'ended', stopReason: 'end_turn' })
})

test('a question that the agent withdraws at once is not asked', async () => {
  const { agent, turn } = run('ask')
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  agent.asksPermission(7)
  agent.says({ method: '$/cancel_request', params: { requestId: 7 } })
  agent.answers(asked, { stopReason: 'end_turn' })
  expect(await outcome).toEqual({ kind: 'ended', stopReason: 'end_turn' })
})

test.each([
  ['allow', 'yes'],
  ['deny', 'no'],
] as const)('the policy "%s" answers by itself', async (policy, optionId) => {
  const { agent, transcript, turn } = run(policy)
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  agent.asksPermission('p')
  expect(await agent.hears(null)).toMatchObject({ id: 'p', result: { outcome: { outcome: 'selected', optionId } } })
  agent.answers(asked, { stopReason: 'end_turn' })
  await outcome
  expect(transcript.of('answer')).toEqual([{ question_id: 'agent-1:p', option_id: optionId, by: 'policy' }])
  expect(transcript.of('question')).toEqual([])
})

test('an answer to a question of a former process says that the process is gone', async () => {
  const { turn } = run('ask')
  expect(await turn(answer('yes', 'agent-0:7'))).toMatchObject({ kind: 'failed', failure: { code: 'sandbox_lost' } })
})

test('an interrupt stops the agent, tells how the turn ended, and throws its reason', async () => {
  const { agent, transcript, turn, interrupt } = run()
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  agent.text('working')
  interrupt.abort(new Error('enough'))
  await agent.hears('session/cancel')
  agent.text('stopped')
  agent.answers(asked, { stopReason: 'cancelled' })
  await expect(outcome).rejects.toThrow('enough')
  expect(transcript.of('turn_end')).toEqual([{ stop_reason: 'cancelled' }])
  expect(transcript.text()).toBe('workingstopped')
})

test('an interrupted agent counts as stopped before what it said is stored', async () => {
  const { agent, turn, interrupt } = run()
  const stopped = Promise.withResolvers<void>()
  const server = Promise.withResolvers<void>()
  const outcome = turn(prompt(), { record: () => server.promise, onStopped: stopped.resolve })
  const asked = await agent.hears('session/prompt')
  interrupt.abort(new Error('enough'))
  await agent.hears('session/cancel')
  agent.answers(asked, { stopReason: 'cancelled' })
  await stopped.promise
  server.resolve()
  await expect(outcome).rejects.toThrow('enough')
})

test('an interrupt answers what the agent asks, then and after', async () => {
  const { agent, turn, interrupt } = run('ask')
  const asked = turn(prompt())
  const request = await agent.hears('session/prompt')
  agent.asksPermission(7)
  await asked
  interrupt.abort(new Error('enough'))
  const outcome = turn(prompt())
  await agent.hears('session/cancel')
  expect(await agent.hears(null)).toMatchObject({ id: 7, result: { outcome: { outcome: 'cancelled' } } })
  agent.asksPermission(8)
  expect(await agent.hears(null)).toMatchObject({ id: 8, result: { outcome: { outcome: 'cancelled' } } })
  agent.answers(request, { stopReason: 'cancelled' })
  await expect(outcome).rejects.toThrow('enough')
})

test('an interrupt before the message was sent sends nothing', async () => {
  const { agent, turn, interrupt } = run()
  interrupt.abort(new Error('enough'))
  await expect(turn(prompt())).rejects.toThrow('enough')
  expect(agent.heard).toEqual([])
})

test('an agent that does not stop is said to be stuck', async () => {
  const { agent, turn, interrupt } = run()
  const outcome = turn(prompt(), { times: { graceMs: 40, evidenceMs: 40 } })
  await agent.hears('session/prompt')
  interrupt.abort(new Error('enough'))
  await expect(outcome).rejects.toThrow(AgentStuckError)
})

test('whoever watches can leave without the agent noticing', async () => {
  const { agent, turn, detach, transcript } = run()
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  detach.abort(new Error('leaving'))
  await expect(outcome).rejects.toThrow('leaving')
  const next = turn(prompt(), {
    signals: { interrupt: new AbortController().signal, detach: new AbortController().signal },
  })
  agent.text('still here')
  agent.answers(asked, { stopReason: 'end_turn' })
  expect(await next).toEqual({ kind: 'ended', stopReason: 'end_turn' })
  expect(agent.heard.length).toBe(1)
  expect(transcript.text()).toBe('still here')
})

test('a message that follows an unanswered question ends that turn first', async () => {
  const { agent, turn, transcript } = run('ask')
  const first = turn(prompt('m1'))
  const asked = await agent.hears('session/prompt')
  agent.asksPermission(7)
  await first
  const second = turn(prompt('m2', 'm1'))
  await agent.hears('session/cancel')
  expect(await agent.hears(null)).toMatchObject({ id: 7, result: { outcome: { outcome: 'cancelled' } } })
  agent.answers(asked, { stopReason: 'cancelled' })
  agent.answers(await agent.hears('session/prompt'), { stopReason: 'end_turn' })
  expect(await second).toEqual({ kind: 'ended', stopReason: 'end_turn' })
  expect(transcript.of('turn_end')).toEqual([{ stop_reason: 'cancelled' }, { stop_reason: 'end_turn' }])
})

test('a session that keeps its commands after a cancel is closed and loaded, without telling its history again', async () => {
  const { agent, turn, interrupt, transcript } = run()
  const quirks = { resume: 'load', closeSessionAfterCancel: true, sessionMode: { ask: 'careful' } } as const
  const outcome = turn(prompt(), { quirks })
  const asked = await agent.hears('session/prompt')
  agent.text('once')
  interrupt.abort(new Error('enough'))
  await agent.hears('session/cancel')
  agent.answers(asked, { stopReason: 'cancelled' })
  agent.answers(await agent.hears('session/close'), {})
  const load = await agent.hears('session/load')
  agent.text('once')
  agent.answers(load, {})
  const mode = await agent.hears('session/set_mode')
  agent.answers(mode, {})
  await expect(outcome).rejects.toThrow('enough')
  expect(load.params).toEqual({ sessionId: SESSION, cwd: '/workspace', mcpServers: [] })
  expect(mode.params).toEqual({ sessionId: SESSION, modeId: 'careful' })
  expect(transcript.text()).toBe('once')
})

test.each([
  [{ code: 1, outOfMemory: false }, 'agent_exited', 'The agent ended in the middle of its turn, with exit code 1.', 1],
  [
    { code: 137, outOfMemory: true },
    'agent_exited',
    'The agent ran out of memory and was killed in the middle of its turn.',
    137,
  ],
  [
    { code: 137, outOfMemory: false, lost: true },
    'sandbox_lost',
    'The sandbox is gone, and how the agent ended is not known.',
    undefined,
  ],
  [null, 'sandbox_lost', 'The sandbox is gone, and how the agent ended is not known.', undefined],
] as const)('an agent that ends in mid-turn with %j fails it with %s', async (exit, code, message, exitCode) => {
  const { agent, turn, transcript } = run()
  const outcome = turn(prompt())
  await agent.hears('session/prompt')
  agent.text('last words')
  agent.ends(exit, 'it broke\n')
  const failed = await outcome
  expect(failed).toMatchObject({ kind: 'failed', failure: { code, message, phase: 'turn', logTail: 'it broke' } })
  expect(failed.kind === 'failed' && failed.failure.exitCode).toBe(exitCode)
  expect(transcript.text()).toBe('last words')
})

test('a message for an agent that has ended already fails plainly', async () => {
  const { agent, turn } = run()
  agent.ends({ code: 0, outOfMemory: false })
  expect(await turn(prompt())).toMatchObject({ kind: 'failed', failure: { code: 'agent_exited' } })
})

test.each([
  [{ code: -32000, message: 'Authentication required' }, 'model_unauthorized'],
  [{ code: -32603, message: 'Internal error', data: { details: '401 bad key' } }, 'model_unauthorized'],
  [{ code: -32603, message: 'Internal error', data: { details: '529 overloaded' } }, 'model_unavailable'],
  [{ code: -32603, message: 'The model `x` does not exist' }, 'invalid_run'],
  [{ code: -32602, message: 'Invalid params' }, 'agent_protocol_error'],
])('the error %j is told as %s', async (error, code) => {
  const { agent, turn, transcript } = run()
  const outcome = turn(prompt())
  agent.fails(await agent.hears('session/prompt'), error)
  expect(await outcome).toMatchObject({ kind: 'failed', failure: { code, phase: 'turn' } })
  expect(transcript.of('error')).toMatchObject([{ failure: { code } }])
  expect(await turn(prompt())).toMatchObject({ kind: 'failed', failure: { code } })
})

test('a refusal is a failure, and a failure that looks like an end is one too', async () => {
  const { agent, turn } = run()
  const first = turn(prompt('m1'))
  agent.answers(await agent.hears('session/prompt'), { stopReason: 'refusal' })
  expect(await first).toMatchObject({ kind: 'failed', failure: { code: 'agent_refused' } })

  const quirks = {
    resume: 'load',
    disguisedFailure: ({ text }: { text: string }) => (text.includes('demand') ? text : null),
  } as const
  const second = turn(prompt('m2', 'm1'), { quirks })
  const asked = await agent.hears('session/prompt')
  agent.text('high demand')
  agent.answers(asked, { stopReason: 'end_turn' })
  expect(await second).toMatchObject({ kind: 'failed', failure: { code: 'model_unavailable', logTail: 'high demand' } })
})

test('events go out in batches of at most 500 while others gather', async () => {
  const { agent, turn, transcript } = run()
  const sizes: number[] = []
  const record: RunTurn['record'] = async (journal, events, readTo) => {
    sizes.push(events.length)
    await setImmediate()
    await transcript.record(journal, events, readTo)
  }
  const outcome = turn(prompt(), { record })
  const asked = await agent.hears('session/prompt')
  for (let i = 0; i < 1_200; i++) agent.text(`${i} `)
  agent.answers(asked, { stopReason: 'end_turn' })
  await outcome
  expect(Math.max(...sizes)).toBe(500)
  expect(sizes.length).toBeLessThan(6)
  expect(transcript.of('message').length).toBe(1_200)
})

test('a transcript that cannot be stored ends the watching with the reason', async () => {
  const { agent, turn } = run()
  const record: RunTurn['record'] = async () => {
    throw new Error('fenced')
  }
  const outcome = turn(prompt(), { record })
  await expect(outcome).rejects.toThrow('fenced')
  expect(agent.heard.filter(({ method }) => method === 'session/cancel')).toEqual([])
})

test('texts are kept to their limit and made storable', async () => {
  const { agent, turn, transcript } = run()
  const outcome = turn(prompt())
  const asked = await agent.hears('session/prompt')
  const long = 'y'.repeat(300_000)
  agent.text('nul \u0000 and half \ud800 a pair')
  agent.updates({ sessionUpdate: 'tool_call_update', toolCallId: 't', rawOutput: { a: long, b: [long] } })
  agent.answers(asked, { stopReason: 'end_turn' })
  await outcome
  expect(transcript.text()).toBe('nul \ufffd and half \ufffd a pair')
  const [update] = transcript.of('tool_update') as { rawOutput: { a: string; b: string[] }; truncated_chars: number }[]
  expect([update?.rawOutput.a.length, update?.rawOutput.b[0]?.length, update?.truncated_chars]).toEqual([
    262_144,
    0,
    600_000 - 262_144,
  ])
})
