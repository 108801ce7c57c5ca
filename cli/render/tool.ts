// Tool calls: what is known of each, and its one line with a short output.
import { changedLines } from './line-diff.ts'
import { lineWidth, type Style } from './style.ts'
import { clean, oneLine, plural } from './text.ts'

const OUTPUT_LINES = 4
const DIFF_LINES = 6

/** The parts of the Agent Client Protocol's ToolCall that are shown. Agents leave out most of them at times. */
interface ToolFields {
  toolCallId?: string
  title?: string | null
  kind?: string | null
  status?: string | null
  content?: unknown
  rawInput?: unknown
  rawOutput?: unknown
}

interface FileChange {
  path: string
  oldText: string | null
  newText: string
}

export interface ToolCall {
  title: string
  kind: string
  status: string
  output: string
  changes: FileChange[]
  rawOutput: unknown
}

export function newToolCall(): ToolCall {
  return { title: '', kind: 'other', status: 'pending', output: '', changes: [], rawOutput: undefined }
}

/** Takes over what an update carries; what it leaves out stays. */
export function updateToolCall(call: ToolCall, data: Record<string, unknown>): void {
  const fields = data as ToolFields
  if (fields.title) call.title = fields.title
  if (fields.kind) call.kind = fields.kind
  if (fields.status) call.status = fields.status
  if (fields.rawOutput !== undefined) call.rawOutput = fields.rawOutput
  if (Array.isArray(fields.content)) {
    call.output = fields.content.map(contentText).join('')
    call.changes = fields.content.flatMap(fileChange)
  }
}

export const isFinished = (call: ToolCall) => call.status === 'completed' || call.status === 'failed'

export function renderToolCall(call: ToolCall, style: Style): string {
  const { colours } = style
  const mark =
    call.status === 'completed' ? colours.green('✓') : call.status === 'failed' ? colours.red('✗') : colours.yellow('…')
  const width = lineWidth(style)
  const lines = [`${mark} ${colours.bold(oneLine(call.title || call.kind, width - 2))}`]
  for (const change of call.changes) lines.push(...renderChange(change, style))
  // What was read or found is for the agent; what a command said is for people too.
  const quiet = call.status === 'completed' && ['read', 'search', 'edit', 'delete', 'move', 'think'].includes(call.kind)
  if (!quiet) lines.push(...renderOutput(call.output || rawText(call.rawOutput), style))
  return lines.map((line) => `${line}\n`).join('')
}

function renderOutput(output: string, style: Style): string[] {
  const lines = withoutFence(clean(output))
    .trim()
    .split('\n')
    .filter((line) => line.trim() !== '')
  const shown = lines.length > OUTPUT_LINES + 1 ? lines.slice(-OUTPUT_LINES) : lines
  const left = lines.length - shown.length
  const width = lineWidth(style) - 2
  return [
    ...(left > 0 ? [`  … ${plural(left, 'line')} above`] : []),
    ...shown.map((line) => `  ${line.startsWith(' ') ? ' ' : ''}${oneLine(line, width - 1)}`),
  ].map((line) => style.colours.dim(line))
}

/** Agents wrap a command's output in a Markdown fence for their own displays. */
const withoutFence = (text: string) => text.replace(/^\s*```\w*\n([\s\S]*?)\n?```\s*$/, '$1')

function renderChange(change: FileChange, style: Style): string[] {
  const { colours } = style
  const changes = changedLines(change.oldText ?? '', change.newText)
  const added = changes.filter((line) => line.sign === '+').length
  const width = lineWidth(style) - 6
  const head = `  ${oneLine(change.path, width)} ${colours.green(`+${added}`)} ${colours.red(`−${changes.length - added}`)}`
  const shown = changes.length > DIFF_LINES + 1 ? changes.slice(0, DIFF_LINES) : changes
  const left = changes.length - shown.length
  return [
    head,
    ...shown.map(({ sign, text }) => {
      const line = `    ${sign} ${oneLine(text.replaceAll('\t', '  ') || ' ', width)}`.trimEnd()
      return sign === '+' ? colours.green(line) : colours.red(line)
    }),
    ...(left > 0 ? [colours.dim(`    … ${plural(left, 'line')} more`)] : []),
  ]
}

function contentText(item: unknown): string {
  const { type, content } = item as { type?: string; content?: { type?: string; text?: string } }
  return type === 'content' && content?.type === 'text' ? `${content.text ?? ''}\n` : ''
}

function fileChange(item: unknown): FileChange[] {
  const { type, path, oldText, newText } = item as { type?: string } & Partial<FileChange>
  if (type !== 'diff' || typeof path !== 'string' || typeof newText !== 'string') return []
  return [{ path, oldText: oldText ?? null, newText }]
}

/** Agents that show a terminal of their own give the output only here, each in its own shape. */
function rawText(raw: unknown): string {
  if (typeof raw === 'string') return raw
  if (typeof raw !== 'object' || raw === null) return ''
  for (const field of ['formatted_output', 'aggregated_output', 'output', 'stdout', 'error', 'message']) {
    const value = (raw as Record<string, unknown>)[field]
    if (typeof value === 'string' && value.trim() !== '') return value
  }
  return ''
}
