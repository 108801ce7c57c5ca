// The Messages API of Anthropic: `message_start` tells the prompt, `message_delta` what has been said so far.
import type { TokenUsage } from '../../../domain/models/call.ts'
import { charactersIn, countOf, objectOf, type UsageReader } from './reader.ts'

export function anthropicReader(): UsageReader {
  const counts = new Map<string, number>()
  let isFinal = false
  let characters = 0

  /** Counts are running totals: a later one stands for those before it. */
  function take(value: unknown): void {
    const usage = objectOf(value)
    if (usage === null) return
    const creation = objectOf(usage.cache_creation)
    for (const [name, said] of [
      ['input', usage.input_tokens],
      ['cacheRead', usage.cache_read_input_tokens],
      ['cacheWrite', usage.cache_creation_input_tokens],
      ['cacheWriteHour', creation?.ephemeral_1h_input_tokens],
      ['output', usage.output_tokens],
      ['reasoning', objectOf(usage.output_tokens_details)?.thinking_tokens],
    ] as const) {
      const count = countOf(said)
      if (count !== null) counts.set(name, count)
    }
  }

  return {
    read(value) {
      const event = objectOf(value)
      switch (event?.type) {
        case 'message':
          take(event.usage)
          isFinal = event.usage !== undefined
          characters += charactersIn(event.content)
          return 'last'
        case 'message_start':
          take(objectOf(event.message)?.usage)
          return 'more'
        case 'content_block_delta':
          characters += charactersIn(event.delta)
          return 'more'
        case 'message_delta':
          take(event.usage)
          isFinal = objectOf(event.usage) !== null
          return 'maybe'
        case 'message_stop':
        case 'error':
          return 'last'
        default:
          return 'more'
      }
    },
    told: () => (counts.size === 0 ? null : usageOf(counts)),
    isFinal: () => isFinal,
    characters: () => characters,
  }
}

function usageOf(counts: ReadonlyMap<string, number>): TokenUsage {
  const of = (name: string) => counts.get(name) ?? 0
  const output = of('output')
  return {
    input: of('input'),
    cacheRead: of('cacheRead'),
    cacheWrite: of('cacheWrite'),
    cacheWriteHour: Math.min(of('cacheWriteHour'), of('cacheWrite')),
    output,
    reasoning: Math.min(of('reasoning'), output),
  }
}
