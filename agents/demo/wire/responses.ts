// OpenAI responses, as spoken by Codex.
import { z } from 'zod'
import { openaiErrorType, seconds } from './chat.ts'
import type { WireFormat } from './format.ts'
import { type Entry, modelRequest, parseBody, type Tool, ToolProperties } from './request.ts'
import { newId, type ToolCall, type Usage } from './step.ts'

const Text = z
  .union([z.string(), z.array(z.looseObject({ text: z.string().optional() }))])
  .nullish()
  .transform((content) =>
    Array.isArray(content) ? content.map((part) => part.text ?? '').join('\n') : (content ?? ''),
  )

const PlainTool = z.looseObject({ type: z.string(), name: z.string().optional(), parameters: ToolProperties })
/** Namespaces hold further tools. */
const Tools = z.array(z.looseObject({ ...PlainTool.shape, tools: z.array(PlainTool).default([]) })).nullish()

const Item = z.looseObject({
  type: z.string().default('message'),
  role: z.string().optional(),
  content: Text,
  call_id: z.string().default(''),
  name: z.string().default(''),
  output: Text,
  tools: Tools,
})

const Body = z.looseObject({
  model: z.string(),
  stream: z.boolean().nullish(),
  instructions: z.string().nullish(),
  input: z.union([z.string().transform((text) => [Item.parse({ role: 'user', content: text })]), z.array(Item)]),
  tools: Tools,
  text: z
    .looseObject({ format: z.looseObject({ type: z.string(), schema: z.unknown().optional() }).optional() })
    .nullish(),
})

export const responses: WireFormat = {
  name: 'responses',

  accepts: (path) => path.endsWith('/responses'),

  decode(_path, json) {
    const body = parseBody(Body, json)
    const names = new Map<string, string>()
    const conversation: Entry[] = []
    const instructions = [body.instructions ?? '']
    const tools = toolsOf(body.tools)
    for (const item of body.input) {
      if (item.type === 'additional_tools') {
        tools.push(...toolsOf(item.tools))
      } else if (item.type === 'function_call' || item.type === 'custom_tool_call') {
        names.set(item.call_id, item.name)
      } else if (item.type === 'function_call_output' || item.type === 'custom_tool_call_output') {
        const id = item.call_id
        conversation.push({ role: 'tool', id, name: names.get(id) ?? '', output: item.output })
      } else if (item.type === 'message' && (item.role === 'user' || item.role === 'assistant')) {
        conversation.push({ role: item.role, text: item.content })
      } else if (item.type === 'message') {
        instructions.push(item.content)
      }
    }
    return modelRequest({
      format: 'responses',
      model: body.model,
      stream: body.stream === true,
      instructions: instructions.join('\n'),
      tools,
      conversation,
      answerSchema: body.text?.format?.schema ?? null,
    })
  },

  async *stream(request, answer) {
    const response = envelope(request.model)
    let number = 0
    const event = (type: string, fields: object) =>
      `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: number++, ...fields })}\n\n`
    const output: object[] = []

    yield event('response.created', { response })
    yield event('response.in_progress', { response })

    if (answer.thought) {
      const item = reasoningItem(answer.thought)
      const at = { item_id: item.id, output_index: output.length, summary_index: 0 }
      yield event('response.output_item.added', { output_index: output.length, item: { ...item, summary: [] } })
      yield event('response.reasoning_summary_part.added', { ...at, part: { type: 'summary_text', text: '' } })
      yield event('response.reasoning_summary_text.delta', { ...at, delta: answer.thought })
      yield event('response.reasoning_summary_text.done', { ...at, text: answer.thought })
      yield event('response.reasoning_summary_part.done', { ...at, part: item.summary[0] })
      yield event('response.output_item.done', { output_index: output.length, item })
      output.push(item)
    }

    const id = newId('msg')
    let text: string | null = null
    for await (const delta of answer.text) {
      const at = { item_id: id, output_index: output.length, content_index: 0 }
      if (text === null) {
        const item = { ...messageItem(id, ''), status: 'in_progress', content: [] }
        yield event('response.output_item.added', { output_index: output.length, item })
        yield event('response.content_part.added', { ...at, part: textPart('') })
      }
      yield event('response.output_text.delta', { ...at, delta, logprobs: [] })
      text = (text ?? '') + delta
    }
    if (text !== null) {
      const item = messageItem(id, text)
      const at = { item_id: id, output_index: output.length, content_index: 0 }
      yield event('response.output_text.done', { ...at, text, logprobs: [] })
      yield event('response.content_part.done', { ...at, part: textPart(text) })
      yield event('response.output_item.done', { output_index: output.length, item })
      output.push(item)
    }

    for (const call of answer.calls) {
      const item = callItem(call)
      const at = { item_id: item.id, output_index: output.length }
      const [kind, field] =
        item.type === 'custom_tool_call'
          ? ['custom_tool_call_input', 'input']
          : ['function_call_arguments', 'arguments']
      const whole = item.type === 'custom_tool_call' ? item.input : item.arguments
      const opened = { ...item, status: 'in_progress', [field]: '' }
      yield event('response.output_item.added', { output_index: output.length, item: opened })
      yield event(`response.${kind}.delta`, { ...at, delta: whole })
      yield event(`response.${kind}.done`, { ...at, [field]: whole })
      yield event('response.output_item.done', { output_index: output.length, item })
      output.push(item)
    }

    const completed = { ...response, status: 'completed', output, usage: usageOf(answer.usage) }
    yield event('response.completed', { response: completed })
  },

  whole(request, answer) {
    const output = [
      ...(answer.thought ? [reasoningItem(answer.thought)] : []),
      ...(answer.text ? [messageItem(newId('msg'), answer.text)] : []),
      ...answer.calls.map(callItem),
    ]
    return { ...envelope(request.model), status: 'completed', output, usage: usageOf(answer.usage) }
  },

  failure: ({ status, message }) => ({ error: { message, type: openaiErrorType(status), param: null, code: null } }),
}

