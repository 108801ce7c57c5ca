// Follows an agent at work: its lines become events, its requests are kept until they are answered.
import type { RunFailure } from '../../domain/failure.ts'
import type { PermissionPolicy } from '../../domain/harness.ts'
import type { Journal, JournalLine } from '../../domain/journal.ts'
import type { Redactor } from '../../domain/vault/redaction.ts'
import type { AcpQuirks } from '../agent.ts'
import type { Answered } from './call.ts'
import { type Happening, newEvent, ofStrayLine, ofUpdate, PART, tokensOf } from './events.ts'
import { disguisedFailure, failureOfError, refused, served } from './failures.ts'
import { type Answer, isObject, parseMessage, type RpcId } from './messages.ts'
import { isTelling, optionFor, type Permission, parsePermission } from './permission.ts'
import type { Recorder } from './recorder.ts'
import type { TurnMessage } from './turn-options.ts'

/** How a turn came to its end, as the agent told it. */
export interface TurnEnd {
  /** The request that it answers. */
  promptId: string
  line: number
  stopReason: string
  failure: RunFailure | null
}

/** Ids of our prompts begin with this, so that the answer to one is known by its id alone. */
export const PROMPT_ID = 'prompt:'

/** Characters of the agent's text that are kept, to tell a failure that looks like a normal end. */
const TEXT_KEPT = 4_000

/** What is known of a turn from the lines that were read. */
export interface Follower {
  onLine(line: JournalLine): void
  /** The agent's answers to requests of ours, by request id. */
  readonly answers: Map<string, Answered>
  /** Ends of turns, in order. */
  readonly ends: TurnEnd[]
  /** Permission requests that the agent still waits for, as far as the journal tells. */
  readonly permissions: Map<RpcId, Permission>
  /** Requests that nobody here can answer. */
  readonly foreign: RpcId[]
  /** Lines that only an agent at work on a prompt can have written. */
  readonly signsOfWork: number[]
  /** While true, the session's history is told again and is not for the transcript. */
  isHistory: boolean
}

export interface FollowerOptions {
  journal: Journal
  sessionId: string
  quirks: AcpQuirks
  policy: PermissionPolicy
  turn: TurnMessage
  recorder: Recorder
  /** What was asked is known to people as this leaves it. */
  redactor?: Redactor | undefined
}

