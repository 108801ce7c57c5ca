// Models that are known by name here. Any other may be named just as well: it is passed on as it is.
import { z } from 'zod'
import { type AgentName, type ProviderName, providerNames } from '../harness.ts'
import { ModelPrices } from './prices.ts'

export interface CatalogueModel {
  id: string
  name: string
  provider: ProviderName
  description: string | null
  vision: boolean
  /** What `config.harness.reasoning_level` may be, by rising effort. */
  reasoning: readonly string[]
  /** Null: nobody has said. */
  prices: ModelPrices | null
}

const efforts = ['low', 'medium', 'high', 'xhigh', 'max'] as const

/** Input and output, then what is read from a cache, written to one, and kept there longer. */
type Rates = readonly [input: number, output: number, read: number, write?: number, hour?: number]

const rates = ([input, output, cache_read, cache_write, cache_write_hour]: Rates) => ({
  input,
  output,
  cache_read,
  ...(cache_write !== undefined && { cache_write }),
  ...(cache_write_hour !== undefined && { cache_write_hour }),
})

const priced = (short: Rates, above?: number, long?: Rates): ModelPrices => ({
  ...rates(short),
  ...(above !== undefined && long !== undefined && { long: { ...rates(long), above } }),
})

const anthropic = (id: string, name: string, prices: ModelPrices | null = null): CatalogueModel => ({
  id,
  name,
  provider: 'anthropic',
  description: null,
  vision: true,
  reasoning: efforts,
  prices,
})

/** Above so many tokens of a prompt, OpenAI charges twice for it, and half as much again for the answer. */
const LONG_OPENAI = 272_000

const openai = (
  id: string,
  name: string,
  description: string,
  [input, output, read, write = input * 1.25]: Rates,
  reasoning: readonly string[] = efforts,
): CatalogueModel => ({
  id,
  name,
  provider: 'openai',
  description,
  vision: true,
  reasoning,
  prices: priced([input, output, read, write], LONG_OPENAI, [2 * input, 1.5 * output, 2 * read, 2 * write]),
})

/** Gemini CLI has no setting for the effort. */
const google = (id: string, name: string, prices: ModelPrices): CatalogueModel => ({
  id,
  name,
  provider: 'gemini',
  description: null,
  vision: true,
  reasoning: [],
  prices,
})

const ultra = [...efforts, 'ultra']

/**
 * As the programs of the agents list them, at the versions that are installed
 * here. The prices are the list prices of November 2026, in dollars for a million
 * tokens: AMBIENT_MODELS_FILE replaces them.
 */
export const knownModels: readonly CatalogueModel[] = [
  anthropic('claude-opus-5-5', 'Claude Opus 5.5', priced([4, 20, 0.2, 5, 8])),
  anthropic('claude-opus-5', 'Claude Opus 5', priced([5, 25, 0.5, 6.25, 10])),
  anthropic('claude-sonnet-5-5', 'Claude Sonnet 5.5', priced([2, 10, 0.1, 2.5, 4])),
  anthropic('claude-sonnet-5', 'Claude Sonnet 5', priced([2, 10, 0.2, 2.5, 4])),
  anthropic(
    'claude-haiku-5-5',
    'Claude Haiku 5.5',
    priced([0.1, 0.5, 0.01, 0.125, 0.2], 100_000, [0.5, 2.5, 0.05, 0.625, 1]),
  ),
  anthropic('claude-fable-5-2', 'Claude Fable 5.2'),
  anthropic('claude-mythos-5-2', 'Claude Mythos 5.2'),
  openai('gpt-6.1-sol', 'GPT-6.1-Sol', 'Latest workhorse model for coding and everyday work.', [2, 10, 0.1], ultra),
  openai('gpt-6.1-terra', 'GPT-6.1 Terra', 'A model for Codex.', [1, 5, 0.05], ultra),
  openai('gpt-6-astra', 'GPT-6-Astra', 'Frontier intelligence for the most demanding work.', [10, 50, 1], ultra),
  openai('gpt-6-sol', 'GPT-6-Sol', 'Previous generation workhorse model.', [2, 10, 0.2], ultra),
  openai('gpt-6-luna', 'GPT-6-Luna', 'Fast and affordable model for easier tasks.', [0.1, 0.5, 0.01]),
  openai('gpt-5.6-sol', 'GPT-5.6-Sol', 'Older generation workhorse model.', [4, 20, 0.4], ultra),
  openai('gpt-5.6-terra', 'GPT-5.6-Terra', 'Older balanced model for straightforward work.', [2, 12, 0.2], ultra),
  openai('gpt-5.6-luna', 'GPT-5.6-Luna', 'Older fast and efficient model.', [0.2, 1.2, 0.02]),
  google('gemini-3.1-pro-preview', 'Gemini 3.1 Pro (preview)', priced([2, 12, 0.2], 200_000, [4, 18, 0.4])),
  google('gemini-3.8-flash', 'Gemini 3.8 Flash', priced([0.75, 3.75, 0.075])),
  google('gemini-3.5-flash', 'Gemini 3.5 Flash', priced([1.5, 9, 0.15])),
  google('gemini-3.5-flash-lite', 'Gemini 3.5 Flash-Lite', priced([0.3, 2.5, 0.03])),
  google('gemini-2.5-pro', 'Gemini 2.5 Pro', priced([1.25, 10, 0.125], 200_000, [2.5, 15, 0.25])),
  google('gemini-2.5-flash', 'Gemini 2.5 Flash', priced([0.3, 2.5, 0.03])),
]

