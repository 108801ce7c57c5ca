// From a started agent process to an open session.
import type { InitializeRequest, McpServer } from '@agentclientprotocol/sdk/unstable'
import { z } from 'zod'
import type { NewEvent } from '../../domain/event.ts'
import { logTail, type RunFailure, RunFailureError } from '../../domain/failure.ts'
import type { PermissionPolicy } from '../../domain/harness.ts'
import { type Journal, type JournalLine, ProcessEndedError } from '../../domain/journal.ts'
import type { AcpQuirks } from '../agent.ts'
import type { Claims } from '../claims.ts'
import { type CallTimes, type Channel, call, callTimes, NoAnswerError } from './call.ts'
import { newEvent, ofStrayLine, ofUpdate, PART } from './events.ts'
import { failureOfError, failureOfExit } from './failures.ts'
import { type Answer, isObject, METHOD_NOT_FOUND, parseMessage, type RpcError, refusal } from './messages.ts'
import { createReader } from './reader.ts'
import { createRecorder, type Record } from './recorder.ts'

export interface OpenSession {
  journal: Journal
  claims: Claims
  /** Where the agent works, as seen in the sandbox. */
  cwd: string
  /** The session of a former process, to go on with. */
  resumeSessionId: string | null
  quirks: AcpQuirks
  policy: PermissionPolicy
  /** Asked for only where the session is opened or loaded: they may hold a secret. */
  mcpServers?: McpServers
  /** The journal's events are stored up to here. */
  storedLine: number
  record: Record
  signal: AbortSignal
  times?: CallTimes
}

export type McpServers = () => Promise<McpServer[]>

export interface OpenedSession {
  sessionId: string
  /** It takes pictures within a prompt. */
  takesImages: boolean
  /** False when a new session was opened: the agent knows nothing of what was said before. */
  resumed: boolean
}

/** What this client offers to agents: nothing. They read, write and run by themselves, inside the sandbox. */
const initializeParams: InitializeRequest = {
  protocolVersion: 1,
  clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
  clientInfo: { name: 'ambient', version: '1' },
}

const Initialized = z.looseObject({
  agentCapabilities: z
    .looseObject({
      loadSession: z.boolean().nullish(),
      promptCapabilities: z.looseObject({ image: z.boolean().nullish() }).nullish(),
      mcpCapabilities: z.looseObject({ http: z.boolean().nullish(), sse: z.boolean().nullish() }).nullish(),
      sessionCapabilities: z.looseObject({ resume: z.unknown() }).nullish(),
    })
    .nullish(),
})
const Created = z.looseObject({ sessionId: z.string().min(1) })

/**
 * Opens the agent's session. May be called again after any death, with the same
 * arguments: what was done is found in the journal.
 * @throws {RunFailureError} when the agent cannot be brought to an open session.
 */
export async function openSession(options: OpenSession): Promise<OpenedSession> {
  const { journal, claims, cwd, quirks, policy, times = callTimes } = options
  const heard = createHearing(journal)
  const reader = createReader(journal, 0, heard.onLine)
  const channel: Channel = { journal, claims, reader, answers: heard.answers, signals: [options.signal], times }
  try {
    const initialized = await call(channel, 'initialize', 'initialize', initializeParams)
    const abilities = Initialized.parse(resultOf(initialized.answer)).agentCapabilities
    const mcpServers = takable(options.mcpServers, abilities)
    const former = quirks.resume === 'load' ? options.resumeSessionId : null
    const session = (former === null ? null : await resume(former, abilities, mcpServers)) ?? (await create(mcpServers))
    await setMode(channel, 'mode', { sessionId: session.sessionId, quirks, policy })

    // Answers alone are as well read once more by the first turn, which need not wait for them to be noted as read.
    if (heard.hasMoreThanAnswers()) {
      const events = heard.events(session.sessionId, session.quietUntil)
      const recorder = createRecorder({ journal: journal.name, storedLine: options.storedLine, record: options.record })
      for (const event of events) recorder.add(event.line, [event])
      recorder.add(reader.line, [])
      await recorder.flush()
    }
    const takesImages = abilities?.promptCapabilities?.image === true
    return { sessionId: session.sessionId, resumed: session.resumed, takesImages }
  } catch (error) {
    if (error instanceof ProcessEndedError) throw new RunFailureError(await failureOfExit(journal, 'agent_start'))
    if (error instanceof NoAnswerError) throw new RunFailureError(await failureOfSilence(journal, error))
    if (error instanceof z.ZodError) throw new RunFailureError(misunderstood(error))
    throw error
  } finally {
    await reader.close()
  }

  async function create(mcpServers: McpServers) {
    const { answer } = await call(channel, 'new', 'session/new', {
      cwd,
      mcpServers: await mcpServers(),
      ...meta(quirks),
    })
    return { sessionId: Created.parse(resultOf(answer)).sessionId, resumed: false, quietUntil: 0 }
  }

  /** Null when the agent no longer has the session, or cannot open it. */
  async function resume(sessionId: string, abilities: Abilities, mcpServers: McpServers) {
    const method = abilities?.loadSession ? 'session/load' : 'session/resume'
    if (!abilities?.loadSession && !abilities?.sessionCapabilities?.resume) return null
    const params = { sessionId, cwd, mcpServers: await mcpServers(), ...meta(quirks) }
    const { line, answer } = await call(channel, 'load', method, params)
    if (!answer.ok) return null
    // Until its answer the agent tells the session's history again.
    return { sessionId, resumed: true, quietUntil: quirks.historyAfterLoad ? await untilSilent(channel) : line }
  }
}

