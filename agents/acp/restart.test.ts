// Whoever drives an agent may die between any two of its acts. The agent must not notice, and the transcript must not show it.
import { expect, test } from 'vitest'
import type { PermissionPolicy } from '../../domain/harness.ts'
import type { Journal } from '../../domain/journal.ts'
import type { TurnOutcome } from '../../workflows/contract.ts'
import type { Claims } from '../claims.ts'
import type { Record } from './recorder.ts'
import { openSession } from './session.ts'
import { memoryClaims, memoryTranscript, type Transcript } from './testing/memory.ts'
import { type Heard, type ScriptedAgent, SESSION, scriptedAgent } from './testing/scripted-agent.ts'
import { runTurn } from './turn.ts'

class Death extends Error {}

/**
 * A life that ends at its nth act, before the act or right after it. A dead
 * driver does nothing more: every later act fails.
 */
function life(endsAt: number, when: 'before' | 'after') {
  let acts = 0
  const act = async <T>(work: () => Promise<T>): Promise<T> => {
    acts += 1
    if (acts > endsAt || (acts === endsAt && when === 'before')) throw new Death()
    const result = await work()
    if (acts >= endsAt) throw new Death()
    return result
  }
  return {
    isOver: () => acts >= endsAt,
    claims: (claims: Claims): Claims => ({
      make: (id, note) => act(() => claims.make(id, note)),
      settle: (id) => act(() => claims.settle(id)),
    }),
    journal: (journal: Journal): Journal => ({ ...journal, write: (text) => act(() => journal.write(text)) }),
    record:
      (record: Record): Record =>
      (...batch) =>
        act(() => record(...batch)),
  }
}

interface Stage {
  agent: ScriptedAgent
  transcript: Transcript
  claims: ReturnType<typeof memoryClaims>
}

/** Runs `drive` again and again, each time by a new driver, the first of which dies at its nth act. */
async function survive<T>(
  stage: Stage,
  endsAt: number,
  when: 'before' | 'after',
  drive: (stage: { journal: Journal; claims: Claims; record: Record }) => Promise<T>,
): Promise<{ result: T; hasDied: boolean }> {
  const first = life(endsAt, when)
  const mortal = {
    journal: first.journal(stage.agent.journal),
    claims: first.claims(stage.claims),
    record: first.record(stage.transcript.record),
  }
  try {
    return { result: await drive(mortal), hasDied: false }
  } catch (error) {
    if (!(error instanceof Death)) throw error
  }
  const result = await drive({
    journal: stage.agent.journal,
    claims: stage.claims,
    record: stage.transcript.record,
  })
  return { result, hasDied: true }
}

/** What the agent did, as people read it, without where it is kept. */
const story = (transcript: Transcript) => transcript.events.map(({ kind, data }) => ({ kind, data }))

async function everyDeath(tell: (endsAt: number, when: 'before' | 'after') => Promise<boolean>): Promise<number> {
  let deaths = 0
  for (const when of ['before', 'after'] as const) {
    for (let endsAt = 1; await tell(endsAt, when); endsAt++) deaths += 1
  }
  return deaths
}

/** Works on each prompt it gets: some text, a question, more text, the end. */
function worker(): ScriptedAgent {
  const prompts: Heard[] = []
  return scriptedAgent((message, agent) => {
    if (message.method === 'session/prompt') {
      prompts.push(message)
      agent.text('a')
      agent.text('b')
      agent.asksPermission(prompts.length)
    } else if (message.method === undefined && prompts.length > 0) {
      const prompt = prompts.pop()
      agent.text('c')
      if (prompt) agent.answers(prompt, { stopReason: 'end_turn' })
    } else if (message.method === 'session/cancel') {
      for (const prompt of prompts.splice(0)) agent.answers(prompt, { stopReason: 'cancelled' })
    }
  })
}

function stageWith(agent: ScriptedAgent): Stage {
  agent.says({ id: 'new:1', result: { sessionId: SESSION } })
  return { agent, transcript: memoryTranscript(), claims: memoryClaims() }
}

function turnOf(stage: Stage, policy: PermissionPolicy) {
  return (tools: { journal: Journal; claims: Claims; record: Record }, turn: Parameters<typeof runTurn>[0]['turn']) =>
    runTurn({
      ...tools,
      sessionId: SESSION,
      cwd: '/workspace',
      quirks: { resume: 'load' },
      policy,
      turn,
      storedLine: Math.max(1, stage.transcript.storedLine('agent-1')),
      signals: { interrupt: new AbortController().signal, detach: new AbortController().signal },
      times: { graceMs: 20, evidenceMs: 20 },
    })
}

const prompt = { kind: 'prompt', messageId: 'm1', text: 'go', previousMessageId: null } as const

const wholeStory = [
  { kind: 'prompt', data: { message_id: 'm1', text: 'go' } },
  { kind: 'message', data: { text: 'a' } },
  { kind: 'message', data: { text: 'b' } },
  { kind: 'tool_call', data: { toolCallId: 'tool-1', title: 'touch file' } },
  { kind: 'answer', data: { question_id: 'agent-1:1', option_id: 'yes', by: 'policy' } },
  { kind: 'message', data: { text: 'c' } },
  { kind: 'turn_end', data: { stop_reason: 'end_turn' } },
]

