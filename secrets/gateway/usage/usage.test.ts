import { gzipSync, zstdCompressSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { noTokens, type TokenUsage } from '../../../domain/models/call.ts'
import { meterAnswer } from './answer.ts'
import { kindOf } from './kinds.ts'
import { reckonUsage } from './reader.ts'
import { FieldScanner } from './scanner.ts'

const events = (...values: unknown[]) => values.map((value) => `data: ${JSON.stringify(value)}\n\n`).join('')

const anthropicStream = events(
  {
    type: 'message_start',
    message: {
      type: 'message',
      usage: {
        input_tokens: 12,
        cache_creation_input_tokens: 300,
        cache_creation: { ephemeral_5m_input_tokens: 100, ephemeral_1h_input_tokens: 200 },
        cache_read_input_tokens: 4000,
        output_tokens: 1,
      },
    },
  },
  { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Grüße "message_stop" 🙂' } },
  { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 57 } },
  { type: 'message_stop' },
)
const anthropicUsage: TokenUsage = {
  input: 12,
  cacheRead: 4000,
  cacheWrite: 300,
  cacheWriteHour: 200,
  output: 57,
  reasoning: 0,
}

const openaiUsage: TokenUsage = { ...noTokens, input: 50, cacheRead: 90, cacheWrite: 10, output: 30, reasoning: 20 }
const responsesBody = {
  object: 'response',
  output: [],
  usage: {
    input_tokens: 150,
    input_tokens_details: { cached_tokens: 90, cache_write_tokens: 10 },
    output_tokens: 30,
    output_tokens_details: { reasoning_tokens: 20 },
  },
}
const chatUsage = {
  prompt_tokens: 150,
  completion_tokens: 30,
  prompt_tokens_details: { cached_tokens: 90, cache_write_tokens: 10 },
  completion_tokens_details: { reasoning_tokens: 20 },
}
const geminiPart = (text: string, output: number, finishReason?: string) => ({
  candidates: [{ content: { parts: [{ text }] }, finishReason }],
  usageMetadata: {
    promptTokenCount: 140,
    cachedContentTokenCount: 90,
    candidatesTokenCount: output,
    thoughtsTokenCount: 20,
    toolUsePromptTokenCount: 10,
  },
})
const geminiUsage: TokenUsage = { ...noTokens, input: 60, cacheRead: 90, output: 30, reasoning: 20 }

const sse = 'text/event-stream; charset=utf-8'
const json = 'application/json'

const answers: [string, string, string, string, TokenUsage][] = [
  ['Anthropic, streamed', '/v1/messages', sse, anthropicStream, anthropicUsage],
  [
    'Anthropic, whole',
    '/v1/messages',
    json,
    JSON.stringify({ type: 'message', content: [], usage: { input_tokens: 3, output_tokens: 4 } }),
    { ...noTokens, input: 3, output: 4 },
  ],
  [
    'OpenAI Responses, streamed',
    '/responses',
    sse,
    events(
      { type: 'response.created', response: { object: 'response', usage: null } },
      { type: 'response.output_text.delta', delta: 'response.completed' },
      { type: 'response.completed', response: responsesBody },
    ),
    openaiUsage,
  ],
  ['OpenAI Responses, whole', '/responses', json, JSON.stringify(responsesBody, null, 2), openaiUsage],
  [
    'Chat Completions, streamed',
    '/chat/completions',
    sse,
    `${events({ choices: [{ delta: { content: 'hello' } }] }, { choices: [], usage: chatUsage })}data: [DONE]\n\n`,
    openaiUsage,
  ],
  [
    'Chat Completions, whole',
    '/chat/completions',
    json,
    JSON.stringify({ choices: [{ message: { content: 'hello' } }], usage: chatUsage }),
    openaiUsage,
  ],
  [
    'Gemini, server-sent events',
    '/v1beta/models/gemini-x:streamGenerateContent',
    sse,
    events(geminiPart('a', 1), geminiPart('b', 10, 'STOP')),
    geminiUsage,
  ],
  [
    'Gemini, one array',
    '/v1beta/models/gemini-x:streamGenerateContent',
    json,
    JSON.stringify([geminiPart('a', 1), geminiPart('b', 10, 'STOP')]),
    geminiUsage,
  ],
  ['a path that is not known', '/v2/generate', json, JSON.stringify(responsesBody), openaiUsage],
]

/** Feeds an answer in pieces of this size. @returns what was passed on before the meter said `last` or the end came. */
async function metered(path: string, type: string, body: Buffer, size: number, encoding = '') {
  const meter = meterAnswer(kindOf('POST', path).reader(), type, encoding)
  let passed = 0
  for (let at = 0; at < body.length; at += size) {
    const piece = body.subarray(at, at + size)
    if (meter.feed(piece) === 'pass') passed = at + piece.length
  }
  await meter.end()
  return { usage: meter.told(), isFinal: meter.isFinal(), passed, characters: meter.characters() }
}

test.each(answers)(
  'the usage is read from an answer: %s, however it is cut',
  async (_name, path, type, text, usage) => {
    const body = Buffer.from(text)
    for (const size of [1, 7, 64, body.length])
      expect(await metered(path, type, body, size)).toMatchObject({ usage, isFinal: true })
  },
)

test.each(answers)('the end of an answer waits until its call is settled: %s', async (_name, path, type, text) => {
  const body = Buffer.from(text)
  const meter = meterAnswer(kindOf('POST', path).reader(), type, '')
  expect(meter.feed(body)).not.toBe('pass')
})

test('a compressed answer is read from a copy', async () => {
  for (const [encoding, body] of [
    ['gzip', gzipSync(anthropicStream)],
    ['zstd', zstdCompressSync(anthropicStream)],
  ] as const)
    expect(await metered('/v1/messages', sse, body, 11, encoding)).toMatchObject({ usage: anthropicUsage })
})

test('an answer that breaks off costs what it told, and what it said at the least', async () => {
  const [start = ''] = anthropicStream.split('data: {"type":"message_delta"')
  const said = { type: 'content_block_delta', delta: { type: 'text_delta', text: 'x'.repeat(400) } }
  const cut = await metered('/v1/messages', sse, Buffer.from(start + events(said)), 50)
  expect(cut.isFinal).toBe(false)
  expect(reckonUsage(cut.usage, 1000, cut.characters)).toEqual({ ...anthropicUsage, output: 106 })
  const silent = await metered(
    '/chat/completions',
    sse,
    Buffer.from(events({ choices: [{ delta: { content: 'y'.repeat(40) } }] })),
    9,
  )
  expect(silent.usage).toBeNull()
  expect(reckonUsage(null, 1000, silent.characters)).toEqual({ ...noTokens, input: 250, output: 10 })
})

test.each([
  ['POST', '/v1/messages', { free: false, known: true }],
  ['POST', '//v1//messages/', { free: false, known: true }],
  ['POST', '/v1/messages/count_tokens', { free: true }],
  ['POST', '/chat/completions', { free: false, known: true, isChat: true }],
  ['POST', '/v1beta/openai/chat/completions', { free: false, known: true, isChat: true }],
  ['POST', '/responses/compact', { free: false, known: true }],
  ['POST', '/embeddings', { free: false, known: true }],
  ['POST', '/v1/messages;x=/embeddings', { free: false, known: false }],
  ['GET', '/v1/models', { free: true }],
  ['POST', '/v1beta/models/gemini-x:countTokens', { free: true, model: 'gemini-x' }],
  ['POST', '/v1beta/models/gemini-x:embedContent', { free: false, known: false, model: 'gemini-x' }],
  ['POST', '/v1beta/models/gemini-x:generateContent', { free: false, known: true, model: 'gemini-x' }],
  ['POST', '/images/generations', { free: false, known: false }],
])('%s %s is %o', (method, path, kind) => {
  expect(kindOf(method, path)).toMatchObject(kind)
})

test('fields of a request are found in any place and any cut, and only at its top', () => {
  const body = Buffer.from(
    ` {"messages":[{"model":"inner","content":"a \\"model\\": \\\\"},{"x":"\\\\\\""}], "st\\u0072eam" : true,\n"model":"claude-ü","metadata":{"model":"no"},"stream_options":{"include_usage":[1]}}{"model":"after"}`,
  )
  for (const size of [1, 2, 3, 5, 8, body.length]) {
    const scanner = new FieldScanner(['model', 'stream', 'stream_options'])
    for (let at = 0; at < body.length; at += size) scanner.feed(body.subarray(at, at + size))
    expect(Object.fromEntries(scanner.fields)).toEqual({
      model: 'claude-ü',
      stream: true,
      stream_options: { include_usage: [1] },
    })
    expect(scanner.isOver).toBe(true)
    expect(scanner.repeated.size).toBe(0)
  }
})

test('a field that comes twice is told, however its name is written', () => {
  const scanner = new FieldScanner(['model'])
  scanner.feed(Buffer.from('{"model":"cheap","mod\\u0065l":"dear"}'))
  expect([...scanner.repeated]).toEqual(['model'])
})
