// What an agent does on the wire, in each model format: asks, reads the answer, sends back what its tools said.
import { createParser } from 'eventsource-parser'
import type { FormatName } from '../../agents/demo/wire/request.ts'

export interface Said {
  text: string
  thought: string
  calls: { id: string; name: string; arguments: unknown }[]
  inputTokens: number
  outputTokens: number
  /** Why it stopped, in the format's own word. */
  stop: string
}

export type Turn = { user: string } | { said: Said; results: string[] }

export interface Question {
  stream: boolean
  turns: Turn[]
  /** Name of a shell tool whose one argument is `command`; null for an agent without tools. */
  shell: string | null
}

export interface ModelClient {
  readonly format: FormatName
  path(stream: boolean): string
  headers(key: string): Record<string, string>
  body(question: Question): object
  /** Reads an answer: the events of a stream, or the one body. */
  read(events: Json[]): Said
}

// biome-ignore lint/suspicious/noExplicitAny: the bodies are read as loosely as a foreign client would read them.
export type Json = any

export const model = 'test-model'

const parameters = { type: 'object', properties: { command: { type: 'string' } }, required: ['command'] }
const bearer = (key: string) => ({ authorization: `Bearer ${key}` })

const chat: ModelClient = {
  format: 'chat',
  path: () => '/v1/chat/completions',
  headers: bearer,
  body: ({ stream, turns, shell }) => ({
    model,
    stream,
    messages: [
      { role: 'system', content: 'You are an agent.' },
      ...turns.flatMap((turn): object[] =>
        'user' in turn
          ? [{ role: 'user', content: turn.user }]
          : [
              {
                role: 'assistant',
                content: turn.said.text,
                tool_calls: turn.said.calls.map(({ id, name, arguments: args }) => ({
                  id,
                  type: 'function',
                  function: { name, arguments: JSON.stringify(args) },
                })),
              },
              ...turn.said.calls.map(({ id }, index) => ({
                role: 'tool',
                tool_call_id: id,
                content: turn.results[index],
              })),
            ],
      ),
    ],
    tools: shell ? [{ type: 'function', function: { name: shell, parameters } }] : undefined,
  }),
  read(events) {
    const said = nothing()
    const texts: string[] = []
    for (const { choices, usage } of events) {
      const { delta, message, finish_reason } = choices[0] ?? {}
      const part = delta ?? message ?? {}
      said.text += part.content ?? ''
      said.thought += part.reasoning_content ?? ''
      for (const [position, call] of (part.tool_calls ?? []).entries()) {
        const index = call.index ?? position
        if (call.id) said.calls[index] = { id: call.id, name: call.function.name, arguments: null }
        texts[index] = (texts[index] ?? '') + call.function.arguments
      }
      said.stop = finish_reason ?? said.stop
      said.inputTokens = usage?.prompt_tokens ?? said.inputTokens
      said.outputTokens = usage?.completion_tokens ?? said.outputTokens
    }
    return { ...said, calls: said.calls.map((call, index) => ({ ...call, arguments: JSON.parse(texts[index] ?? '') })) }
  },
}

const responses: ModelClient = {
  format: 'responses',
  path: () => '/v1/responses',
  headers: bearer,
  body: ({ stream, turns, shell }) => ({
    model,
    stream,
    instructions: 'You are an agent.',
    input: turns.flatMap((turn): object[] =>
      'user' in turn
        ? [{ type: 'message', role: 'user', content: [{ type: 'input_text', text: turn.user }] }]
        : [
            { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: turn.said.text }] },
            ...turn.said.calls.map((call) => ({
              type: 'function_call',
              call_id: call.id,
              name: call.name,
              arguments: JSON.stringify(call.arguments),
            })),
            ...turn.said.calls.map(({ id }, index) => ({
              type: 'function_call_output',
              call_id: id,
              output: turn.results[index],
            })),
          ],
    ),
    tools: [{ type: 'web_search' }, ...(shell ? [{ type: 'function', name: shell, parameters }] : [])],
  }),
  read(events) {
    const said = nothing()
    const deltas = events
      .filter((event) => event.type === 'response.output_text.delta')
      .map((event) => event.delta)
      .join('')
    const done = events.filter((event) => event.type === 'response.output_item.done').map((event) => event.item)
    const end = events.at(-1)
    const response = end.response ?? end
    for (const item of response.output) {
      if (item.type === 'message') said.text += item.content[0].text
      if (item.type === 'reasoning') said.thought += item.summary[0].text
      if (item.type === 'function_call') {
        said.calls.push({ id: item.call_id, name: item.name, arguments: JSON.parse(item.arguments) })
      }
    }
    // Codex goes by the single events and not by the response at the end, so both must say the same.
    if (end.response && (deltas !== said.text || JSON.stringify(done) !== JSON.stringify(response.output))) {
      throw new Error('the events say something else than the whole response')
    }
    const { input_tokens: inputTokens, output_tokens: outputTokens } = response.usage
    return { ...said, stop: response.status, inputTokens, outputTokens }
  },
}

