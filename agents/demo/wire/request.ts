// A model request in neutral words: what is left of it when the wire format is taken away.
import { z } from 'zod'

export type FormatName = 'chat' | 'responses' | 'anthropic' | 'gemini'

export interface Tool {
  name: string
  /** A tool in free form takes one text instead of named arguments. */
  kind: 'function' | 'freeform'
  /** The arguments' JSON schema, as far as it is read here. */
  properties: Readonly<Record<string, { type?: unknown }>>
}

export interface ToolResult {
  id: string
  name: string
  output: string
}

/** The conversation in its order, without what an agent adds about itself and its surroundings. */
export type Entry =
  | { role: 'user'; text: string }
  | { role: 'assistant'; text: string }
  | ({ role: 'tool' } & ToolResult)

export interface ModelRequest {
  format: FormatName
  model: string
  stream: boolean
  tools: Tool[]
  conversation: Entry[]
  /** The last thing the person said. */
  prompt: string
  /** What tools have answered since then; their number says how far the turn is. */
  toolResults: ToolResult[]
  /** Not part of a turn: an agent asks for a title, a suggestion, a summary. */
  isAuxiliary: boolean
  /** The JSON schema that the answer's text must follow; null for plain text. */
  answerSchema: unknown
}

/** The request is not one of its format: answered with status 400. */
export class MalformedRequest extends Error {
  override readonly name = 'MalformedRequest'
}

/** Makes the request from what a format's decoder has read. */
export function modelRequest(read: {
  format: FormatName
  model: string
  stream: boolean
  instructions: string
  tools: Tool[]
  conversation: Entry[]
  answerSchema: unknown
}): ModelRequest {
  const { instructions, ...rest } = read
  const conversation = read.conversation
    .map((entry) => (entry.role === 'user' ? { ...entry, text: withoutContext(entry.text) } : entry))
    .filter((entry) => entry.role === 'tool' || entry.text !== '')
  const last = conversation.findLastIndex((entry) => entry.role === 'user')
  const prompt = conversation[last]
  const text = prompt?.role === 'user' ? prompt.text : ''
  return {
    ...rest,
    conversation,
    prompt: text,
    toolResults: conversation
      .slice(last + 1)
      .flatMap((entry) => (entry.role === 'tool' ? [{ id: entry.id, name: entry.name, output: entry.output }] : [])),
    isAuxiliary: read.answerSchema !== null || isAuxiliary(instructions, text, read.tools),
  }
}

/** What agents put among the user's words by themselves, seen in requests of all five. */
const context = [
  /<(system-reminder|environment_context|session_context|skills_instructions|user_instructions|turn_aborted)\b[^>]*>[\s\S]*?<\/\1>/g,
  /# AGENTS\.md instructions[^\n]*\s*<INSTRUCTIONS>[\s\S]*?<\/INSTRUCTIONS>/g,
  /\[Request interrupted by user[^\]]*\]/g,
]

function withoutContext(text: string): string {
  return context.reduce((rest, pattern) => rest.replace(pattern, ''), text).trim()
}

/** Requests beside the turn, as seen from Claude Code, OpenCode and Qwen Code. Codex's ask for a schema. */
function isAuxiliary(instructions: string, prompt: string, tools: Tool[]): boolean {
  if (prompt.startsWith('[SUGGESTION MODE')) return true
  if (instructions.includes('acting as the managed memory')) return true
  // An agent that may use no tool at all sends none with its real prompts either, so their absence is not enough.
  return (
    tools.length === 0 && /\b(title generator|write the title|generate a title)\b/i.test(`${instructions} ${prompt}`)
  )
}

/** Reads a body by its schema. */
export function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body)
  if (parsed.success) return parsed.data
  throw new MalformedRequest(z.prettifyError(parsed.error))
}

/** The properties of a tool's JSON schema, whatever else it holds. */
export const ToolProperties = z
  .looseObject({ properties: z.record(z.string(), z.looseObject({ type: z.unknown().optional() })).optional() })
  .nullish()
  .transform((schema) => schema?.properties ?? {})
