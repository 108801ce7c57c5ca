// The Gemini API, as spoken by Gemini CLI.
import { z } from 'zod'
import type { WireFormat } from './format.ts'
import { type Entry, MalformedRequest, modelRequest, parseBody, ToolProperties } from './request.ts'
import { newId, type ToolCall, type Usage } from './step.ts'

const Content = z.looseObject({
  role: z.string().default('user'),
  parts: z
    .array(
      z.looseObject({
        text: z.string().default(''),
        thought: z.boolean().default(false),
        functionResponse: z
          .looseObject({ id: z.string().default(''), name: z.string(), response: z.unknown().optional() })
          .optional(),
      }),
    )
    .default([]),
})

const Body = z.looseObject({
  contents: z.array(Content),
  systemInstruction: Content.optional(),
  tools: z
    .array(
      z.looseObject({
        functionDeclarations: z
          .array(z.looseObject({ name: z.string(), parameters: ToolProperties, parametersJsonSchema: ToolProperties }))
          .default([]),
      }),
    )
    .nullish(),
  generationConfig: z
    .looseObject({ responseSchema: z.unknown().optional(), responseJsonSchema: z.unknown().optional() })
    .partial()
    .nullish(),
})

export const gemini: WireFormat = {
  name: 'gemini',

  accepts: (path) => /\/models\/[^/]+:(streamGenerateContent|generateContent)$/.test(path),

  decode(path, json) {
    const [, model, method] = /\/models\/([^/]+):(\w+)$/.exec(path) ?? []
    if (model === undefined) throw new MalformedRequest('The path names no model.')
    const body = parseBody(Body, json)
    const conversation: Entry[] = []
    for (const { role, parts } of body.contents) {
      for (const { functionResponse: result } of parts) {
        if (result === undefined) continue
        const output = typeof result.response === 'string' ? result.response : outputOf(result.response)
        conversation.push({ role: 'tool', id: result.id, name: result.name, output })
      }
      conversation.push({ role: role === 'model' ? 'assistant' : 'user', text: textOf(parts) })
    }
    return modelRequest({
      format: 'gemini',
      model: decodeURIComponent(model),
      stream: method === 'streamGenerateContent',
      instructions: textOf(body.systemInstruction?.parts ?? []),
      tools: (body.tools ?? [])
        .flatMap((tool) => tool.functionDeclarations)
        .map((tool) => ({
          name: tool.name,
          kind: 'function',
          properties: { ...tool.parameters, ...tool.parametersJsonSchema },
        })),
      conversation,
      answerSchema: body.generationConfig?.responseJsonSchema ?? body.generationConfig?.responseSchema ?? null,
    })
  },

  async *stream(request, answer) {
    const responseId = newId('resp')
    const event = (parts: object[], end?: object) =>
      `data: ${JSON.stringify(response(request.model, responseId, parts, end))}\n\n`
    if (answer.thought) yield event([{ text: answer.thought, thought: true }])
    for await (const text of answer.text) yield event([{ text }])
    yield event(answer.calls.map(callPart), ending(answer.usage))
  },

  whole(request, answer) {
    const parts = [
      ...(answer.thought ? [{ text: answer.thought, thought: true }] : []),
      ...(answer.text ? [{ text: answer.text }] : []),
      ...answer.calls.map(callPart),
    ]
    return response(request.model, newId('resp'), parts, ending(answer.usage))
  },

  failure: ({ status, message }) => ({ error: { code: status, message, status: statusName(status) } }),

  aside(path, body) {
    if (!path.endsWith(':countTokens')) return undefined
    // About four characters make a token; nobody bills by this number.
    return { totalTokens: Math.ceil(JSON.stringify(body).length / 4) }
  },
}

const textOf = (parts: z.infer<typeof Content>['parts']) =>
  parts
    .filter((part) => !part.thought && part.text !== '')
    .map((part) => part.text)
    .join('\n')

/** Tools answer as `{ output }` or `{ error }`; anything else is shown as it is. */
function outputOf(response: unknown): string {
  const { output, error } = z
    .looseObject({ output: z.unknown().optional(), error: z.unknown().optional() })
    .catch({})
    .parse(response)
  const said = output ?? error ?? response
  return typeof said === 'string' ? said : JSON.stringify(said)
}

const callPart = ({ id, name, arguments: args }: ToolCall) => ({ functionCall: { id, name, args } })

const ending = ({ inputTokens, outputTokens }: Usage) => ({
  finishReason: 'STOP',
  usageMetadata: {
    promptTokenCount: inputTokens,
    candidatesTokenCount: outputTokens,
    totalTokenCount: inputTokens + outputTokens,
  },
})

function response(
  model: string,
  responseId: string,
  parts: object[],
  end: { finishReason?: string; usageMetadata?: object } = {},
) {
  const { finishReason, usageMetadata } = end
  return {
    candidates: [{ index: 0, content: { role: 'model', parts }, finishReason }],
    usageMetadata,
    modelVersion: model,
    responseId,
  }
}

function statusName(status: number): string {
  if (status === 401) return 'UNAUTHENTICATED'
  if (status === 429) return 'RESOURCE_EXHAUSTED'
  if (status === 503) return 'UNAVAILABLE'
  return status < 500 ? 'INVALID_ARGUMENT' : 'INTERNAL'
}
