// Which agents there are, and what they may do without asking.
import { z } from 'zod'

/** Agents by their name in requests. `oz` is not one of them: it means the server's default. */
export const agentNames = ['claude', 'codex', 'gemini', 'opencode', 'qwen', 'command'] as const
export const AgentName = z.enum(agentNames)
export type AgentName = z.infer<typeof AgentName>

export const HarnessType = z.enum(['oz', ...agentNames])
export type HarnessType = z.infer<typeof HarnessType>

const isOzType = (type: HarnessType) => ['oz', 'claude', 'codex', 'gemini'].includes(type)

/** How `config.harness` says which agent is meant. */
export interface NamedHarness {
  type: HarnessType
  agent?: AgentName | null | undefined
}

/** Null: the server's default. */
export const agentOf = ({ type, agent }: NamedHarness): AgentName | null => agent ?? (type === 'oz' ? null : type)

/** A harness as it is served: strict clients take no `type` that Oz does not have, so those are said by `agent` alone. */
export const asServed = <T extends NamedHarness>(harness: T): T =>
  isOzType(harness.type) ? harness : { ...harness, type: 'oz', agent: harness.agent ?? harness.type }

/** What happens when an agent wants to act: `allow` it, `ask` a person (the run is BLOCKED), or `deny` it. */
export const PermissionPolicy = z.enum(['allow', 'ask', 'deny'])
export type PermissionPolicy = z.infer<typeof PermissionPolicy>

/** Where a run does not say: a container is a boundary of its own; on the bare machine a person decides. */
export const defaultPolicy = (hostKind: 'docker' | 'direct'): PermissionPolicy =>
  hostKind === 'docker' ? 'allow' : 'ask'

/** The wire formats that model providers speak, as the gateway routes them. */
export const providerNames = ['anthropic', 'openai', 'gemini'] as const
export type ProviderName = (typeof providerNames)[number]