const envelope = (model: string) => ({
  id: newId('resp'),
  object: 'response',
  created_at: seconds(),
  status: 'in_progress',
  model,
  output: [] as object[],
  error: null,
  incomplete_details: null,
  usage: null,
})

const textPart = (text: string) => ({ type: 'output_text', text, annotations: [], logprobs: [] })

const reasoningItem = (text: string) => ({
  type: 'reasoning',
  id: newId('rs'),
  summary: [{ type: 'summary_text', text }],
})

const messageItem = (id: string, text: string) => ({
  type: 'message',
  id,
  status: 'completed',
  role: 'assistant',
  content: [textPart(text)],
})

function callItem({ id: call_id, name, arguments: args }: ToolCall) {
  const common = { status: 'completed', call_id, name }
  return typeof args === 'string'
    ? { type: 'custom_tool_call' as const, id: newId('ctc'), ...common, input: args }
    : { type: 'function_call' as const, id: newId('fc'), ...common, arguments: JSON.stringify(args) }
}

/** The tools that can be called here: built-in kinds, as web_search, are the provider's to run. */
function toolsOf(tools: z.infer<typeof Tools>): Tool[] {
  return (tools ?? [])
    .flatMap((tool) => (tool.type === 'namespace' ? tool.tools : [tool]))
    .flatMap(({ type, name, parameters: properties }): Tool[] => {
      if (name === undefined || (type !== 'function' && type !== 'custom')) return []
      return [{ name, kind: type === 'custom' ? 'freeform' : 'function', properties }]
    })
}

const usageOf = ({ inputTokens, outputTokens }: Usage) => ({
  input_tokens: inputTokens,
  input_tokens_details: { cached_tokens: 0 },
  output_tokens: outputTokens,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: inputTokens + outputTokens,
})
