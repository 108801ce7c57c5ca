import { expect, test } from 'vitest'
import { RunFailureError } from '../../domain/failure.ts'
import type { AcpQuirks } from '../agent.ts'
import { type OpenSession, openSession } from './session.ts'
import { memoryClaims, memoryTranscript } from './testing/memory.ts'
import { type Heard, type ScriptedAgent, SESSION, scriptedAgent } from './testing/scripted-agent.ts'

type Replies = Partial<Record<string, (message: Heard, agent: ScriptedAgent) => void>>

const abilities = (agentCapabilities: object) => (message: Heard, agent: ScriptedAgent) =>
  agent.answers(message, { protocolVersion: 1, agentCapabilities })
const created = (message: Heard, agent: ScriptedAgent) => agent.answers(message, { sessionId: SESSION })

function start(replies: Replies) {
  const agent = scriptedAgent((message, self) => replies[message.method ?? '']?.(message, self))
  const transcript = memoryTranscript()
  const claims = memoryClaims()
  const quirks: AcpQuirks = { resume: 'load' }
  const open = (changes: Partial<OpenSession> = {}) =>
    openSession({
      journal: agent.journal,
      claims,
      cwd: '/workspace',
      resumeSessionId: null,
      quirks,
      policy: 'ask',
      storedLine: transcript.storedLine('agent-1'),
      record: transcript.record,
      signal: new AbortController().signal,
      times: { answerMs: 5_000, repeatMs: 20 },
      ...changes,
    })
  return { agent, transcript, open }
}

const failureOf = async (opening: Promise<unknown>) => {
  const error = await opening.then(
    () => null,
    (reason: unknown) => reason,
  )
  if (!(error instanceof RunFailureError)) throw error
  return error.failure
}

test('a new session is opened in the workspace, and what the agent says meanwhile is told', async () => {
  const { agent, transcript, open } = start({
    initialize: abilities({ loadSession: true }),
    'session/new': (message, self) => {
      created(message, self)
      self.updates({ sessionUpdate: 'current_mode_update', currentModeId: 'later' })
    },
  })
  agent.says('warming up')
  expect(await open()).toEqual({ sessionId: SESSION, resumed: false, takesImages: false })
  expect(agent.heard.map(({ method, params }) => [method, params])).toEqual([
    [
      'initialize',
      {
        protocolVersion: 1,
        clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
        clientInfo: { name: 'ambient', version: '1' },
      },
    ],
    ['session/new', { cwd: '/workspace', mcpServers: [] }],
  ])
  expect(transcript.of('warning')).toMatchObject([{ code: 'unparsable_output', text: 'warming up' }])
  // What follows the session's opening is left to the first turn.
  expect(transcript.storedLine('agent-1')).toBe(3)
})

test('a session is opened once, however often it is asked for', async () => {
  const { agent, open } = start({ initialize: abilities({}), 'session/new': created })
  expect(await open()).toEqual(await open())
  expect(agent.heard.length).toBe(2)
})

test('a former session is loaded, and its history is not told again', async () => {
  const { agent, transcript, open } = start({
    initialize: abilities({ loadSession: true }),
    'session/load': (message, self) => {
      self.text('what was said before')
      self.answers(message, {})
    },
  })
  expect(await open({ resumeSessionId: SESSION })).toEqual({ sessionId: SESSION, resumed: true, takesImages: false })
  expect(agent.heard.at(-1)?.params).toEqual({ sessionId: SESSION, cwd: '/workspace', mcpServers: [] })
  expect(transcript.events).toEqual([])
  expect(transcript.storedLine('agent-1')).toBe(3)
})

test('a history that is told after the answer is not told again either', async () => {
  const { transcript, open } = start({
    initialize: abilities({ loadSession: true }),
    'session/load': (message, self) => {
      self.answers(message, {})
      self.text('what was said before')
    },
  })
  const quirks: AcpQuirks = { resume: 'load', historyAfterLoad: true }
  expect(await open({ resumeSessionId: SESSION, quirks })).toEqual({
    sessionId: SESSION,
    resumed: true,
    takesImages: false,
  })
  expect(transcript.events).toEqual([])
  expect(transcript.storedLine('agent-1')).toBe(3)
})

