// A light agent: the Agent Client Protocol on its streams, one tool, a model by OpenAI's chat format. It runs in the
// sandbox, alone: nothing of this project is there. What it hears and says it also keeps in a journal of its own.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'

interface Message {
  role: 'user' | 'assistant' | 'tool'
  content: string
  tool_call_id?: string
  tool_calls?: { id: string; type: 'function'; function: { name: string; arguments: string } }[]
}
interface Call {
  id: string
  name: string
  arguments: string
}
interface Rpc {
  id?: string | number
  method?: string
  params?: Record<string, unknown>
  result?: { outcome?: { outcome: string; optionId?: string } }
}

const { HOME = '', OPENAI_BASE_URL = '', OPENAI_API_KEY = '', OPENAI_MODEL = 'light' } = process.env
const asks = !process.argv.includes('yolo')
/** A model that does not answer is asked again for so long, with this pause. In milliseconds. */
const PATIENCE_MS = 120_000
const PAUSE_MS = 300

const journal = join(HOME, '.light', 'journal.jsonl')
mkdirSync(dirname(journal), { recursive: true })
const note = (entry: object) => appendFileSync(journal, `${JSON.stringify(entry)}\n`)
const send = (message: object) => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)

let sessionFile = ''
let sessionId = ''
let messages: Message[] = []
let turn: AbortController | null = null
let questions = 0
const waiting = new Map<string | number, (optionId: string | null) => void>()

function keep(message: Message): void {
  messages.push(message)
  appendFileSync(sessionFile, `${JSON.stringify(message)}\n`)
}

/** Noted first: what is in the transcript has been said. */
function tell(update: Record<string, unknown>): void {
  note({ what: 'said', update })
  send({ method: 'session/update', params: { sessionId, update } })
}

function openSession(id: string, cwd: string): boolean {
  const directory = join(HOME, '.qwen', 'projects', cwd.replace(/[^a-zA-Z0-9]/g, '-'))
  mkdirSync(directory, { recursive: true })
  const file = join(directory, `${id}.jsonl`)
  const isThere = existsSync(file)
  sessionId = id
  sessionFile = file
  const lines = isThere ? readFileSync(file, 'utf8').split('\n') : []
  messages = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Message)
  return isThere
}

async function onPrompt(id: string | number, text: string): Promise<void> {
  note({ what: 'prompt', id, text })
  const stop = new AbortController()
  turn = stop
  keep({ role: 'user', content: text })
  let stopReason = 'end_turn'
  try {
    for (let calls = await ask(stop.signal); calls.length > 0; calls = await ask(stop.signal)) {
      for (const call of calls) await carryOut(call, stop.signal)
    }
  } catch (error) {
    if (!stop.signal.aborted) {
      note({ what: 'failed', id, error: String(error) })
      send({ id, error: { code: -32603, message: String(error) } })
      return
    }
    stopReason = 'cancelled'
  }
  turn = null
  note({ what: 'end', id, stopReason })
  send({ id, result: { stopReason } })
}

/** Asks the model until it has answered whole; tells what it says as it says it. */
async function ask(signal: AbortSignal): Promise<Call[]> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const answer = await askOnce(signal).catch((error: unknown) => {
      signal.throwIfAborted()
      if (Date.now() > deadline) throw error
      note({ what: 'asks again', because: String(error) })
      return null
    })
    if (answer === null) {
      await delay(PAUSE_MS, undefined, { signal })
      continue
    }
    const { text, calls } = answer
    const toolCalls = calls.map(({ id, name, arguments: args }) => ({
      id,
      type: 'function' as const,
      function: { name, arguments: args },
    }))
    keep({ role: 'assistant', content: text, ...(calls.length > 0 ? { tool_calls: toolCalls } : {}) })
    return calls
  }
}

