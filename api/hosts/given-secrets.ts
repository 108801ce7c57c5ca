// What a host is given of secrets with its order: opened here, for the host that holds the run, and noted.

import { isReference, namesIn, queryValues } from '../../domain/mcp/server.ts'
import { type AgentConfig, type InlineEnvironment, withoutSecrets } from '../../domain/run.ts'
import { hiddenValues } from '../../domain/vault/hidden-values.ts'
import { createRedactor, type Redactor } from '../../domain/vault/redaction.ts'
import { chosenNames, type GivenSecret, SecretChoice } from '../../domain/vault/secret.ts'
import { type Vault, VaultError } from '../../domain/vault/vault.ts'
import { openServer } from '../../secrets/mcp/values.ts'
import { openEnvironment } from '../../secrets/vault/inline.ts'
import type { Db } from '../../store/database.ts'
import {
  type ChosenSecret,
  formerValues,
  holderOf,
  noteGiven,
  openSecret,
  type SecretHolder,
  secretsOf,
  secretsOfBuild,
} from '../../store/secrets/run-secrets.ts'

export interface Given {
  secrets: GivenSecret[]
  hidden_values: string[]
  secrets_trouble: string | null
}

const NOTHING: Given = { secrets: [], hidden_values: [], secrets_trouble: null }

/** The secrets of an execution, with a note that it was given them. */
export async function giveSecrets(
  { db, vault }: { db: Db; vault: Vault },
  { runId, execution }: { runId: string; execution: number },
): Promise<Given> {
  const run = await holderOf(db, runId)
  if (run === null) return NOTHING
  const choice = SecretChoice.nullish().safeParse(run.config.secrets)
  // Never taken for "all of them".
  if (!choice.success) return { ...NOTHING, secrets_trouble: 'config.secrets of the run is no list of names.' }
  const names = chosenNames(choice.data)
  // The key of its provider stays at the gateway, unless the run names it as a secret of its own.
  const keys = names === null ? Object.values<string | null | undefined>(run.config.harness_auth_secrets ?? {}) : []
  const chosen = (await secretsOf(db, run.holder, names)).filter(({ name }) => !keys.includes(name))
  const missing = (names ?? []).filter((name) => !chosen.some((secret) => secret.name === name))
  // What a run was to have and cannot get, it may not be able to do without: it is told before it begins.
  if (missing.length > 0) return { ...NOTHING, secrets_trouble: `There is no secret ${missing.join(', ')} any more.` }
  const further = await secretsBeside(db, run, names)
  const given = opened(vault, chosen, () => mcpValues(vault, run, further))
  if (chosen.length > 0 && given.secrets_trouble === null) {
    const { team } = run.holder
    await db.transaction().execute((tx) => noteGiven(tx, { runId, execution, team }, chosen))
  }
  return given
}

/** An environment with its values; or, where the key is not here, without them and with the reason. */
export function openedEnvironment<T extends InlineEnvironment>(
  vault: Vault,
  sealed: T,
): { environment: T; trouble: Partial<Given> } {
  try {
    return { environment: openEnvironment(vault, sealed), trouble: {} }
  } catch (error) {
    if (error instanceof VaultError)
      return { environment: withoutSecrets(sealed), trouble: { ...NOTHING, secrets_trouble: error.message } }
    throw error
  }
}

/** What hides a run's values in what its agent says to the server itself. */
export async function redactorOfRun({ db, vault }: { db: Db; vault: Vault }, runId: string): Promise<Redactor> {
  const run = await holderOf(db, runId)
  if (run === null) return createRedactor([])
  const choice = SecretChoice.nullish().safeParse(run.config.secrets)
  const chosen = await secretsOf(db, run.holder, chosenNames(choice.data ?? null))
  const further = await secretsBeside(db, run, chosenNames(choice.data ?? null))
  const { secrets, hidden_values } = opened(vault, chosen, () => mcpValues(vault, run, further))
  const environment = openEnvironment(vault, run.environment)
  return createRedactor(hiddenValues({ secrets, hidden_values, environment }))
}

export async function giveSecretsOfBuild(
  { db, vault }: { db: Db; vault: Vault },
  { team, environment_id: environmentId }: { team: string; environment_id: string },
): Promise<Given> {
  return opened(vault, await secretsOfBuild(db, team, environmentId))
}

type HeldRun = { holder: SecretHolder; config: AgentConfig }

/** What its MCP servers may name beside the secrets that its sandbox is given. */
const secretsBeside = async (db: Db, { holder, config }: HeldRun, chosen: string[] | null): Promise<ChosenSecret[]> =>
  chosen === null || Object.keys(config.mcp_servers ?? {}).length === 0 ? [] : await secretsOf(db, holder, null)

/** Shorter values in the query of a URL are taken for settings, such as `markdown`. In characters. */
const QUERY_CHARS = 16

/** The values of its MCP servers, which it may print as well, and which a server that is reached over HTTP may send back. */
function mcpValues(vault: Vault, { holder, config }: HeldRun, secrets: readonly ChosenSecret[]): string[] {
  return Object.values(config.mcp_servers ?? {}).flatMap((server) => {
    const { url = '', env, headers } = openServer(vault, holder.team, server)
    const inHeaders = Object.values(headers ?? {}).flatMap((value) => [value, value.replace(/^\w+ /, '')])
    const inQuery = [...queryValues(url).values()].filter((value) => value.length >= QUERY_CHARS)
    const texts = [...Object.values(env ?? {}), ...new Set(inHeaders), ...inQuery]
    const names = [url, ...texts].flatMap(namesIn)
    const named = secrets.filter(({ name }) => names.includes(name)).map((secret) => openSecret(vault, secret).value)
    return [...texts.filter((value) => !isReference(value)), ...named]
  })
}

function opened(vault: Vault, chosen: readonly ChosenSecret[], others: () => string[] = () => []): Given {
  try {
    return {
      secrets: chosen.map((secret) => openSecret(vault, secret)),
      hidden_values: [...formerValues(vault, chosen), ...others()],
      secrets_trouble: null,
    }
  } catch (error) {
    if (error instanceof VaultError) return { ...NOTHING, secrets_trouble: error.message }
    throw error
  }
}
