// OpenAI chat completions, as spoken by OpenCode and Qwen Code.
import { z } from 'zod'
import type { WireFormat } from './format.ts'
import { type Entry, modelRequest, parseBody, ToolProperties } from './request.ts'
import { newId, type ToolCall, type Usage } from './step.ts'

const Content = z
  .union([z.string(), z.array(z.looseObject({ text: z.string().optional() }))])
  .nullish()
  .transform((content) =>
    Array.isArray(content) ? content.map((part) => part.text ?? '').join('\n') : (content ?? ''),
  )

const Body = z.looseObject({
  model: z.string(),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  messages: z.array(
    z.looseObject({
      role: z.string(),
      content: Content,
      tool_call_id: z.string().optional(),
      tool_calls: z.array(z.looseObject({ id: z.string(), function: z.looseObject({ name: z.string() }) })).nullish(),
    }),
  ),
  tools: z
    .array(z.looseObject({ function: z.looseObject({ name: z.string(), parameters: ToolProperties }).optional() }))
    .nullish(),
  response_format: z
    .looseObject({ json_schema: z.looseObject({ schema: z.unknown().optional() }).optional() })
    .nullish(),
})

export const chat: WireFormat = {
  name: 'chat',

  accepts: (path) => path.endsWith('/chat/completions'),

  decode(_path, json) {
    const body = parseBody(Body, json)
    const names = new Map<string, string>()
    const conversation: Entry[] = []
    const instructions: string[] = []
    for (const message of body.messages) {
      for (const call of message.tool_calls ?? []) names.set(call.id, call.function.name)
      if (message.role === 'user' || message.role === 'assistant') {
        conversation.push({ role: message.role, text: message.content })
      } else if (message.role === 'tool') {
        const id = message.tool_call_id ?? ''
        conversation.push({ role: 'tool', id, name: names.get(id) ?? '', output: message.content })
      } else {
        instructions.push(message.content)
      }
    }
    return modelRequest({
      format: 'chat',
      model: body.model,
      stream: body.stream === true,
      instructions: instructions.join('\n'),
      tools: (body.tools ?? []).flatMap(({ function: tool }) =>
        tool ? [{ name: tool.name, kind: 'function', properties: tool.parameters }] : [],
      ),
      conversation,
      answerSchema: body.response_format?.json_schema?.schema ?? null,
    })
  },

  async *stream(request, answer) {
    const id = newId('chatcmpl')
    const chunk = (choices: unknown[], usage?: unknown) =>
      `data: ${JSON.stringify({ id, object: 'chat.completion.chunk', created: seconds(), model: request.model, choices, usage })}\n\n`
    const delta = (content: object) => chunk([{ index: 0, delta: content, finish_reason: null }])

    yield delta({ role: 'assistant', content: '' })
    if (answer.thought) yield delta({ reasoning_content: answer.thought })
    for await (const content of answer.text) yield delta({ content })
    for (const [index, call] of answer.calls.entries()) {
      const { name, arguments: json } = functionOf(call)
      yield delta({ tool_calls: [{ index, id: call.id, type: 'function', function: { name, arguments: '' } }] })
      yield delta({ tool_calls: [{ index, function: { arguments: json } }] })
    }
    yield chunk([{ index: 0, delta: {}, finish_reason: finishReason(answer.calls) }])
    // Also without `stream_options.include_usage`: every client reads it, and none minds.
    yield chunk([], usageOf(answer.usage))
    yield 'data: [DONE]\n\n'
  },

  whole(request, answer) {
    const calls = answer.calls.map((call) => ({ id: call.id, type: 'function', function: functionOf(call) }))
    const message = {
      role: 'assistant',
      content: answer.text || null,
      ...(answer.thought && { reasoning_content: answer.thought }),
      ...(calls.length > 0 && { tool_calls: calls }),
    }
    return {
      id: newId('chatcmpl'),
      object: 'chat.completion',
      created: seconds(),
      model: request.model,
      choices: [{ index: 0, message, finish_reason: finishReason(answer.calls) }],
      usage: usageOf(answer.usage),
    }
  },

  failure: ({ status, message }) => ({ error: { message, type: openaiErrorType(status), param: null, code: null } }),
}

/** The name OpenAI gives to errors of this status, in both of its formats. */
export function openaiErrorType(status: number): string {
  if (status === 401) return 'authentication_error'
  if (status === 429) return 'rate_limit_error'
  return status < 500 ? 'invalid_request_error' : 'server_error'
}

export const seconds = (): number => Math.floor(Date.now() / 1000)

const finishReason = (calls: readonly ToolCall[]) => (calls.length > 0 ? 'tool_calls' : 'stop')

const functionOf = (call: ToolCall) => ({ name: call.name, arguments: JSON.stringify(call.arguments) })

const usageOf = ({ inputTokens, outputTokens }: Usage) => ({
  prompt_tokens: inputTokens,
  completion_tokens: outputTokens,
  total_tokens: inputTokens + outputTokens,
})
