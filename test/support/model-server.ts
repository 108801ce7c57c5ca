// The tests' own model: a server that speaks every wire format and follows a script that travels in the prompt.
import { EventEmitter, once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { auxiliaryAnswer } from '../../agents/demo/wire/auxiliary.ts'
import { type FormatName, MalformedRequest, type ModelRequest } from '../../agents/demo/wire/request.ts'
import { type Exchange, type RunningServer, serveModel } from '../../agents/demo/wire/server.ts'
import type { ModelStep, ToolCall } from '../../agents/demo/wire/step.ts'
import { servedCall, shellCall, writeCall } from '../../agents/demo/wire/tools.ts'

const Step = z
  .strictObject({
    thought: z.string().optional().describe('Shown as reasoning before the text.'),
    text: z.string().optional(),
    chunks: z
      .union([z.int().min(1), z.array(z.string())])
      .optional()
      .describe('The pieces the text is streamed in: themselves, or their number; without `text` they are numbered.'),
    delayMs: z.int().min(0).optional().describe('Wait before each piece but the first.'),
    waitFor: z.string().optional().describe('Name of a gate that holds the answer until the test releases it.'),
    holdAfter: z.int().min(0).optional().describe('Pieces streamed before the gate. Absent: half of them.'),
    shell: z.string().optional().describe('A command, run by the shell tool that the agent offers.'),
    write: z.strictObject({ path: z.string(), content: z.string() }).optional(),
    tool: z
      .strictObject({ name: z.string(), arguments: z.record(z.string(), z.unknown()) })
      .optional()
      .describe('A tool of a server that the agent was given.'),
    cut: z.literal(true).optional().describe('The connection breaks after the text.'),
    error: z.int().min(400).max(599).optional().describe('Answer with this status instead.'),
    times: z.int().min(1).optional().describe('Requests that get the `error` before the step is played. Absent: all.'),
    usage: z.strictObject({ inputTokens: z.int(), outputTokens: z.int() }).optional(),
  })
  .refine((step) => [step.shell, step.write, step.tool].filter((call) => call !== undefined).length <= 1, {
    error: 'one call a step',
  })
  .refine((step) => typeof step.chunks !== 'number' || (step.text?.length ?? Infinity) >= step.chunks, {
    error: 'more chunks than characters',
  })

export type ScriptStep = z.input<typeof Step>
type ParsedStep = z.infer<typeof Step>

const Script = z.strictObject({ id: z.string().min(1), steps: z.array(Step).min(1) })
type Script = z.infer<typeof Script>

/** A request that belongs to a turn. Titles and suggestions are answered but not recorded. */
export interface RecordedRequest {
  format: FormatName
  model: string
  /** The key in its headers. */
  credential: string | null
  /** The script it follows, and the step it got; null when no prompt of the conversation has a script. */
  scriptId: string | null
  step: number | null
  /** Ids of all scripts in the conversation, oldest first: what the model can remember. */
  history: string[]
  request: ModelRequest
  /** The whole of it, as JSON. */
  body: string
  at: Date
  /** `open` while it is being answered; `cut` when the caller went away before the end. */
  state: 'open' | 'complete' | 'cut'
  /** What its answer says that it costs; null: it is no answer of a model. */
  usage: { inputTokens: number; outputTokens: number } | null
}

export interface ModelServer {
  /** The base for ANTHROPIC_BASE_URL and GOOGLE_GEMINI_BASE_URL; OPENAI_BASE_URL is this with `/v1`. */
  readonly url: string
  readonly requests: readonly RecordedRequest[]
  /** Steps that were asked for by this script's requests, in order: `[0, 1, 2]` when each was seen exactly once. */
  steps(scriptId: string): number[]
  /** The first request that fits, come or still to come, or whose state changes so that it fits. */
  waitForRequest(fits: (request: RecordedRequest) => boolean, timeoutMs?: number): Promise<RecordedRequest>
  /** Resolves once an answer has streamed its first part and is held at this gate. */
  waitUntilHeld(gate: string, timeoutMs?: number): Promise<void>
  /** Opens a gate for good, also for answers that have yet to come to it. */
  release(gate: string): void
  close(): Promise<void>
}

/** The prompt that makes the model follow these steps: one for each answer of the turn. */
export function script(id: string, steps: readonly ScriptStep[]): string {
  const checked = Script.parse({ id, steps })
  return `Follow the script. SCRIPT64:${Buffer.from(JSON.stringify(checked)).toString('base64')}`
}

const marker = /SCRIPT64:([A-Za-z0-9+/_-]+=*)/g

export async function startModelServer(): Promise<ModelServer> {
  const requests: RecordedRequest[] = []
  const attempts = new Map<string, number>()
  const held = new Set<string>()
  const released = new Set<string>()
  // Any number of answers and tests may wait for a change.
  const changes = new EventEmitter().setMaxListeners(0)
  const changed = () => changes.emit('change')

  /** Resolves with the first value that is there, now or after a change. */
  async function until<T>(find: () => T | undefined, what: string, signal: AbortSignal): Promise<T> {
    for (;;) {
      const found = find()
      if (found !== undefined) return found
      try {
        await once(changes, 'change', { signal })
      } catch (cause) {
        throw new Error(`waited in vain for ${what}`, { cause })
      }
    }
  }

  async function answer(exchange: Exchange): Promise<ModelStep> {
    const { request } = exchange
    if (request.isAuxiliary) return auxiliaryAnswer(request, 'A scripted title', { inputTokens: 0, outputTokens: 0 })

    const { scripts, position } = scriptsOf(request)
    const current = scripts.at(-1) ?? null
    const recorded: RecordedRequest = {
      format: request.format,
      model: request.model,
      credential: exchange.credential,
      scriptId: current?.id ?? null,
      step: current && position,
      history: scripts.map((known) => known.id),
      request,
      body: JSON.stringify(exchange.body),
      at: new Date(),
      state: 'open',
      usage: null,
    }
    requests.push(recorded)
    changed()
    void exchange.ended.then((state) => {
      recorded.state = state
      changed()
    })

    const step = current?.steps[position]
    if (!current || !step) {
      recorded.usage = plainUsage
      return plain(current ? `Script ${current.id} is at its end.` : 'There is no script in this conversation.')
    }
    const attempt = `${current.id} ${position}`
    const count = (attempts.get(attempt) ?? 0) + 1
    attempts.set(attempt, count)
    if (step.error !== undefined && count <= (step.times ?? Number.POSITIVE_INFINITY)) {
      return { status: step.error, message: `Script ${current.id} answers with ${step.error}.` }
    }
    const calls = callsOf(step, request)
    recorded.usage = step.usage ?? plainUsage
    return { thought: step.thought ?? '', text: play(step, exchange.signal), calls, usage: recorded.usage }
  }

  async function* play(step: ParsedStep, signal: AbortSignal): AsyncGenerator<string> {
    const pieces = piecesOf(step)
    const gate = step.waitFor
    const holdAfter = Math.min(step.holdAfter ?? Math.floor(pieces.length / 2), pieces.length)
    for (let index = 0; index <= pieces.length; index++) {
      if (gate !== undefined && index === holdAfter && !released.has(gate)) {
        held.add(gate)
        changed()
        await until(() => released.has(gate) || undefined, `the release of ${gate}`, signal)
      }
      const piece = pieces[index]
      if (piece === undefined) break
      if (index > 0 && step.delayMs) await delay(step.delayMs, undefined, { signal })
      yield piece
    }
    if (step.cut) throw new Error('the script cuts the connection')
  }

  const server: RunningServer = await serveModel(answer, 0)

  return {
    url: server.url,
    requests,
    steps: (scriptId) =>
      requests.flatMap((request) => (request.scriptId === scriptId && request.step !== null ? [request.step] : [])),
    waitForRequest: (fits, timeoutMs = 30_000) =>
      until(() => requests.find(fits), `a request that fits ${fits}`, AbortSignal.timeout(timeoutMs)),
    waitUntilHeld: async (gate, timeoutMs = 30_000) => {
      await until(() => held.has(gate) || undefined, `an answer held at ${gate}`, AbortSignal.timeout(timeoutMs))
    },
    release(gate) {
      released.add(gate)
      changed()
    },
    close: () => server.close(),
  }
}

/** All scripts in the person's messages, and how many tools have answered since the last one. */
function scriptsOf(request: ModelRequest): { scripts: Script[]; position: number } {
  const scripts: Script[] = []
  let position = 0
  for (const entry of request.conversation) {
    if (entry.role === 'tool') position++
    if (entry.role !== 'user') continue
    for (const [, encoded = ''] of entry.text.matchAll(marker)) {
      scripts.push(scriptFrom(encoded))
      position = 0
    }
  }
  return { scripts, position }
}

function scriptFrom(encoded: string): Script {
  const text = Buffer.from(encoded, 'base64').toString()
  try {
    return Script.parse(JSON.parse(text))
  } catch (cause) {
    throw new MalformedRequest(`This is no script: ${text}`, { cause })
  }
}

const plainUsage = { inputTokens: 100, outputTokens: 20 }

const plain = (text: string): ModelStep => ({ thought: '', text: [text], calls: [], usage: plainUsage })

function piecesOf({ text, chunks }: ParsedStep): string[] {
  if (Array.isArray(chunks)) return chunks
  if (text === undefined) return Array.from({ length: chunks ?? 0 }, (_, index) => `piece ${index + 1}\n`)
  const count = chunks ?? 1
  const cut = (index: number) => Math.floor((index * text.length) / count)
  return Array.from({ length: count }, (_, index) => text.slice(cut(index), cut(index + 1)))
}

/** @throws {MalformedRequest} when the agent offers no tool for it. */
function callsOf({ shell, write, tool }: ParsedStep, { tools }: ModelRequest): ToolCall[] {
  if (shell === undefined && write === undefined && tool === undefined) return []
  const call = tool
    ? servedCall(tools, tool.name, tool.arguments)
    : write
      ? writeCall(tools, write.path, write.content)
      : shellCall(tools, shell ?? '', 'A step of the script')
  if (call) return [call]
  throw new MalformedRequest(`No tool for this step among: ${tools.map((tool) => tool.name).join(', ') || 'none'}.`)
}
