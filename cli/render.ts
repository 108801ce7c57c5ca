// A transcript as people read it: from events to text, without I/O.
import type { RunEvent } from '../domain/event.ts'
import { isTerminal, type RunState } from '../domain/state.ts'
import { createFlow, type Flow } from './render/flow.ts'
import { questionText } from './render/question.ts'
import { lineWidth, type Style } from './render/style.ts'
import { clean, duration, oneLine, plural } from './render/text.ts'
import { isFinished, newToolCall, renderToolCall, type ToolCall, updateToolCall } from './render/tool.ts'

const PROMPT_LINES = 10

export interface Renderer {
  /** The text that this event adds. Whole lines, but for messages, whose chunks stream. */
  push(event: RunEvent): string
  /** What is still open when nothing more comes, down to the last newline. */
  end(): string
  /** The tool call that is running, for a line that is overwritten later. */
  running(): string | null
}

/** Blocks of different kinds stand apart by an empty line; those of one kind follow each other. */
type Block = 'message' | 'thought' | 'tool' | 'plan' | 'setup' | 'output' | 'prompt' | 'question' | 'note' | 'state'

export const renderTranscript = (events: readonly RunEvent[], style: Style): string => {
  const renderer = createRenderer(style)
  return events.map(renderer.push).join('') + renderer.end()
}

export function createRenderer(style: Style): Renderer {
  const { colours } = style
  const tools = new Map<string, ToolCall>()
  let plan = new Map<string, string>()
  let block: Block | null = null
  let flow: Flow | null = null
  let messageId: unknown
  /** Names of the options of the latest question, by id. */
  let options = new Map<string, string>()
  /** The end of an execution is told by the summary, unless the transcript goes on after it. */
  let heldEnd = ''

  function closeFlow(): string {
    if (!flow) return ''
    const rest = flow.end()
    const newline = flow.atLineStart ? '' : '\n'
    flow = null
    return rest + newline
  }

  /** What stands before the first text of a block. */
  function begin(next: Block): string {
    const before = closeFlow() + (block !== null && block !== next ? '\n' : '')
    block = next
    return before
  }

  const inBlock = (next: Block, text: string): string => (text === '' ? '' : begin(next) + text)

  function streamed(next: 'message' | 'thought', data: Record<string, unknown>): string {
    const text = textOf(data)
    const goesOn = flow !== null && block === next && data.message_id === messageId
    if (goesOn && flow) return flow.push(text)
    // Models like to begin with empty lines.
    if (text.trim() === '') return ''
    messageId = data.message_id
    const paragraph = block === next ? `${closeFlow()}\n` : begin(next)
    flow = createFlow(style.width, next === 'thought' ? colours.dim : undefined)
    return paragraph + flow.push(text.trimStart())
  }

  function tool(data: Record<string, unknown>): string {
    const id = String(data.toolCallId)
    const known = tools.get(id)
    const call = known ?? newToolCall()
    updateToolCall(call, data)
    tools.set(id, call)
    if (!isFinished(call)) return known ? '' : closeFlow()
    tools.delete(id)
    return inBlock('tool', renderToolCall(call, style))
  }

  function unfinishedTools(): string {
    const text = [...tools.values()].map((call) => renderToolCall(call, style)).join('')
    tools.clear()
    return inBlock('tool', text)
  }

  function planned(entries: { content: string; status: string }[]): string {
    const marks: Record<string, string> = {
      completed: colours.green('☑'),
      in_progress: colours.cyan('▸'),
      pending: '☐',
    }
    const changed = entries.filter((entry) => plan.get(entry.content) !== entry.status)
    plan = new Map(entries.map((entry) => [entry.content, entry.status]))
    const line = (entry: { content: string; status: string }) =>
      `${marks[entry.status] ?? '☐'} ${oneLine(entry.content, lineWidth(style) - 2)}\n`
    return inBlock('plan', changed.map(line).join(''))
  }

  function state(data: Record<string, unknown>): string {
    const name = String(data.state) as RunState
    // The question stands there already.
    if (name === 'BLOCKED' && block === 'question') return ''
    const message = failureText(data.failure) ?? (typeof data.message === 'string' ? data.message : null)
    const words = stateWords[name] ?? name.toLowerCase()
    const line = `${colours.dim('·')} ${stateColour(name, colours)(words)}${message ? `: ${clean(message)}` : ''}\n`
    if (!isTerminal(name)) return inBlock('state', line)
    const open = unfinishedTools()
    heldEnd = line
    return open
  }

  function render({ kind, data }: RunEvent): string {
    switch (kind) {
      case 'message':
      case 'thought':
        return streamed(kind, data)
      case 'tool_call':
      case 'tool_update':
        return tool(data)
      case 'plan':
        return planned((data.entries ?? []) as { content: string; status: string }[])
      case 'prompt':
        return inBlock('prompt', quote(textOf(data), style))
      case 'question':
        options = optionNames(data)
        return inBlock('question', question(data, style))
      case 'answer':
        return inBlock('question', `  ${colours.dim(answerText(data, options))}\n`)
      case 'setup':
        return inBlock('setup', setup(data, style))
      case 'output':
        return inBlock('output', `${(data.stream === 'stderr' ? colours.dim : String)(clean(textOf(data)))}\n`)
      case 'state':
        return state(data)
      case 'turn_end':
        return inBlock('note', turnEnd(data, style))
      case 'warning':
        return inBlock('note', warning(data, style))
      case 'error':
        return inBlock('note', `${colours.red('✗')} ${clean(failureText(data.failure) ?? 'something went wrong')}\n`)
      case 'progress':
        return inBlock('note', `${colours.dim('·')} ${clean(String(data.message ?? ''))}${percent(data)}\n`)
      case 'artifact':
        return inBlock('note', `${colours.dim('·')} ${artifactWords(data)}\n`)
      case 'mcp_server':
        return inBlock('note', mcpServer(data, style))
      case 'child':
        return inBlock(
          'note',
          `${colours.dim('·')} has started the run ${String(data.run_id)}: ${clean(String(data.title ?? ''))}\n`,
        )
      case 'budget':
        return inBlock('note', `${colours.yellow('$')} ${clean(String(data.message ?? ''))}\n`)
      // Told by the summary, or of no interest to a reader.
      case 'result':
      case 'usage':
      case 'mode':
      case 'commands':
      case 'session_info':
      case 'unknown_update':
        return ''
      default:
        kind satisfies never
        return '' // A kind newer than this command.
    }
  }

  return {
    push(event) {
      const goesOn = ['prompt', 'setup', 'message', 'tool_call', 'output', 'state'].includes(event.kind)
      const ended = heldEnd !== '' && goesOn ? inBlock('state', heldEnd) : ''
      if (goesOn) heldEnd = ''
      return ended + render(event)
    },
    end: () => closeFlow(),
    running() {
      const call = [...tools.values()].at(-1)
      return call ? oneLine(call.title || call.kind, lineWidth(style) - 4) : null
    },
  }
}

