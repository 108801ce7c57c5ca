// Models that are known by name here. Any other may be named just as well: it is passed on as it is.
import { z } from 'zod'
import type { AgentName, ProviderName } from './harness.ts'

interface KnownModel {
  id: string
  name: string
  provider: ProviderName
  description: string | null
  vision: boolean
  /** What `config.harness.reasoning_level` may be, by rising effort. */
  reasoning: readonly string[]
}

const efforts = ['low', 'medium', 'high', 'xhigh', 'max'] as const

const anthropic = (id: string, name: string): KnownModel => ({
  id,
  name,
  provider: 'anthropic',
  description: null,
  vision: true,
  reasoning: efforts,
})

const openai = (id: string, name: string, description: string, reasoning: readonly string[] = efforts): KnownModel => ({
  id,
  name,
  provider: 'openai',
  description,
  vision: true,
  reasoning,
})

/** Gemini CLI has no setting for the effort. */
const google = (id: string, name: string): KnownModel => ({
  id,
  name,
  provider: 'gemini',
  description: null,
  vision: true,
  reasoning: [],
})

const ultra = [...efforts, 'ultra']

/** As the programs of the agents list them, at the versions that are installed here. */
export const knownModels: readonly KnownModel[] = [
  anthropic('claude-opus-5-5', 'Claude Opus 5.5'),
  anthropic('claude-opus-5', 'Claude Opus 5'),
  anthropic('claude-sonnet-5-5', 'Claude Sonnet 5.5'),
  anthropic('claude-sonnet-5', 'Claude Sonnet 5'),
  anthropic('claude-haiku-5-5', 'Claude Haiku 5.5'),
  anthropic('claude-fable-5-2', 'Claude Fable 5.2'),
  anthropic('claude-mythos-5-2', 'Claude Mythos 5.2'),
  openai('gpt-6.1-sol', 'GPT-6.1-Sol', 'Latest workhorse model for coding and everyday work.', ultra),
  openai('gpt-6.1-terra', 'GPT-6.1 Terra', 'A model for Codex.', ultra),
  openai('gpt-6-astra', 'GPT-6-Astra', 'Frontier intelligence for the most demanding work.', ultra),
  openai('gpt-6-sol', 'GPT-6-Sol', 'Previous generation workhorse model.', ultra),
  openai('gpt-6-luna', 'GPT-6-Luna', 'Fast and affordable model for easier tasks.'),
  openai('gpt-5.6-sol', 'GPT-5.6-Sol', 'Older generation workhorse model.', ultra),
  openai('gpt-5.6-terra', 'GPT-5.6-Terra', 'Older balanced model for straightforward work.', ultra),
  openai('gpt-5.6-luna', 'GPT-5.6-Luna', 'Older fast and efficient model.'),
  google('gemini-3.1-pro-preview', 'Gemini 3.1 Pro (preview)'),
  google('gemini-3.8-flash', 'Gemini 3.8 Flash'),
  google('gemini-3.5-flash', 'Gemini 3.5 Flash'),
  google('gemini-3.5-flash-lite', 'Gemini 3.5 Flash-Lite'),
  google('gemini-2.5-pro', 'Gemini 2.5 Pro'),
  google('gemini-2.5-flash', 'Gemini 2.5 Flash'),
]

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
    disable_reason: z
      .enum(['PROVIDER_OUTAGE', 'OUT_OF_REQUESTS', 'ADMIN_DISABLED', 'REQUIRES_UPGRADE'])
      .optional()
      .describe('ADMIN_DISABLED: this server has no key for its provider; a scripted demo model would play its part.'),
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
