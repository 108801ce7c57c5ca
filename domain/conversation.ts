// A conversation as Oz serves it: steps of messages, made from the events of transcripts.
import { z } from 'zod'
import type { RunEvent } from './event.ts'
import { RequestUsage } from './money/money.ts'

export const actionCategories = [
  'command',
  'files',
  'search',
  'integration',
  'documents',
  'computer',
  'review',
  'skill',
] as const

export const ActionCategory = z.enum(actionCategories)
export type ActionCategory = z.infer<typeof ActionCategory>

export const ConversationContent = z
  .discriminatedUnion('type', [
    z.object({ type: z.literal('text'), text: z.string() }),
    z.object({
      type: z.literal('action'),
      id: z.string(),
      category: ActionCategory,
      name: z.string(),
      input: z.unknown().describe('What the agent gave the tool, as it told it.'),
    }),
    z.object({
      type: z.literal('action_result'),
      action_id: z.string(),
      category: ActionCategory,
      name: z.string(),
      state: z.enum(['running', 'completed', 'failed', 'denied']),
      output: z.unknown().describe('A text; or a list of what the tool gave, where there is more than text.'),
    }),
    z.object({
      type: z.literal('event'),
      name: z.string().describe('thought, plan, question, answer, state, result, warning or error.'),
      data: z.record(z.string(), z.unknown()),
    }),
  ])
  .meta({ id: 'ConversationContent' })
export type ConversationContent = z.infer<typeof ConversationContent>

export const ConversationMessage = z
  .object({
    role: z.enum(['user', 'assistant', 'tool', 'system']),
    content: z.array(ConversationContent),
    message_ids: z.array(z.string()).optional(),
    timestamp: z.iso.datetime().optional(),
  })
  .meta({ id: 'ConversationMessage' })
export type ConversationMessage = z.infer<typeof ConversationMessage>

/** What is said of a step before its messages. */
const stepHead = {
  id: z.string(),
  description: z.string().optional().describe('The first line of what was asked.'),
  run_id: z.uuid().describe('The run of the conversation that it belongs to.'),
  started_at: z.iso.datetime().optional(),
}

export const ConversationStep = z
  .object({
    ...stepHead,
    messages: z.array(ConversationMessage),
    steps: z.array(z.never()).describe('Empty: the steps of this server have none below them.'),
    completed_at: z.iso.datetime().optional().describe('Absent while it is going on.'),
  })
  .meta({ id: 'ConversationStep' })

/** `GET /agent/runs/{id}/conversation` and `GET /agent/conversations/{id}` */
export const ConversationResponse = z
  .object({
    conversation_id: z.uuid(),
    request_usage: RequestUsage.nullable().describe('Of all its runs together; null where that is nothing.'),
    steps: z.array(ConversationStep),
  })
  .meta({ id: 'ConversationResponse' })

type StepHead = z.infer<z.ZodObject<typeof stepHead>>

/** A conversation, piece by piece: a step begins, has messages, and ends. */
export type Piece =
  | { kind: 'step'; step: StepHead }
  | { kind: 'message'; message: ConversationMessage }
  | { kind: 'end'; completedAt: string | null }

/** A text this long becomes a message, and what follows another one. */
const TEXT_CHARS = 256 * 1024
const DESCRIPTION_CHARS = 120

interface OpenText {
  /** Chunks that belong together have the same. */
  key: string
  text: string
  of: (text: string) => Pick<ConversationMessage, 'role' | 'content'>
  first: RunEvent
}

interface OpenCall {
  id: string
  fields: Record<string, unknown>
  first: RunEvent
}

/**
 * Reads the events of one run in their order. Holds the text that is being
 * said and the tools that are at work, and nothing else of what it has read.
 */