const percent = ({ percent }: Record<string, unknown>): string =>
  typeof percent === 'number' ? ` (${Math.round(percent)} %)` : ''

/** What was handed over, by the first of its names that there is. */
function artifactWords(data: Record<string, unknown>): string {
  const type = String(data.artifact_type ?? 'artifact')
    .toLowerCase()
    .replaceAll('_', ' ')
  const name = [data.title, data.filename, data.url, data.description].find((text) => typeof text === 'string')
  return `has handed over a ${type}${name === undefined ? '' : `: ${clean(String(name))}`}`
}

/** What the states mean to the person who waits. */
export const stateWords: Record<RunState, string> = {
  QUEUED: 'queued',
  PENDING: 'waiting for a host',
  CLAIMED: 'a host prepares it',
  INPROGRESS: 'the agent works',
  BLOCKED: 'waiting for an answer',
  SUCCEEDED: 'succeeded',
  FAILED: 'failed',
  ERROR: 'ended by an error of the platform',
  CANCELLED: 'cancelled',
}

export function stateColour(state: RunState, colours: Style['colours']): (text: string) => string {
  if (state === 'SUCCEEDED') return colours.green
  if (state === 'FAILED' || state === 'ERROR') return colours.red
  return state === 'BLOCKED' || state === 'CANCELLED' ? colours.yellow : colours.dim
}

