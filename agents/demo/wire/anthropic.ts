// Anthropic messages, as spoken by Claude Code.
import { z } from 'zod'
import type { WireFormat } from './format.ts'
import { type Entry, modelRequest, parseBody, ToolProperties } from './request.ts'
import { newId, type ToolCall, type Usage } from './step.ts'

const Block = z.looseObject({
  type: z.string(),
  text: z.string().default(''),
  id: z.string().default(''),
  name: z.string().default(''),
  tool_use_id: z.string().default(''),
  content: z.unknown().optional(),
})

const Content = z
  .union([z.string().transform((text) => [Block.parse({ type: 'text', text })]), z.array(Block)])
  .nullish()
  .transform((blocks) => blocks ?? [])

const Body = z.looseObject({
  model: z.string(),
  stream: z.boolean().nullish(),
  system: Content,
  messages: z.array(z.looseObject({ role: z.string(), content: Content })),
  tools: z.array(z.looseObject({ name: z.string(), input_schema: ToolProperties })).nullish(),
  output_config: z.looseObject({ format: z.looseObject({ schema: z.unknown().optional() }).nullish() }).nullish(),
})

export const anthropic: WireFormat = {
  name: 'anthropic',

  accepts: (path) => path.endsWith('/messages'),

  decode(_path, json) {
    const body = parseBody(Body, json)
    const names = new Map<string, string>()
    const conversation: Entry[] = []
    const instructions = [textOf(body.system)]
    for (const { role, content } of body.messages) {
      for (const block of content) {
        if (block.type === 'tool_use') {
          names.set(block.id, block.name)
        } else if (block.type === 'tool_result') {
          const id = block.tool_use_id
          const output = textOf(Content.catch([]).parse(block.content))
          conversation.push({ role: 'tool', id, name: names.get(id) ?? '', output })
        }
      }
      const text = textOf(content)
      if (role === 'user' || role === 'assistant') conversation.push({ role, text })
      else instructions.push(text)
    }
    return modelRequest({
      format: 'anthropic',
      model: body.model,
      stream: body.stream === true,
      instructions: instructions.join('\n'),
      tools: (body.tools ?? []).map((tool) => ({ name: tool.name, kind: 'function', properties: tool.input_schema })),
      conversation,
      answerSchema: body.output_config?.format?.schema ?? null,
    })
  },

  async *stream(request, answer) {
    let index = 0
    const event = (type: string, fields: object) => `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`
    const open = (content_block: object) => event('content_block_start', { index, content_block })
    const more = (delta: object) => event('content_block_delta', { index, delta })
    const close = () => event('content_block_stop', { index: index++ })

    const usage = { ...usageOf(answer.usage), output_tokens: 1 }
    yield event('message_start', { message: message(request.model, [], null, usage) })
    if (answer.thought) {
      yield open({ type: 'thinking', thinking: '', signature: '' })
      yield more({ type: 'thinking_delta', thinking: answer.thought })
      yield more({ type: 'signature_delta', signature: signature })
      yield close()
    }
    let opened = false
    for await (const text of answer.text) {
      if (!opened) yield open({ type: 'text', text: '' })
      opened = true
      yield more({ type: 'text_delta', text })
    }
    if (opened) yield close()
    for (const call of answer.calls) {
      yield open({ type: 'tool_use', id: call.id, name: call.name, input: {} })
      yield more({ type: 'input_json_delta', partial_json: JSON.stringify(call.arguments) })
      yield close()
    }
    yield event('message_delta', {
      delta: { stop_reason: stopReason(answer.calls), stop_sequence: null },
      usage: usageOf(answer.usage),
    })
    yield event('message_stop', {})
  },

  whole(request, answer) {
    const content = [
      ...(answer.thought ? [{ type: 'thinking', thinking: answer.thought, signature }] : []),
      ...(answer.text ? [{ type: 'text', text: answer.text }] : []),
      ...answer.calls.map(({ id, name, arguments: input }) => ({ type: 'tool_use', id, name, input })),
    ]
    return message(request.model, content, stopReason(answer.calls), usageOf(answer.usage))
  },

  failure: ({ status, message }) => ({ type: 'error', error: { type: errorType(status), message } }),

  aside(path, body) {
    if (!path.endsWith('/messages/count_tokens')) return undefined
    // About four characters make a token; nobody bills by this number.
    return { input_tokens: Math.ceil(JSON.stringify(body).length / 4) }
  },
}

/** Thoughts are signed by the provider; whoever gets this one back does not check it. */
const signature = 'c2NyaXB0ZWQ='

const textOf = (blocks: z.infer<typeof Content>) =>
  blocks
    .filter((block) => block.type === 'text')
    .map((block) => block.text)
    .join('\n')

const message = (model: string, content: object[], stop_reason: string | null, usage: object) => ({
  id: newId('msg'),
  type: 'message',
  role: 'assistant',
  model,
  content,
  stop_reason,
  stop_sequence: null,
  usage,
})

const stopReason = (calls: readonly ToolCall[]) => (calls.length > 0 ? 'tool_use' : 'end_turn')

const usageOf = ({ inputTokens, outputTokens }: Usage) => ({
  input_tokens: inputTokens,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
  output_tokens: outputTokens,
})

function errorType(status: number): string {
  if (status === 401) return 'authentication_error'
  if (status === 404) return 'not_found_error'
  if (status === 429) return 'rate_limit_error'
  if (status === 529) return 'overloaded_error'
  return status < 500 ? 'invalid_request_error' : 'api_error'
}
