// What a model's tokens cost.
import { z } from 'zod'
import type { CallCost, TokenUsage } from './call.ts'

const price = z.number().min(0).max(1_000_000)

const rates = {
  input: price.describe('Read anew.'),
  cache_read: price.optional().describe('Read from a cache. Absent: as `input`.'),
  cache_write: price.optional().describe('Written to a cache. Absent: as `input`.'),
  cache_write_hour: price.optional().describe('Written to a cache for an hour. Absent: as `cache_write`.'),
  output: price.describe('Reasoning included.'),
}

/** In US dollars for a million tokens, by kind. */
export const ModelPrices = z
  .strictObject({
    ...rates,
    long: z
      .strictObject({
        ...rates,
        above: z.number().int().min(1).describe('Tokens of the prompt, cached ones included.'),
      })
      .optional()
      .describe('Of calls whose prompt is longer than `above` tokens.'),
  })
  .meta({ id: 'ModelPrices' })
export type ModelPrices = z.infer<typeof ModelPrices>

/** What the tokens of one call cost. Null: the model has no price. */
export function priceOf(model: { prices: ModelPrices | null } | null, usage: TokenUsage): CallCost | null {
  const prices = model?.prices ?? null
  if (prices === null) return null
  const prompt = usage.input + usage.cacheRead + usage.cacheWrite
  const { input, cache_read, cache_write, cache_write_hour, output } =
    prices.long && prompt > prices.long.above ? prices.long : prices
  const write = cache_write ?? input
  const cacheWrite =
    (usage.cacheWrite - usage.cacheWriteHour) * write + usage.cacheWriteHour * (cache_write_hour ?? write)
  // Dollars for a million tokens are millionths of a dollar for one.
  return {
    input: Math.round(usage.input * input),
    cacheRead: Math.round(usage.cacheRead * (cache_read ?? input)),
    cacheWrite: Math.round(cacheWrite),
    output: Math.round(usage.output * output),
  }
}
