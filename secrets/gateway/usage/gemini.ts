// The Gemini API: `usageMetadata` comes with every part of an answer, each standing for those before it.
import { noTokens, type TokenUsage } from '../../../domain/models/call.ts'
import { charactersIn, countOf, listOf, objectOf, type UsageReader } from './reader.ts'

export function geminiReader(): UsageReader {
  let told: TokenUsage | null = null
  let isFinal = false
  let characters = 0

  function readPart(value: unknown): 'last' | 'maybe' | 'more' {
    const part = objectOf(value)
    if (part === null) return 'more'
    told = usageOf(part.usageMetadata) ?? told
    const candidates = listOf(part.candidates).map(objectOf)
    for (const candidate of candidates) characters += charactersIn(candidate?.content)
    const isEnd =
      candidates.some((candidate) => candidate?.finishReason != null) ||
      objectOf(part.promptFeedback)?.blockReason !== undefined
    isFinal ||= isEnd && told !== null
    if (part.error !== undefined) return 'last'
    // A further part may follow the one that says why it ended.
    return isEnd || isFinal ? 'maybe' : 'more'
  }

  return {
    // Without `alt=sse` a stream is one JSON array.
    read: (value) => (Array.isArray(value) ? (value.map(readPart).at(-1) ?? 'more') : readPart(value)),
    told: () => told,
    isFinal: () => isFinal,
    characters: () => characters,
  }
}

function usageOf(value: unknown): TokenUsage | null {
  const usage = objectOf(value)
  const prompt = countOf(usage?.promptTokenCount)
  if (usage === null || prompt === null) return null
  const all = prompt + (countOf(usage.toolUsePromptTokenCount) ?? 0)
  const cacheRead = Math.min(countOf(usage.cachedContentTokenCount) ?? 0, all)
  const reasoning = countOf(usage.thoughtsTokenCount) ?? 0
  return {
    ...noTokens,
    input: all - cacheRead,
    cacheRead,
    output: (countOf(usage.candidatesTokenCount) ?? 0) + reasoning,
    reasoning,
  }
}