function textOf(data: Record<string, unknown>): string {
  if (typeof data.text === 'string' && data.text !== '') return data.text
  // An image, a sound, a link to a file.
  const { type } = (data.content ?? {}) as { type?: unknown }
  return typeof type === 'string' ? `[${type}]` : ''
}

function failureText(failure: unknown): string | null {
  const message = (failure as { message?: unknown } | null | undefined)?.message
  return typeof message === 'string' ? message : null
}

function quote(text: string, style: Style): string {
  const lines = clean(text).trim().split('\n')
  const shown = lines.slice(0, PROMPT_LINES)
  const left = lines.length - shown.length
  const flow = createFlow(style.width && style.width - 2)
  const wrapped = flow.push(shown.join('\n')) + flow.end()
  const more = left > 0 ? [style.colours.dim(`… ${plural(left, 'line')} more`)] : []
  return [...wrapped.split('\n'), ...more]
    .map((line) => `${style.colours.cyan('›')} ${line}`.trimEnd())
    .join('\n')
    .concat('\n')
}

/** Names of a question's options, by id. */
function optionNames(data: Record<string, unknown>): Map<string, string> {
  const options = (data.options ?? []) as { option_id?: string; name?: string }[]
  return new Map(options.map(({ option_id = '', name }) => [option_id, name ?? option_id]))
}

/** Without its options: whoever can answer is shown them by what takes the answer. */
function question(data: Record<string, unknown>, style: Style): string {
  const call = data.tool_call
  const tool_call = typeof call === 'object' && call !== null ? (call as Record<string, unknown>) : null
  const title = String(data.title ?? tool_call?.title ?? 'The agent asks for permission.')
  return questionText({ title, tool_call }, style)
    .map((line) => `${line}\n`)
    .join('')
}

function answerText(data: Record<string, unknown>, options: Map<string, string>): string {
  const by = data.by === 'policy' ? ' by the permission policy' : ''
  const id = String(data.option_id ?? '')
  return clean(`answered${by}: ${options.get(id) ?? id}`)
}

function setup(data: Record<string, unknown>, style: Style): string {
  const { colours } = style
  const width = lineWidth(style)
  if (typeof data.command === 'string') return `${colours.dim('$')} ${oneLine(data.command, width - 2)}\n`
  if (typeof data.exit_code === 'number') {
    const took = typeof data.duration_ms === 'number' ? ` after ${duration(data.duration_ms)}` : ''
    return data.exit_code === 0 ? '' : `  ${colours.red(`✗ exit code ${data.exit_code}${took}`)}\n`
  }
  return clean(textOf(data))
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => `  ${colours.dim(line)}\n`)
    .join('')
}

function warning(data: Record<string, unknown>, style: Style): string {
  const text = typeof data.text === 'string' ? `  ${style.colours.dim(oneLine(data.text, lineWidth(style) - 2))}\n` : ''
  return `${style.colours.yellow('!')} ${clean(String(data.message ?? data.code))}\n${text}`
}

function mcpServer(data: Record<string, unknown>, { colours }: Style): string {
  const name = `MCP server ${clean(String(data.name))}`
  if (data.state === 'ready') {
    const tools = Array.isArray(data.tools) ? data.tools.map(String) : []
    return `${colours.dim('·')} ${name}: ${tools.length === 0 ? 'no tools' : clean(tools.join(', '))}\n`
  }
  const log = typeof data.log_tail === 'string' ? data.log_tail.trimEnd().split('\n').slice(-5) : []
  const lines = log.map((line) => `  ${colours.dim(clean(line))}\n`).join('')
  return `${colours.yellow('!')} ${name} does not start: ${clean(String(data.reason ?? ''))}\n${lines}`
}

/** An ordinary end goes without saying. */
function turnEnd(data: Record<string, unknown>, style: Style): string {
  const reasons: Record<string, string> = {
    max_tokens: 'The model reached its limit of tokens.',
    max_turn_requests: 'The agent reached its limit of model requests.',
    refusal: 'The model refused.',
    cancelled: 'The turn was interrupted.',
  }
  const reason = reasons[String(data.stop_reason)]
  return reason ? `${style.colours.yellow('!')} ${reason}\n` : ''
}
