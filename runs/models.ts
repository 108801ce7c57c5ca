// Whether a run may have its model, and with whose key.
import type { ProviderName } from '../domain/harness.ts'
import { defaultModels } from '../domain/models/models.ts'
import { isAllowed } from '../domain/models/rules.ts'
import { HttpError } from '../domain/problem.ts'
import type { AgentConfig } from '../domain/run.ts'
import type { Queryable } from '../store/database.ts'
import { formatsOfTeam } from '../store/models/providers.ts'
import { modelRules } from '../store/models/rules.ts'
import { type SecretHolder, secretsOf } from '../store/secrets/run-secrets.ts'
import { agentProviders, type Harness } from './harness.ts'

/** Which field names the secret that is the key for a provider. */
const authFields = {
  anthropic: 'claude_auth_secret_name',
  openai: 'codex_auth_secret_name',
} as const satisfies Partial<Record<ProviderName, string>>

/**
 * The harness as the team's rules and keys make it.
 * @throws {HttpError} 422 for a model that the rules do not allow, and for a key that is not there.
 */
export async function withModelAccess(
  db: Queryable,
  holder: SecretHolder,
  config: AgentConfig,
  harness: Harness,
): Promise<Harness> {
  const provider = agentProviders[harness.agent]
  if (provider === null) return harness
  const model = harness.model ?? defaultModels[harness.agent]
  // Where its program decides, the gateway sees what it calls.
  if (model !== null && !isAllowed(await modelRules(db, holder.team), model))
    throw refused(`config.model_id: the model ${model} is not allowed by the rules of the team.`)
  const hasKey = await hasOwnKey(db, holder, config, provider)
  if (!harness.demo || hasKey) return { ...harness, demo: harness.demo && !hasKey }
  return { ...harness, demo: !(await formatsOfTeam(db, holder.team)).includes(provider) }
}

async function hasOwnKey(
  db: Queryable,
  holder: SecretHolder,
  { harness_auth_secrets: secrets }: AgentConfig,
  provider: ProviderName,
): Promise<boolean> {
  if (provider === 'gemini') return false
  const field = authFields[provider]
  const name = secrets?.[field]
  if (!name) return false
  const [secret] = await secretsOf(db, { ...holder, namedByOthers: false }, [name])
  if (secret === undefined)
    throw refused(`config.harness_auth_secrets.${field}: there is no secret ${name} that this run could have.`)
  return true
}

const refused = (message: string) => new HttpError(422, 'operation_not_supported', message)
