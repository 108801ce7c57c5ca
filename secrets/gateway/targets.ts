// Which model providers this installation has, by its settings.
import { type Config, loadConfig } from '../../config.ts'
import type { ProviderName } from '../../domain/harness.ts'
import type { ProviderTarget } from './providers.ts'

const builtIn = loadConfig({})

/** Where each provider's calls go. Null: neither a key nor an endpoint of one's own, which may need none, is set. */
export function providerTargets(config: Config): Readonly<Record<ProviderName, ProviderTarget | null>> {
  const target = (baseUrl: string, builtInUrl: string, apiKey: string | undefined): ProviderTarget | null =>
    apiKey === undefined && baseUrl === builtInUrl ? null : { baseUrl, apiKey: apiKey ?? null }
  return {
    anthropic: target(config.ANTHROPIC_BASE_URL, builtIn.ANTHROPIC_BASE_URL, config.ANTHROPIC_API_KEY),
    openai: target(config.OPENAI_BASE_URL, builtIn.OPENAI_BASE_URL, config.OPENAI_API_KEY),
    gemini: target(config.GOOGLE_GEMINI_BASE_URL, builtIn.GOOGLE_GEMINI_BASE_URL, config.GEMINI_API_KEY),
  }
}

/** Where each provider is, whoever's key is used. */
export const providerUrls = (config: Config): Readonly<Record<ProviderName, string>> => ({
  anthropic: config.ANTHROPIC_BASE_URL,
  openai: config.OPENAI_BASE_URL,
  gemini: config.GOOGLE_GEMINI_BASE_URL,
})

/** Settings that hold a provider's real key. Only the gateway may have them. */
export const modelKeySettings = [
  'ANTHROPIC_API_KEY',
  'OPENAI_API_KEY',
  'GEMINI_API_KEY',
] as const satisfies readonly (keyof Config)[]