export function createFollower(options: FollowerOptions): Follower {
  const { journal, sessionId, quirks, policy, turn, recorder, redactor } = options
  /** Tool calls by id, with all that was said of each until it ended. */
  const tools = new Map<unknown, Record<string, unknown>>()
  let text = ''
  let spent: Record<string, number> | null = null
  let decided = (turn.kind === 'prompt' && turn.decided) || null

  const follower: Follower = {
    answers: new Map(),
    ends: [],
    permissions: new Map(),
    foreign: [],
    signsOfWork: [],
    isHistory: false,
    onLine(line) {
      const parts = happeningsOf(line)
      recorder.add(
        line.line,
        parts.map(([part, happening]) => newEvent(line.line, part, happening)),
      )
    },
  }
  return follower

  function happeningsOf(line: JournalLine): [number, Happening][] {
    const message = parseMessage(line.text)
    switch (message.kind) {
      case 'blank':
      case 'complaint':
        return []
      case 'unparsable':
        return [[PART.update, ofStrayLine(line)]]
      case 'response':
        return onResponse(line.line, String(message.id), message.answer)
      case 'request':
        return onRequest(line.line, message.id, message.method, message.params)
      case 'notification':
        return onNotification(line.line, message.method, message.params)
    }
  }

  function onNotification(line: number, method: string, params: Record<string, unknown>): [number, Happening][] {
    if (method === '$/cancel_request') {
      // The agent no longer waits for what it asked.
      follower.permissions.delete(params.requestId as RpcId)
      return []
    }
    if (method !== 'session/update' || params.sessionId !== sessionId || !isObject(params.update)) return []
    if (follower.isHistory) return []
    const happening = ofUpdate(params.update)
    if (happening === null) return []
    if (happening.kind === 'tool_call' || happening.kind === 'tool_update') noteTool(happening.data)
    if (happening.kind === 'message' || happening.kind === 'thought' || happening.kind === 'tool_call') {
      follower.signsOfWork.push(line)
    }
    if (happening.kind === 'usage' && 'input_tokens' in happening.data) spent = sum(spent ?? {}, happening.data)
    if (happening.kind === 'message') text = (text + String(happening.data.text)).slice(-TEXT_KEPT)
    return [[PART.update, happening]]
  }

  function onRequest(line: number, id: RpcId, method: string, params: Record<string, unknown>): [number, Happening][] {
    const isPermission = method === 'session/request_permission'
    const permission = isPermission ? parsePermission(journal.name, line, id, params, knownTool) : null
    if (permission === null) {
      follower.foreign.push(id)
      return []
    }
    follower.signsOfWork.push(line)
    follower.permissions.set(id, permission)
    const happenings: [number, Happening][] = []
    const { toolCall, question, title } = permission
    permission.choice = choiceOf(permission)
    if (turn.kind === 'answer' && turn.questionId === question.questionId) {
      // The question is stored already; what the person said to it is not.
      const data = { question_id: question.questionId, option_id: optionFor(permission, turn.optionId), by: 'person' }
      recorder.addNote([newEvent(line, PART.answer, { kind: 'answer', data })])
    }
    // Gemini CLI tells of a tool that needs permission only in the request itself.
    if (!tools.has(toolCall.toolCallId)) {
      noteTool(toolCall)
      happenings.push([PART.toolOfQuestion, { kind: 'tool_call', data: { title, ...toolCall } }])
    }
    const isOurs = isTelling(title)
    const wasDecided = turn.kind === 'prompt' && permission.choice !== policy && !isOurs
    if (policy === 'ask' && !wasDecided && !isOurs) {
      const options = question.options.map((option) => ({
        option_id: option.optionId,
        name: option.name,
        kind: option.kind,
      }))
      const data = { question_id: question.questionId, title, tool_call: toolCall, options }
      happenings.push([PART.question, { kind: 'question', data }])
    } else {
      const by = wasDecided ? 'person' : 'policy'
      const data = { question_id: question.questionId, option_id: optionFor(permission, permission.choice), by }
      happenings.push([PART.answer, { kind: 'answer', data }])
    }
    return happenings
  }

  function choiceOf({ question, title }: Permission): string {
    if (isTelling(title)) return 'allow'
    if (turn.kind === 'answer') return turn.questionId === question.questionId ? turn.optionId : policy
    if (decided === null || decided.title !== (redactor?.text(question.title) ?? question.title)) return policy
    const { choice } = decided
    decided = null
    return choice
  }

  function noteTool(data: Record<string, unknown>): void {
    const hasEnded = data.status === 'completed' || data.status === 'failed'
    // Its output may be large, and nobody asks about it any more.
    tools.set(data.toolCallId, hasEnded ? {} : { ...tools.get(data.toolCallId), ...data })
  }

  function knownTool(id: string): Record<string, unknown> {
    return tools.get(id) ?? {}
  }

  function onResponse(line: number, id: string, answer: Answer): [number, Happening][] {
    follower.answers.set(id, { line, answer })
    if (!id.startsWith(PROMPT_ID)) return []
    follower.signsOfWork.push(line)
    const end = toEnd(line, id, answer)
    follower.ends.push(end)
    // What the agent asked during the turn is no longer of interest to it.
    follower.permissions.clear()
    if (end.failure && end.failure.code !== 'agent_refused') {
      return [[PART.update, { kind: 'error', data: { failure: served(end.failure) } }]]
    }
    const usage = (answer.ok ? usageOf(answer.result) : null) ?? spent
    const data = { stop_reason: end.stopReason, ...(usage ? { usage } : {}) }
    return [[PART.update, { kind: 'turn_end', data }]]
  }

  function toEnd(line: number, promptId: string, answer: Answer): TurnEnd {
    if (!answer.ok) return { promptId, line, stopReason: 'error', failure: failureOfError(answer.error, 'turn') }
    const result = isObject(answer.result) ? answer.result : {}
    const stopReason = String(result.stopReason ?? 'end_turn')
    if (stopReason === 'refusal') return { promptId, line, stopReason, failure: refused }
    const told = quirks.disguisedFailure?.({ stopReason, text, usage: result.usage ?? null }) ?? null
    return { promptId, line, stopReason, failure: told === null ? null : disguisedFailure(told) }
  }
}

/** Tokens of the turn, where the agent tells them: by the protocol's own field, or as Gemini CLI does. */
function usageOf(result: unknown): Record<string, number> | null {
  if (!isObject(result)) return null
  const meta = isObject(result._meta) ? result._meta : {}
  const quota = isObject(meta.quota) ? meta.quota : {}
  return tokensOf(result.usage) ?? tokensOf(quota.token_count)
}

/** Adds up the tokens of the calls of a turn. */
function sum(one: Record<string, number>, other: Record<string, unknown>): Record<string, number> {
  const added = Object.entries(other).map(([name, count]) => [name, (one[name] ?? 0) + Number(count)])
  return { ...one, ...Object.fromEntries(added) }
}
