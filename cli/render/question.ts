// What an agent asks, shown whole: a person is about to say yes to it, so nothing of it is cut or hidden.
import type { RunItem } from '../../domain/run.ts'
import { changedLines } from './line-diff.ts'
import { lineWidth, type Style } from './style.ts'
import { columns, visible } from './text.ts'
import { newToolCall, updateToolCall } from './tool.ts'

export type Question = RunItem['questions'][number]

const INDENT = '    '

/** Heads of questions whose title does not fit into one line, by the kind of the tool. */
const heads: Record<string, string> = {
  execute: 'Run this?',
  edit: 'Change this?',
  delete: 'Delete this?',
  move: 'Move this?',
  fetch: 'Fetch this?',
}

/** The question, in lines; the options are not among them. */
export function questionText({ title, tool_call }: Pick<Question, 'title' | 'tool_call'>, style: Style): string[] {
  const { colours } = style
  const call = newToolCall()
  updateToolCall(call, tool_call ?? {})
  const input = tool_call?.rawInput
  const command = commandOf(input)
  const isShort = !title.includes('\n') && columns(visible(title)) <= lineWidth(style) - 2
  // Without a tool it is no permission: the agent asks in words, or there is nothing more to spend.
  const other = tool_call === null ? 'The run waits:' : 'The agent asks for permission:'
  const head = isShort ? visible(title) : (heads[call.kind] ?? other)
  const details = [
    ...(isShort ? [] : block(title, style)),
    // A title may be the name of the tool alone, or say the command in other words.
    ...(command !== null && !title.includes(command) ? block(command, style) : []),
    ...call.changes.flatMap((change) => [
      `${INDENT}${colours.bold(visible(change.path))}`,
      ...changedLines(change.oldText ?? '', change.newText).flatMap(({ sign, text }) =>
        block(`${sign} ${text}`, style).map(sign === '+' ? colours.green : colours.red),
      ),
    ]),
    ...(command === null && call.changes.length === 0 ? inputLines(input, style) : []),
    ...(call.output.trim() === '' || title.includes(call.output.trim())
      ? []
      : block(call.output.trim(), style).map(colours.dim)),
  ]
  return [`${colours.yellow('?')} ${colours.bold(head)}`, ...details]
}

/** The options, each as `ambient answer` knows it. */
export function optionLines({ options }: Pick<Question, 'options'>, style: Style): string[] {
  const width = Math.max(0, ...options.map(({ option_id }) => columns(visible(option_id))))
  return options.map(
    ({ option_id, name }) =>
      `${INDENT}${visible(option_id)}${' '.repeat(width - columns(visible(option_id)))}  ${style.colours.dim(visible(name))}`,
  )
}

/** What may be typed as its answer: an example, and what else there is. */
export function answerHint({
  options,
  free_text: takesWords,
}: Pick<Question, 'options' | 'free_text'>): [string, string] {
  if (takesWords) return ['"…"', options.length === 0 ? 'in words' : 'in words, or one of the options']
  const [first] = options
  // Only what asks whether something may be done knows the words for yes and no.
  if (first && options.some(({ kind }) => kind === 'answer'))
    return [visible(first.option_id), 'or another of the options']
  return ['allow', 'or deny, or one of the options']
}

function commandOf(input: unknown): string | null {
  const { command } = (input ?? {}) as { command?: unknown }
  if (typeof command === 'string' && command !== '') return command
  return Array.isArray(command) && command.length > 0 ? command.map(String).join(' ') : null
}

/** What a tool that is neither a command nor an edit is called with. */
function inputLines(input: unknown, style: Style): string[] {
  if (typeof input !== 'object' || input === null || Object.keys(input).length === 0) return []
  return block(JSON.stringify(input, null, 2), style).map(style.colours.dim)
}

/** Every line, indented; on a terminal a long one goes on below itself. */
function block(text: string, style: Style): string[] {
  const width = style.width === null ? Number.POSITIVE_INFINITY : style.width - INDENT.length
  return text.split('\n').flatMap((line) => wrapped(visible(line), width).map((part) => INDENT + part))
}

function wrapped(line: string, width: number): string[] {
  if (columns(line) <= width) return [line]
  const parts: string[] = []
  let part = ''
  let taken = 0
  for (const character of line) {
    const size = columns(character)
    if (taken + size > width) {
      parts.push(part)
      part = ''
      taken = 0
    }
    part += character
    taken += size
  }
  return [...parts, part]
}