test('a driver that dies at any act of a turn is followed by one that finishes it as if nothing had been', async () => {
  const deaths = await everyDeath(async (endsAt, when) => {
    const stage = stageWith(worker())
    const turn = turnOf(stage, 'allow')
    const { result, hasDied } = await survive(stage, endsAt, when, (tools) => turn(tools, prompt))
    const where = `death ${when} act ${endsAt}`
    expect(result, where).toEqual({ kind: 'ended', stopReason: 'end_turn' })
    expect(stage.agent.heard.filter(({ method }) => method === 'session/prompt').length, where).toBe(1)
    expect(story(stage.transcript), where).toEqual(wholeStory)
    return hasDied
  })
  expect(deaths).toBeGreaterThan(12)
})

test('a driver that dies at any act of asking or answering is followed by one that asks and answers the same', async () => {
  const deaths = await everyDeath(async (endsAt, when) => {
    const stage = stageWith(worker())
    const turn = turnOf(stage, 'ask')
    const where = `death ${when} act ${endsAt}`
    const asked = await survive(stage, endsAt, when, (tools) => turn(tools, prompt))
    expect(asked.result, where).toMatchObject({ kind: 'question', question: { questionId: 'agent-1:1' } })
    const answered = await survive(stage, endsAt, when, (tools) =>
      turn(tools, { kind: 'answer', questionId: 'agent-1:1', optionId: 'allow' }),
    )
    expect(answered.result, where).toEqual({ kind: 'ended', stopReason: 'end_turn' })
    expect(stage.agent.heard.filter(({ method }) => method === 'session/prompt').length, where).toBe(1)
    expect(
      story(stage.transcript).filter(({ kind }) => kind !== 'question'),
      where,
    ).toEqual([
      ...wholeStory.slice(0, 4),
      { kind: 'answer', data: { question_id: 'agent-1:1', option_id: 'yes', by: 'person' } },
      ...wholeStory.slice(5),
    ])
    return asked.hasDied || answered.hasDied
  })
  expect(deaths).toBeGreaterThan(12)
})

test('a driver that dies twice in a row over one message still sends it only once', async () => {
  for (let second = 1; second < 16; second++) {
    const stage = stageWith(worker())
    const turn = turnOf(stage, 'allow')
    // It dies between its claim and the message, and so does its follower at some act.
    const doomed = life(2, 'before')
    const tools = { journal: doomed.journal(stage.agent.journal), claims: doomed.claims(stage.claims) }
    await expect(turn({ ...tools, record: stage.transcript.record }, prompt)).rejects.toThrow(Death)
    const { result } = await survive(stage, second, 'before', (next) => turn(next, prompt))
    expect(result satisfies TurnOutcome, `death before act ${second}`).toEqual({
      kind: 'ended',
      stopReason: 'end_turn',
    })
    expect(stage.agent.heard.filter(({ method }) => method === 'session/prompt').length).toBe(1)
    expect(story(stage.transcript)).toEqual(wholeStory)
  }
})

test('a message that a dead driver may have sent to a silent agent is cancelled and sent again', async () => {
  let hasCancelled = false
  const silent = scriptedAgent((message, agent) => {
    const prompts = agent.heard.filter(({ method }) => method === 'session/prompt')
    if (message.method === 'session/cancel') {
      hasCancelled = true
      for (const open of prompts) agent.answers(open, { stopReason: 'cancelled' })
    } else if (message.method === 'session/prompt' && hasCancelled) {
      agent.text('now')
      agent.answers(message, { stopReason: 'end_turn' })
    }
  })
  const stage = stageWith(silent)
  const turn = turnOf(stage, 'allow')
  const { result } = await survive(stage, 2, 'after', (tools) => turn(tools, prompt))
  expect(result).toEqual({ kind: 'ended', stopReason: 'end_turn' })
  expect(stage.agent.heard.map(({ id, method }) => [method, id])).toEqual([
    ['session/prompt', 'prompt:m1:1'],
    ['session/cancel', undefined],
    ['session/prompt', 'prompt:m1:2'],
  ])
  expect(stage.transcript.text()).toBe('now')
})

test('a driver that dies at any act of opening a session is followed by one that opens it', async () => {
  const deaths = await everyDeath(async (endsAt, when) => {
    let sessions = 0
    const agent = scriptedAgent((message, self) => {
      if (message.method === 'initialize') self.answers(message, { protocolVersion: 1, agentCapabilities: {} })
      if (message.method === 'session/new') self.answers(message, { sessionId: `session-${++sessions}` })
      if (message.method === 'session/set_mode') self.answers(message, {})
    })
    const stage = { agent, transcript: memoryTranscript(), claims: memoryClaims() }
    const { result, hasDied } = await survive(stage, endsAt, when, (tools) =>
      openSession({
        ...tools,
        cwd: '/workspace',
        resumeSessionId: null,
        quirks: { resume: 'load', sessionMode: { allow: 'free' } },
        policy: 'allow',
        storedLine: stage.transcript.storedLine('agent-1'),
        signal: new AbortController().signal,
        times: { answerMs: 5_000, repeatMs: 20 },
      }),
    )
    expect(result, `death ${when} act ${endsAt}`).toEqual({
      sessionId: 'session-1',
      resumed: false,
      takesImages: false,
    })
    expect(sessions).toBe(1)
    return hasDied
  })
  expect(deaths).toBeGreaterThan(12)
})
