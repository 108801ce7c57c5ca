// The formats of OpenAI: Chat Completions tell the usage in a chunk of its own, Responses with their end.
import { noTokens, type TokenUsage } from '../../../domain/models/call.ts'
import { charactersIn, countOf, listOf, objectOf, type UsageReader } from './reader.ts'

/** `[DONE]` is no JSON and never comes here: see answer.ts. */
export function chatReader(): UsageReader {
  let told: TokenUsage | null = null
  let characters = 0
  return {
    read(value) {
      const chunk = objectOf(value)
      if (chunk === null) return 'more'
      told = usageOf(chunk.usage) ?? told
      const choices = listOf(chunk.choices)
      for (const choice of choices) {
        const said = objectOf(choice)
        characters += charactersIn(said?.delta ?? said?.message ?? said?.text)
      }
      if (chunk.error !== undefined) return 'last'
      // Some endpoints tell running totals with every chunk.
      return told !== null && choices.length === 0 ? 'maybe' : 'more'
    },
    told: () => told,
    isFinal: () => told !== null,
    characters: () => characters,
  }
}

const ends: readonly unknown[] = ['response.completed', 'response.incomplete', 'response.failed']

export function responsesReader(): UsageReader {
  let told: TokenUsage | null = null
  let characters = 0
  return {
    read(value) {
      const event = objectOf(value)
      if (event === null) return 'more'
      if (ends.includes(event.type)) {
        told = usageOf(objectOf(event.response)?.usage) ?? told
        return 'last'
      }
      if (event.type === 'error') return 'last'
      // The whole answer as one body.
      if (typeof event.object === 'string') {
        told = usageOf(event.usage) ?? told
        characters += charactersIn(event.output)
        return 'last'
      }
      if (typeof event.delta === 'string') characters += event.delta.length
      return 'more'
    },
    told: () => told,
    isFinal: () => told !== null,
    characters: () => characters,
  }
}

/** Both formats count what was cached among the prompt, and reasoning among the output. */
export function usageOf(value: unknown): TokenUsage | null {
  const usage = objectOf(value)
  const prompt = countOf(usage?.prompt_tokens ?? usage?.input_tokens)
  const output = countOf(usage?.completion_tokens ?? usage?.output_tokens)
  if (usage === null || (prompt === null && output === null)) return null
  const promptDetails = objectOf(usage.prompt_tokens_details ?? usage.input_tokens_details)
  const outputDetails = objectOf(usage.completion_tokens_details ?? usage.output_tokens_details)
  const all = prompt ?? 0
  const cacheRead = Math.min(countOf(promptDetails?.cached_tokens) ?? 0, all)
  const cacheWrite = Math.min(countOf(promptDetails?.cache_write_tokens) ?? 0, all - cacheRead)
  return {
    ...noTokens,
    input: all - cacheRead - cacheWrite,
    cacheRead,
    cacheWrite,
    output: output ?? 0,
    reasoning: Math.min(countOf(outputDetails?.reasoning_tokens) ?? 0, output ?? 0),
  }
}
