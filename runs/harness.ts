// Which agent a run gets, by its request and by what this server has keys for.
import type { Config } from '../config.ts'
import { type AgentName, agentOf, type ProviderName } from '../domain/harness.ts'
import { invalid } from '../domain/problem.ts'
import type { AgentConfig } from '../domain/run.ts'
import { providerTargets } from '../secrets/gateway/targets.ts'

/** Whose models each agent speaks to. */
export const agentProviders: Readonly<Record<AgentName, ProviderName | null>> = {
  claude: 'anthropic',
  codex: 'openai',
  gemini: 'gemini',
  opencode: 'openai',
  qwen: 'openai',
  command: null,
}

export interface Harness {
  agent: AgentName
  model: string | null
  reasoningLevel: string | null
  command: string[] | null
  /** No key for the agent's provider: a scripted model plays its part. */
  demo: boolean
}

export function resolveHarness(settings: Config, asked: AgentConfig | null): Harness {
  const harness = asked?.harness
  const fallback = defaultAgent(settings)
  const agent = (harness && agentOf(harness)) ?? fallback
  const command = harness?.command ?? null
  if (agent === 'command' && command === null)
    throw invalid('config.harness.command: is required by the command harness')
  if (agent !== 'command' && command !== null) throw invalid('config.harness.command: is only for the command harness')
  const provider = agentProviders[agent]
  return {
    agent,
    model: harness?.model_id ?? asked?.model_id ?? (agent === fallback ? (settings.AMBIENT_MODEL ?? null) : null),
    reasoningLevel: harness?.reasoning_level ?? null,
    command,
    demo: provider !== null && providerTargets(settings)[provider] === null,
  }
}

/** The agent that is set, else one that there is a key for, else the one that plays the demo. */
export function defaultAgent(settings: Config): AgentName {
  if (settings.AMBIENT_AGENT) return settings.AMBIENT_AGENT
  const targets = providerTargets(settings)
  if (targets.anthropic) return 'claude'
  if (targets.openai) return 'codex'
  if (targets.gemini) return 'gemini'
  return 'opencode'
}