/** By the name that a call has for it: a version at its end, as providers put there, is of the same model. */
export function findModel(models: readonly CatalogueModel[], id: string): CatalogueModel | null {
  const plain = id.replace(/^models\//, '').replace(/\[1m\]$/, '')
  const version = /^(.+?)(?:@|-)(?:latest|default|\d{8}|\d{4}-\d{2}-\d{2}|\d{3})$/.exec(plain)?.[1]
  const find = (name: string | undefined) => models.find((model) => model.id === name)
  return find(id) ?? find(plain) ?? find(version) ?? null
}

/** A file of models, at AMBIENT_MODELS_FILE: each takes the place of the one of that id, or comes after all. */
export const ModelsFile = z
  .strictObject({
    models: z
      .array(
        z.strictObject({
          id: z.string().min(1).max(200),
          provider: z.enum(providerNames).optional().describe('The wire format. Needed for one that is not known.'),
          name: z.string().min(1).max(200).optional(),
          description: z.string().max(1000).nullish(),
          vision: z.boolean().optional(),
          reasoning: z.array(z.string().min(1).max(50)).max(20).optional(),
          prices: ModelPrices.nullish().describe('In US dollars for a million tokens; null: unknown.'),
        }),
      )
      .max(2000),
  })
  .meta({ id: 'ModelsFile' })
export type ModelsFile = z.infer<typeof ModelsFile>

/** The known models with those of a file. @throws {Error} for a model that says too little. */
export function withModels(known: readonly CatalogueModel[], file: ModelsFile): CatalogueModel[] {
  const models = [...known]
  for (const { id, provider, name, description, vision, reasoning, prices } of file.models) {
    const at = models.findIndex((model) => model.id === id)
    const base = models[at]
    const format = provider ?? base?.provider
    if (format === undefined) throw new Error(`${id}: says no provider, and is not known here`)
    const model: CatalogueModel = {
      id,
      provider: format,
      name: name ?? base?.name ?? id,
      description: description === undefined ? (base?.description ?? null) : description,
      vision: vision ?? base?.vision ?? false,
      reasoning: reasoning ?? base?.reasoning ?? [],
      prices: prices === undefined ? (base?.prices ?? null) : prices,
    }
    if (at === -1) models.push(model)
    else models[at] = model
  }
  return models
}

/** What an agent takes that is told no model. Null: its program decides, and says so nowhere. */
export const defaultModels: Readonly<Record<AgentName, string | null>> = {
  claude: null,
  codex: 'gpt-6.1-sol',
  gemini: null,
  opencode: 'gpt-6.1-sol',
  qwen: 'gpt-6.1-sol',
  command: null,
}

/** `GET /agent/models`, as Oz has it. */
export const ModelItem = z
  .object({
    id: z.string(),
    display_name: z.string(),
    provider: z.enum(['OPENAI', 'ANTHROPIC', 'GOOGLE', 'UNKNOWN']),
    vision_supported: z.boolean(),
    description: z.string().optional(),
    reasoning_level: z.string().optional(),
    reasoning_levels: z.array(z.string()).describe('What `config.harness.reasoning_level` may be with it.'),
    harnesses: z.array(z.string()).describe('Which agents can be given it.'),
    default_of: z.array(z.string()).describe('The agents that take it when a run names none.'),
    prices: ModelPrices.nullable().describe(
      'In US dollars for a million tokens; null: unknown. Its calls are then charged with nothing, and are refused in runs that a budget or credits limit (AMBIENT_UNPRICED_MODELS).',
    ),
    disable_reason: z
      .enum(['PROVIDER_OUTAGE', 'OUT_OF_REQUESTS', 'ADMIN_DISABLED', 'REQUIRES_UPGRADE'])
      .optional()
      .describe(
        "ADMIN_DISABLED: the team's rules do not allow it, or there is no key for its provider, so that a scripted demo model would play its part.",
      ),
  })
  .meta({ id: 'ModelItem' })
export type ModelItem = z.infer<typeof ModelItem>

export const ModelList = z
  .object({
    default_model_id: z
      .string()
      .describe('Of a run that names neither model nor harness. Empty: the program of the agent decides.'),
    models: z.array(ModelItem),
  })
  .meta({ id: 'ModelList' })
export type ModelList = z.infer<typeof ModelList>
