// A path that is not known here: whatever in its answer looks like a usage is one.
import { anthropicReader } from './anthropic.ts'
import { geminiReader } from './gemini.ts'
import { chatReader, responsesReader } from './openai.ts'
import { objectOf, type UsageReader } from './reader.ts'

export function anyReader(): UsageReader {
  let chosen: UsageReader | null = null
  const plain = chatReader()
  return {
    read(value) {
      const first = objectOf(Array.isArray(value) ? value[0] : value)
      chosen ??= readerFor(first)
      return (chosen ?? plain).read(value)
    },
    told: () => (chosen ?? plain).told(),
    isFinal: () => (chosen ?? plain).isFinal(),
    characters: () => (chosen ?? plain).characters(),
  }
}

function readerFor(value: Record<string, unknown> | null): UsageReader | null {
  if (value === null) return null
  if (value.type === 'message' || value.type === 'message_start') return anthropicReader()
  if (value.usageMetadata !== undefined || value.candidates !== undefined) return geminiReader()
  if (value.object === 'response' || String(value.type).startsWith('response.')) return responsesReader()
  return null
}