const meta = ({ sessionMeta }: AcpQuirks) => (sessionMeta === undefined ? {} : { _meta: sessionMeta })

/** Commands every agent can start; of the others, those whose protocol it says that it knows. */
function takable(servers: McpServers = async () => [], abilities: Abilities): McpServers {
  const { http, sse } = abilities?.mcpCapabilities ?? {}
  const canTake = (server: McpServer) =>
    !('type' in server) || (server.type === 'http' ? http : server.type === 'sse' && sse)
  return async () => (await servers()).filter(canTake)
}

/** How long an agent is silent when it has told all of a history, in milliseconds. */
const SILENCE_MS = 400

/** Reads on until the agent has nothing more to say for now; answers with the last line. */
async function untilSilent({ reader, signals }: Channel): Promise<number> {
  for (;;) {
    const line = reader.line
    const reading = await reader.until(() => reader.line > line, { within: SILENCE_MS, wakenBy: signals })
    if (reading !== 'done') return reader.line
  }
}

/**
 * Closes the session and opens it again, which ends commands that it left
 * running. `key` names the occasion for good. Returns once the agent has told
 * the session's history.
 */
export async function reopenSession(
  channel: Channel,
  key: string,
  options: { sessionId: string; cwd: string; mcpServers: McpServer[]; quirks: AcpQuirks; policy: PermissionPolicy },
): Promise<void> {
  const { sessionId, cwd, mcpServers } = options
  resultOf((await call(channel, `close:${key}`, 'session/close', { sessionId })).answer)
  resultOf(
    (await call(channel, `load:${key}`, 'session/load', { sessionId, cwd, mcpServers, ...meta(options.quirks) }))
      .answer,
  )
  if (options.quirks.historyAfterLoad) await untilSilent(channel)
  await setMode(channel, `mode:${key}`, options)
}

/** Puts the session into the mode that the policy asks for, where the agent has one. */
async function setMode(
  channel: Channel,
  step: string,
  { sessionId, quirks, policy }: { sessionId: string; quirks: AcpQuirks; policy: PermissionPolicy },
): Promise<void> {
  const modeId = quirks.sessionMode?.[policy]
  if (modeId === undefined) return
  resultOf((await call(channel, step, 'session/set_mode', { sessionId, modeId })).answer)
}

type Abilities = z.infer<typeof Initialized>['agentCapabilities']

/** Keeps what is said while a session is opened. Which of it belongs to the transcript is known at the end. */
function createHearing(journal: Journal) {
  const answers: Channel['answers'] = new Map()
  /** The session is null for a line that belongs to none. */
  const said: { sessionId: unknown; event: NewEvent }[] = []
  let hasMore = false
  return {
    answers,
    hasMoreThanAnswers: () => hasMore,
    async onLine(line: JournalLine): Promise<void> {
      const message = parseMessage(line.text)
      if (message.kind !== 'response') hasMore = true
      if (message.kind === 'response') answers.set(String(message.id), { line: line.line, answer: message.answer })
      else if (message.kind === 'notification' && message.method === 'session/update') {
        const { sessionId, update } = message.params
        const happening = isObject(update) ? ofUpdate(update) : null
        if (happening) said.push({ sessionId, event: newEvent(line.line, PART.update, happening) })
      } else if (message.kind === 'request') {
        await journal.write(refusal(message.id, { code: METHOD_NOT_FOUND, message: 'Method not found' }))
      } else if (message.kind === 'unparsable') {
        said.push({ sessionId: null, event: newEvent(line.line, PART.update, ofStrayLine(line)) })
      }
    },
    /** What concerns this session, without the history that was told again up to `quietUntil`. */
    events: (sessionId: string, quietUntil: number): NewEvent[] =>
      said
        .filter((each) => each.sessionId === null || (each.sessionId === sessionId && each.event.line > quietUntil))
        .map((each) => each.event),
  }
}

function resultOf(answer: Answer): unknown {
  if (answer.ok) return answer.result
  throw new RunFailureError(startFailure(answer.error))
}

function startFailure(error: RpcError): RunFailure {
  const failure = failureOfError(error, 'agent_start')
  return failure.code === 'agent_protocol_error' ? { ...failure, code: 'agent_start_failed' } : failure
}

async function failureOfSilence(journal: Journal, error: NoAnswerError): Promise<RunFailure> {
  return {
    code: 'agent_start_failed',
    phase: 'agent_start',
    message: error.message,
    logTail: logTail(await journal.stderrTail()),
    nextStep: 'Start the run again. If the machine is very busy, give the agent more processor time.',
  }
}

const misunderstood = (error: z.ZodError): RunFailure => ({
  code: 'agent_start_failed',
  phase: 'agent_start',
  message: "The agent's answer is not what the Agent Client Protocol says.",
  logTail: z.prettifyError(error),
  nextStep: 'Install the version of the agent that this Ambient names.',
})