async function askOnce(signal: AbortSignal): Promise<{ text: string; calls: Call[] }> {
  const parameters = { type: 'object', properties: { command: { type: 'string' } }, required: ['command'] }
  const response = await fetch(`${OPENAI_BASE_URL}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${OPENAI_API_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: OPENAI_MODEL,
      stream: true,
      messages,
      tools: [{ type: 'function', function: { name: 'shell', parameters } }],
    }),
    signal,
  })
  if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`)
  let text = ''
  let rest = ''
  const calls: Call[] = []
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === 'data: [DONE]') return { text, calls }
      if (!line.startsWith('data: ')) continue
      const { delta } = (JSON.parse(line.slice('data: '.length)).choices[0] ?? {}) as { delta?: Delta }
      if (delta?.content) {
        text += delta.content
        tell({ sessionUpdate: 'agent_message_chunk', content: { type: 'text', text: delta.content } })
      }
      for (const part of delta?.tool_calls ?? []) {
        const { id = '', function: told } = part
        const call = calls[part.index] ?? { id, name: told.name ?? '', arguments: '' }
        calls[part.index] = { ...call, arguments: call.arguments + told.arguments }
      }
    }
  }
  throw new Error('the stream broke off')
}

interface Delta {
  content?: string
  tool_calls?: { index: number; id?: string; function: { name?: string; arguments: string } }[]
}

async function carryOut(call: Call, signal: AbortSignal): Promise<void> {
  const { command } = JSON.parse(call.arguments) as { command: string }
  const toolCall = { toolCallId: call.id, title: command, kind: 'execute' }
  tell({ sessionUpdate: 'tool_call', ...toolCall, status: 'pending' })
  const isAllowed = asks ? await permission(toolCall, signal) : true
  const { output, status } = isAllowed ? await run(command, signal) : { output: 'refused', status: 'failed' }
  const content = [{ type: 'content', content: { type: 'text', text: output } }]
  tell({ sessionUpdate: 'tool_call_update', toolCallId: call.id, status, content })
  keep({ role: 'tool', content: output, tool_call_id: call.id })
}

async function permission(toolCall: object, signal: AbortSignal): Promise<boolean> {
  const id = questions++
  const options = [
    { optionId: 'yes', name: 'Allow', kind: 'allow_once' },
    { optionId: 'no', name: 'Reject', kind: 'reject_once' },
  ]
  const answered = new Promise<string | null>((resolve, reject) => {
    waiting.set(id, resolve)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  send({ id, method: 'session/request_permission', params: { sessionId, toolCall, options } })
  const optionId = await answered
  waiting.delete(id)
  return optionId === 'yes'
}

/** In a process group of its own, which goes with the turn. */
async function run(command: string, signal: AbortSignal): Promise<{ output: string; status: string }> {
  const child = spawn('/bin/sh', ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const end = () => child.pid !== undefined && process.kill(-child.pid, 'SIGKILL')
  signal.addEventListener('abort', end, { once: true })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk))
  const code = await new Promise((resolve) => child.once('close', resolve))
  signal.removeEventListener('abort', end)
  signal.throwIfAborted()
  return { output, status: code === 0 ? 'completed' : 'failed' }
}

function onMessage({ id, method, params = {}, result }: Rpc): void {
  if (method === undefined) {
    const optionId = result?.outcome?.optionId ?? null
    note({ what: 'answer', id, optionId })
    if (id !== undefined) waiting.get(id)?.(optionId)
  } else if (method === 'session/cancel') {
    note({ what: 'cancel' })
    turn?.abort(new Error('cancelled'))
  } else if (id === undefined) return
  else if (method === 'initialize')
    send({ id, result: { protocolVersion: 1, agentCapabilities: { loadSession: true } } })
  else if (method === 'session/new') {
    openSession(randomUUID(), String(params.cwd))
    appendFileSync(sessionFile, '')
    send({ id, result: { sessionId } })
  } else if (method === 'session/load') {
    const isThere = openSession(String(params.sessionId), String(params.cwd))
    if (isThere) send({ id, result: {} })
    else send({ id, error: { code: -32602, message: 'There is no such session.' } })
  } else if (method === 'session/prompt') {
    const parts = params.prompt as { text?: string }[]
    void onPrompt(id, parts.map(({ text }) => text ?? '').join(''))
  } else send({ id, error: { code: -32601, message: 'Method not found' } })
}

note({ what: 'start', pid: process.pid })
for await (const line of createInterface(process.stdin)) if (line.trim() !== '') onMessage(JSON.parse(line) as Rpc)
