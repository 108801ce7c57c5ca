// Answers to requests that are not part of a turn: titles, suggestions, classifications.
import { z } from 'zod'
import type { ModelRequest } from './request.ts'
import type { ModelAnswer, Usage } from './step.ts'

/** Says `title`, in the shape of the JSON schema where the request has one. */
export function auxiliaryAnswer(request: ModelRequest, title: string, usage: Usage): ModelAnswer {
  const text = request.answerSchema === null ? title : JSON.stringify(sample(request.answerSchema, title))
  return { thought: '', text: [text], calls: [], usage }
}

const Schema = z.looseObject({
  type: z.unknown().optional(),
  enum: z.array(z.unknown()).optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
})

/** The plainest value that follows the schema. Types may be in capitals, as Gemini writes them. */
function sample(schema: unknown, title: string): unknown {
  const { type, enum: values, properties } = Schema.catch({ type: 'string' }).parse(schema)
  if (values !== undefined) return values[0]
  if (properties !== undefined) {
    return Object.fromEntries(Object.entries(properties).map(([name, inner]) => [name, sample(inner, title)]))
  }
  switch (String(type).toLowerCase()) {
    case 'object':
      return {}
    case 'array':
      return []
    case 'boolean':
      return false
    case 'number':
    case 'integer':
      return 0
    default:
      return title
  }
}