export class ConversationReader {
  readonly #runId: string
  #isOpen = false
  #text: OpenText | null = null
  readonly #calls = new Map<string, OpenCall>()
  /** Open questions: the tool call each is about, and which of its options say no. */
  readonly #questions = new Map<string, { callId: string | null; refusals: ReadonlySet<string> }>()
  readonly #denied = new Set<string>()

  constructor(runId: string) {
    this.#runId = runId
  }

  *read(event: RunEvent): Generator<Piece> {
    const { kind, data } = event
    switch (kind) {
      case 'prompt':
        yield* this.end(null)
        yield* this.#begin(event, textOf(data.message_id) || undefined, firstLine(textOf(data.text)))
        yield {
          kind: 'message',
          message: {
            role: 'user',
            content: [{ type: 'text', text: textOf(data.text) }],
            ...(typeof data.message_id === 'string' && { message_ids: [data.message_id] }),
            timestamp: event.time,
          },
        }
        return
      case 'message':
        yield* this.#say(event, `message ${textOf(data.message_id)}`, textOf(data.text), (text) => ({
          role: 'assistant',
          content: [{ type: 'text', text }],
        }))
        return
      case 'thought':
        yield* this.#say(event, `thought ${textOf(data.message_id)}`, textOf(data.text), (text) => ({
          role: 'assistant',
          content: [{ type: 'event', name: 'thought', data: { text } }],
        }))
        return
      case 'output':
        yield* this.#say(event, `output ${textOf(data.stream)}`, `${textOf(data.text)}\n`, (text) => ({
          role: 'assistant',
          content: [{ type: 'text', text }],
        }))
        return
      case 'setup':
        yield* this.#say(event, 'setup', `${setupLine(data)}\n`, (text) => ({
          role: 'system',
          content: [{ type: 'text', text }],
        }))
        return
      case 'tool_call':
      case 'tool_update':
        yield* this.#heed(event)
        return
      case 'question':
        this.#noteQuestion(data)
        yield* this.#tell(event, 'assistant')
        return
      case 'answer':
        this.#noteAnswer(data)
        yield* this.#tell(event, 'user')
        return
      case 'plan':
      case 'progress':
      case 'artifact':
      case 'child':
        yield* this.#tell(event, 'assistant')
        return
      case 'mcp_server':
      case 'result':
      case 'warning':
      case 'error':
        yield* this.#tell(event, 'system')
        return
      case 'state':
        if (data.failure !== undefined) yield* this.#tell(event, 'system')
        return
      case 'turn_end':
        yield* this.end(event.time)
        return
      case 'usage':
      case 'mode':
      case 'commands':
      case 'session_info':
      case 'unknown_update':
        return
    }
  }

  /** After the last event. */
  *end(completedAt: string | null): Generator<Piece> {
    yield* this.#flush()
    for (const call of this.#calls.values()) yield* this.#tellCall(call, 'running', call.first.time)
    this.#calls.clear()
    if (this.#isOpen) yield { kind: 'end', completedAt }
    this.#isOpen = false
  }

  *#begin(event: RunEvent, id?: string, description?: string): Generator<Piece> {
    if (this.#isOpen) return
    this.#isOpen = true
    yield {
      kind: 'step',
      step: {
        id: id ?? `${this.#runId}-${event.sequence}`,
        ...(description !== undefined && { description }),
        run_id: this.#runId,
        started_at: event.time,
      },
    }
  }

  *#say(event: RunEvent, key: string, text: string, of: OpenText['of']): Generator<Piece> {
    if (this.#text !== null && (this.#text.key !== key || this.#text.text.length + text.length > TEXT_CHARS))
      yield* this.#flush()
    yield* this.#begin(event)
    if (this.#text === null) this.#text = { key, text, of, first: event }
    else this.#text.text += text
  }

  *#flush(): Generator<Piece> {
    if (this.#text === null) return
    const { text, of, first } = this.#text
    this.#text = null
    if (text !== '') yield { kind: 'message', message: { ...of(text), timestamp: first.time } }
  }

  *#tell(event: RunEvent, role: ConversationMessage['role']): Generator<Piece> {
    yield* this.#flush()
    yield* this.#begin(event)
    const content = [{ type: 'event' as const, name: event.kind, data: event.data }]
    yield { kind: 'message', message: { role, content, timestamp: event.time } }
  }

  /** A call is told when it is over: before that, its input may still be on its way. */
  *#heed(event: RunEvent): Generator<Piece> {
    const id = textOf(event.data.toolCallId)
    yield* this.#flush()
    yield* this.#begin(event)
    const call = this.#calls.get(id) ?? { id, fields: {}, first: event }
    const news = Object.entries(event.data).filter(([, value]) => value !== null && value !== undefined)
    call.fields = { ...call.fields, ...Object.fromEntries(news) }
    this.#calls.set(id, call)
    const { status } = call.fields
    if (status !== 'completed' && status !== 'failed') return
    this.#calls.delete(id)
    yield* this.#tellCall(call, status === 'failed' && this.#denied.has(id) ? 'denied' : status, event.time)
  }

  *#tellCall(
    { id, fields, first }: OpenCall,
    state: 'running' | 'completed' | 'failed' | 'denied',
    time: string,
  ): Generator<Piece> {
    const category = categoryOf(fields.kind)
    const name = textOf(fields.title) || textOf(fields.kind) || 'tool'
    yield {
      kind: 'message',
      message: {
        role: 'assistant',
        content: [{ type: 'action', id, category, name, input: fields.rawInput ?? {} }],
        timestamp: first.time,
      },
    }
    yield {
      kind: 'message',
      message: {
        role: 'tool',
        content: [{ type: 'action_result', action_id: id, category, name, state, output: outputOf(fields) }],
        timestamp: time,
      },
    }
  }

  #noteQuestion({ question_id: id, tool_call: call, options }: Record<string, unknown>): void {
    const refusals = (Array.isArray(options) ? options : []).filter(({ kind }) => textOf(kind).startsWith('reject'))
    const callId = isRecord(call) && typeof call.toolCallId === 'string' ? call.toolCallId : null
    this.#questions.set(textOf(id), { callId, refusals: new Set(refusals.map(({ option_id }) => textOf(option_id))) })
  }

  #noteAnswer({ question_id: id, option_id: option }: Record<string, unknown>): void {
    const question = this.#questions.get(textOf(id))
    this.#questions.delete(textOf(id))
    if (question?.callId != null && question.refusals.has(textOf(option))) this.#denied.add(question.callId)
  }
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