const anthropic: ModelClient = {
  format: 'anthropic',
  path: () => '/v1/messages?beta=true',
  headers: (key) => ({ 'x-api-key': key }),
  body: ({ stream, turns, shell }) => ({
    model,
    stream,
    system: [{ type: 'text', text: 'You are an agent.' }],
    messages: turns.flatMap((turn): object[] =>
      'user' in turn
        ? [{ role: 'user', content: turn.user }]
        : [
            {
              role: 'assistant',
              content: [
                { type: 'text', text: turn.said.text },
                ...turn.said.calls.map((call) => ({
                  type: 'tool_use',
                  id: call.id,
                  name: call.name,
                  input: call.arguments,
                })),
              ],
            },
            {
              role: 'user',
              content: [
                ...turn.said.calls.map(({ id }, index) => ({
                  type: 'tool_result',
                  tool_use_id: id,
                  content: turn.results[index],
                })),
                { type: 'text', text: '<system-reminder>\nStay on the task.\n</system-reminder>' },
              ],
            },
          ],
    ),
    tools: shell ? [{ name: shell, input_schema: parameters }] : [],
  }),
  read(events) {
    const said = nothing()
    const [first] = events
    if (first.type === 'message') {
      for (const block of first.content) {
        said.text += block.text ?? ''
        said.thought += block.thinking ?? ''
        if (block.type === 'tool_use') said.calls.push({ id: block.id, name: block.name, arguments: block.input })
      }
      const { input_tokens: inputTokens, output_tokens: outputTokens } = first.usage
      return { ...said, stop: first.stop_reason, inputTokens, outputTokens }
    }
    const open = new Map<number, string>()
    for (const event of events) {
      if (event.type === 'message_start') said.inputTokens = event.message.usage.input_tokens
      if (event.type === 'content_block_start') {
        open.set(event.index, '')
        const { type, id, name } = event.content_block
        if (type === 'tool_use') said.calls.push({ id, name, arguments: null })
      }
      if (event.type === 'content_block_delta') {
        if (!open.has(event.index)) throw new Error('a delta for a block that is not open')
        said.text += event.delta.text ?? ''
        said.thought += event.delta.thinking ?? ''
        open.set(event.index, open.get(event.index) + (event.delta.partial_json ?? ''))
      }
      if (event.type === 'content_block_stop') {
        const input = open.get(event.index)
        const call = said.calls.at(-1)
        if (input && call) call.arguments = JSON.parse(input)
        open.delete(event.index)
      }
      if (event.type === 'message_delta') {
        said.stop = event.delta.stop_reason
        said.outputTokens = event.usage.output_tokens
      }
    }
    if (open.size > 0 || events.at(-1).type !== 'message_stop') throw new Error('the message is not closed')
    return said
  },
}

const gemini: ModelClient = {
  format: 'gemini',
  path: (stream) => `/v1beta/models/${model}:${stream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`,
  headers: (key) => ({ 'x-goog-api-key': key }),
  body: ({ turns, shell }) => ({
    systemInstruction: { parts: [{ text: 'You are an agent.' }] },
    contents: turns.flatMap((turn): object[] =>
      'user' in turn
        ? [{ role: 'user', parts: [{ text: turn.user }] }]
        : [
            {
              role: 'model',
              parts: [
                { text: turn.said.text },
                ...turn.said.calls.map(({ id, name, arguments: args }) => ({ functionCall: { id, name, args } })),
              ],
            },
            {
              role: 'user',
              parts: turn.said.calls.map(({ id, name }, index) => ({
                functionResponse: { id, name, response: { output: turn.results[index] } },
              })),
            },
          ],
    ),
    tools: shell ? [{ functionDeclarations: [{ name: shell, parametersJsonSchema: parameters }] }] : undefined,
  }),
  read(events) {
    const said = nothing()
    for (const { candidates, usageMetadata } of events) {
      const [{ content, finishReason }] = candidates
      for (const part of content.parts) {
        if (part.thought) said.thought += part.text
        else said.text += part.text ?? ''
        const call = part.functionCall
        if (call) said.calls.push({ id: call.id, name: call.name, arguments: call.args })
      }
      said.stop = finishReason ?? said.stop
      said.inputTokens = usageMetadata?.promptTokenCount ?? said.inputTokens
      said.outputTokens = usageMetadata?.candidatesTokenCount ?? said.outputTokens
    }
    return said
  },
}

export const modelClients: readonly ModelClient[] = [chat, responses, anthropic, gemini]

/** Sends the request; the answer's body is still to be read. */
export function post(client: ModelClient, url: string, question: Question, signal?: AbortSignal): Promise<Response> {
  return fetch(url + client.path(question.stream), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...client.headers('test-key') },
    body: JSON.stringify(client.body(question)),
    ...(signal && { signal }),
  })
}

/** Asks and reads the whole answer. */
export async function ask(client: ModelClient, url: string, question: Question): Promise<Said> {
  const response = await post(client, url, question)
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`)
  return client.read(question.stream ? eventsOf(await response.text()) : [await response.json()])
}

export function eventsOf(text: string): Json[] {
  const events: Json[] = []
  const parser = createParser({
    onEvent: ({ data }) => {
      if (data !== '[DONE]') events.push(JSON.parse(data))
    },
  })
  parser.feed(text)
  return events
}

const nothing = (): Said => ({ text: '', thought: '', calls: [], inputTokens: 0, outputTokens: 0, stop: '' })
