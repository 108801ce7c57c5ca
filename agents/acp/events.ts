// The agent's updates as transcript events.
import type { SessionUpdate } from '@agentclientprotocol/sdk/unstable'
import type { EventKind, NewEvent } from '../../domain/event.ts'
import type { JournalLine } from '../../domain/journal.ts'
import { isObject } from './messages.ts'
import { storable, storableText } from './storable.ts'

/** What happened, before it is given its place in the transcript. */
export interface Happening {
  kind: EventKind
  data: Record<string, unknown>
}

/** Numbers of a line's parts. A line gives the same parts whoever reads it, so each kind has its own number. */
export const PART = { update: 0, toolOfQuestion: 0, question: 1, answer: 2, prompt: 3, warning: 4 } as const

/** Characters kept of a line that is not a message. */
const UNPARSABLE_KEPT = 500

export function newEvent(line: number, part: number, { kind, data }: Happening): NewEvent {
  // The first line of a journal is 1; a message can precede it.
  return { line: Math.max(1, line), part, time: new Date().toISOString(), kind, data: storable(data) }
}

/** The event of one `session/update`; null where it says nothing new. */
export function ofUpdate(update: Record<string, unknown>): Happening | null {
  try {
    return ofKnownUpdate(update as SessionUpdate)
  } catch {
    // An update that is not what the protocol says is kept as it came.
    return { kind: 'unknown_update', data: update }
  }
}

function ofKnownUpdate(update: SessionUpdate): Happening | null {
  switch (update.sessionUpdate) {
    // What the person said is stored when it is sent; agents repeat it, some of them.
    case 'user_message_chunk':
      return null
    case 'agent_message_chunk':
      return ofChunk('message', update)
    case 'agent_thought_chunk':
      return ofChunk('thought', update)
    case 'tool_call':
      return { kind: 'tool_call', data: without(update) }
    case 'tool_call_update':
      return { kind: 'tool_update', data: withOutput(without(update)) }
    case 'plan':
      return { kind: 'plan', data: without(update) }
    case 'usage_update':
      return { kind: 'usage', data: without(update) }
    case 'current_mode_update':
      return { kind: 'mode', data: { mode_id: update.currentModeId } }
    case 'available_commands_update':
      return {
        kind: 'commands',
        data: { commands: update.availableCommands.map(({ name, description }) => ({ name, description })) },
      }
    case 'session_info_update':
      // Codex tells of its inner states in this way, between its messages.
      return isOnlyMeta(update) ? null : { kind: 'session_info', data: without(update) }
    case 'notice':
      return {
        kind: 'warning',
        data: { code: 'agent_notice', message: [update.title, update.description].filter(Boolean).join(': ') },
      }
    default:
      return { kind: 'unknown_update', data: { ...(update as object) } }
  }
}

/** The warning a line leaves that is no message, or was too long to be kept whole. */
export function ofStrayLine(line: JournalLine): Happening {
  if (line.truncatedBytes > 0) {
    const message = `A line of the agent's output was too long to be read: ${line.truncatedBytes} bytes of it are left out.`
    return { kind: 'warning', data: { code: 'oversized_line', message } }
  }
  const text = storableText(line.text.slice(0, UNPARSABLE_KEPT))
  return {
    kind: 'warning',
    data: { code: 'unparsable_output', message: 'The agent printed something that is not a message.', text },
  }
}

type Chunk = Extract<SessionUpdate, { sessionUpdate: 'agent_message_chunk' | 'agent_thought_chunk' }>

function ofChunk(kind: 'message' | 'thought', update: Chunk): Happening | null {
  const { content } = update
  const messageId = update.messageId ? { message_id: update.messageId } : {}
  if (content.type !== 'text') return { kind, data: { text: '', content, ...messageId } }
  if (content.text !== '') return { kind, data: { text: content.text, ...messageId } }
  // Qwen Code tells the tokens of each call of the model on a chunk without text.
  const tokens = tokensOf(update._meta?.usage)
  return tokens === null ? null : { kind: 'usage', data: tokens }
}

/** Counts of tokens in our spelling; null where there are none. */
export function tokensOf(usage: unknown): Record<string, number> | null {
  if (!isObject(usage)) return null
  const counts = Object.entries(usage).filter((entry): entry is [string, number] => typeof entry[1] === 'number')
  if (counts.length === 0) return null
  return Object.fromEntries(
    counts.map(([name, count]) => [name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), count]),
  )
}

/** Codex's adapter tells a command's output, whole and with its end, beside the protocol's own field for it. */
function withOutput(update: Record<string, unknown>): Record<string, unknown> {
  const { _meta: meta, status } = update
  if (!isObject(meta) || !isObject(meta.terminal_output_delta) || status === undefined) return update
  const { terminal_output_delta: output, ...rest } = meta
  return {
    ...update,
    content: [{ type: 'content', content: { type: 'text', text: String(output.data) } }],
    _meta: rest,
  }
}

const isOnlyMeta = (update: SessionUpdate) =>
  Object.keys(update).every((key) => key === 'sessionUpdate' || key === '_meta')

function without(update: SessionUpdate): Record<string, unknown> {
  const { sessionUpdate: _, ...rest } = update
  return rest
}