test('a session that cannot be loaded is followed by a new one, and that is said', async () => {
  const { agent, transcript, open } = start({
    initialize: abilities({ loadSession: true }),
    'session/load': (message, self) => self.fails(message, { code: -32602, message: 'No such session' }),
    'session/new': (message, self) => self.answers(message, { sessionId: 'session-2' }),
  })
  expect(await open({ resumeSessionId: SESSION })).toEqual({
    sessionId: 'session-2',
    resumed: false,
    takesImages: false,
  })
  expect(agent.heard.map(({ method }) => method)).toEqual(['initialize', 'session/load', 'session/new'])
  expect(transcript.events).toEqual([])
})

test.each([
  [{ sessionCapabilities: { resume: {} } }, ['initialize', 'session/resume'], true],
  [{}, ['initialize', 'session/new'], false],
])('an agent that offers %j is asked for no more than that', async (capabilities, methods, resumed) => {
  const { agent, open } = start({
    initialize: abilities(capabilities),
    'session/resume': (message, self) => self.answers(message, {}),
    'session/new': created,
  })
  expect(await open({ resumeSessionId: SESSION })).toEqual({ sessionId: SESSION, resumed, takesImages: false })
  expect(agent.heard.map(({ method }) => method)).toEqual(methods)
})

test('the mode that the policy asks for is set', async () => {
  const { agent, open } = start({
    initialize: abilities({}),
    'session/new': created,
    'session/set_mode': (message, self) => self.answers(message, {}),
  })
  await open({ quirks: { resume: 'load', sessionMode: { ask: 'careful', allow: 'free' } } })
  expect(agent.heard.at(-1)).toMatchObject({
    method: 'session/set_mode',
    params: { sessionId: SESSION, modeId: 'careful' },
  })
})

test('an agent that dies at the start is told of with its last words', async () => {
  const { open } = start({ initialize: (_, self) => self.ends({ code: 127, outOfMemory: false }, 'no such file') })
  expect(await failureOf(open())).toEqual({
    code: 'agent_start_failed',
    phase: 'agent_start',
    message: 'The agent ended before it was ready, with exit code 127.',
    exitCode: 127,
    logTail: 'no such file',
    nextStep: 'The log is the end of what it wrote. Send a message to go on, or start the run again.',
  })
})

test('an agent that never answers is told of', async () => {
  const { open } = start({})
  expect(await failureOf(open({ times: { answerMs: 100, repeatMs: 20 } }))).toMatchObject({
    code: 'agent_start_failed',
    message: 'The agent did not answer initialize within 0.1 s.',
  })
})

test.each([
  [{ code: -32000, message: 'Authentication required' }, 'model_unauthorized'],
  [{ code: -32602, message: 'Invalid params' }, 'agent_start_failed'],
])('a session refused with %j fails with %s', async (error, code) => {
  const { open } = start({
    initialize: abilities({}),
    'session/new': (message, self) => self.fails(message, error),
  })
  expect(await failureOf(open())).toMatchObject({ code, phase: 'agent_start' })
})

test('an answer that is not of the protocol is told of', async () => {
  const { open } = start({ initialize: abilities({}), 'session/new': (message, self) => self.answers(message, {}) })
  expect(await failureOf(open())).toMatchObject({ code: 'agent_start_failed', phase: 'agent_start' })
})

test('opening ends when it is no longer wanted', async () => {
  const { agent, open } = start({})
  const controller = new AbortController()
  const opening = open({ signal: controller.signal })
  await agent.hears('initialize')
  controller.abort(new Error('not wanted'))
  await expect(opening).rejects.toThrow('not wanted')
})

test('an agent is told of servers, and given pictures, as far as it says that it can have them', async () => {
  const web = { type: 'http' as const, name: 'ambient', url: 'http://gateway/mcp', headers: [] }
  const older = { type: 'sse' as const, name: 'older', url: 'http://gateway/sse', headers: [] }
  const command = { name: 'files', command: 'files', args: [], env: [] }
  const mcpServers = async () => [web, older, command]
  const can = { mcpCapabilities: { http: true }, promptCapabilities: { image: true } }
  const able = start({ initialize: abilities(can), 'session/new': created })
  expect(await able.open({ mcpServers })).toMatchObject({ takesImages: true })
  expect(able.agent.heard.at(-1)?.params).toMatchObject({ mcpServers: [web, command] })

  const unable = start({ initialize: abilities({}), 'session/new': created })
  expect(await unable.open({ mcpServers })).toMatchObject({ takesImages: false })
  expect(unable.agent.heard.at(-1)?.params).toMatchObject({ mcpServers: [command] })
})