function firstLine(text: string): string {
  const characters = [...(text.trim().split('\n', 1)[0] ?? '')]
  return characters.length <= DESCRIPTION_CHARS
    ? characters.join('')
    : `${characters.slice(0, DESCRIPTION_CHARS - 1).join('')}…`
}

/** A command, a line of its output, or how it ended. */
function setupLine({ text, command, exit_code: exitCode }: Record<string, unknown>): string {
  if (typeof command === 'string') return `$ ${command}`
  if (typeof exitCode === 'number') return `(exit code ${exitCode})`
  return textOf(text)
}

/** Kinds of tools, as the Agent Client Protocol has them, in Oz's words. */
const categories: Readonly<Record<string, ActionCategory>> = {
  read: 'files',
  edit: 'files',
  delete: 'files',
  move: 'files',
  search: 'search',
  execute: 'command',
  fetch: 'integration',
}

const categoryOf = (kind: unknown): ActionCategory => categories[textOf(kind)] ?? 'integration'

function outputOf({ content, rawOutput }: Record<string, unknown>): unknown {
  if (!Array.isArray(content) || content.length === 0) return rawOutput ?? ''
  const texts = content.map((part) => (isRecord(part) && isRecord(part.content) ? part.content.text : null))
  return texts.every((text) => typeof text === 'string') ? texts.join('\n') : content
}
