// What a host is given of secrets with its order: opened here, for the host that holds the run, and noted.

import { setLatest } from '../../domain/latest.ts'
import { namesIn } from '../../domain/mcp/server.ts'
import { isReference, secretsInArgs, secretsInUrl } from '../../domain/mcp/values.ts'
import { type AgentConfig, type InlineEnvironment, withoutSecrets } from '../../domain/run.ts'
import { hiddenValues } from '../../domain/vault/hidden-values.ts'
import { createRedactor, type Redactor } from '../../domain/vault/redaction.ts'
import { chosenNames, type GivenSecret, SecretChoice } from '../../domain/vault/secret.ts'
import { type Vault, VaultError } from '../../domain/vault/vault.ts'
import { openServer } from '../../secrets/mcp/values.ts'
import { openEnvironment } from '../../secrets/vault/inline.ts'
import type { Db } from '../../store/database.ts'
import { givenValues, keepGiven, openGiven } from '../../store/secrets/given-values.ts'
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
  const [run, before] = await Promise.all([holderOf(db, runId), givenValues(db, runId)])
  if (run === null) return NOTHING
  const choice = SecretChoice.nullish().safeParse(run.config.secrets)
  // Never taken for "all of them".
  if (!choice.success) return { ...NOTHING, secrets_trouble: 'config.secrets of the run is no list of names.' }
  const names = chosenNames(choice.data)
  // The key of its provider stays at the gateway, unless the run names it as a secret of its own.
  const keys = names === null ? Object.values<string | null | undefined>(run.config.harness_auth_secrets ?? {}) : []
  const { asked, inScope } = await secretsWithin(db, run, names)
  const chosen = asked.filter(({ name }) => !keys.includes(name))
  const missing = (names ?? []).filter((name) => !chosen.some((secret) => secret.name === name))
  let noted: ChosenSecret[] = []
  const given = orTrouble(() => {
    const { texts, named } = mcpValues(vault, run, inScope)
    const hidden = [
      ...texts,
      ...before.map((value) => openGiven(vault, value)),
      ...named.map((secret) => openSecret(vault, secret).value),
    ]
    // What a run was to have and cannot get, it may not be able to do without: it is told before it begins. One that is
    // at work has it, and may say it.
    if (missing.length > 0) {
      const trouble = `There is no secret ${missing.join(', ')} any more.`
      return { ...NOTHING, hidden_values: [...new Set(hidden)], secrets_trouble: trouble }
    }
    noted = [...chosen, ...named]
    return opened(vault, chosen, hidden)
  })
  if (noted.length > 0) {
    const { team } = run.holder
    await db.transaction().execute(async (tx) => {
      await keepGiven(tx, runId, noted)
      await noteGiven(tx, { runId, execution, team }, chosen)
    })
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

/** Of so many runs at once. One that is made anew costs no more than time. */
const REDACTORS = 100

/** What hides a run's values in what its agent says to the server itself; kept for as long as they are the same. */
export function createRunRedactors({ db, vault }: { db: Db; vault: Vault }): (runId: string) => Promise<Redactor> {
  const known = new Map<string, { values: string; redactor: Redactor }>()
  return async (runId) => {
    const [run, before] = await Promise.all([holderOf(db, runId), givenValues(db, runId)])
    if (run === null) return createRedactor([])
    const choice = SecretChoice.nullish().safeParse(run.config.secrets)
    const { asked, inScope } = await secretsWithin(db, run, chosenNames(choice.data ?? null))
    const { environment, config } = run
    const values = JSON.stringify([
      [environment, config.mcp_servers],
      before.map(({ secret, version }) => [secret, version]),
      [...asked, ...inScope].map(({ uid, version }) => [uid, version]),
    ])
    const make = () => {
      const { texts, named } = mcpValues(vault, run, inScope)
      const { secrets, hidden_values } = opened(
        vault,
        [...asked, ...named],
        [...before.map((value) => openGiven(vault, value)), ...texts],
      )
      return createRedactor(hiddenValues({ secrets, hidden_values, environment: openEnvironment(vault, environment) }))
    }
    const former = known.get(runId)
    const redactor = former?.values === values ? former.redactor : make()
    // Those that were used last stay.
    setLatest(known, runId, { values, redactor }, REDACTORS)
    return redactor
  }
}

export async function giveSecretsOfBuild(
  { db, vault }: { db: Db; vault: Vault },
  { team, environment_id: environmentId }: { team: string; environment_id: string },
): Promise<Given> {
  const chosen = await secretsOfBuild(db, team, environmentId)
  return orTrouble(() => opened(vault, chosen))
}

type HeldRun = { holder: SecretHolder; config: AgentConfig }

/** Those that a run asks for; and where it has MCP servers, all that these may name. */
async function secretsWithin(
  db: Db,
  { holder, config }: HeldRun,
  names: string[] | null,
): Promise<{ asked: ChosenSecret[]; inScope: ChosenSecret[] }> {
  const asked = await secretsOf(db, holder, names)
  if (Object.keys(config.mcp_servers ?? {}).length === 0) return { asked, inScope: [] }
  return { asked, inScope: names === null ? asked : await secretsOf(db, holder, null) }
}

/**
 * The values of its MCP servers, which it may print as well, and which a server that is reached over HTTP may send back:
 * those that stand in them, and the secrets that they name.
 */
function mcpValues(
  vault: Vault,
  { holder, config }: HeldRun,
  inScope: readonly ChosenSecret[],
): { texts: string[]; named: ChosenSecret[] } {
  const texts: string[] = []
  const names = new Set<string>()
  for (const server of Object.values(config.mcp_servers ?? {})) {
    const { url = '', args = [], env, headers } = openServer(vault, holder.team, server)
    const inHeaders = Object.values(headers ?? {}).flatMap((value) => [value, value.replace(/^\w+ /, '')])
    const values = [...Object.values(env ?? {}), ...new Set(inHeaders), ...secretsInUrl(url), ...secretsInArgs(args)]
    texts.push(...values.filter((value) => !isReference(value)))
    for (const name of [url, ...values].flatMap(namesIn)) names.add(name)
  }
  return { texts, named: inScope.filter(({ name }) => names.has(name)) }
}

/** @throws {VaultError} */
const opened = (vault: Vault, chosen: readonly ChosenSecret[], others: readonly string[] = []): Given => ({
  secrets: chosen.map((secret) => openSecret(vault, secret)),
  hidden_values: [...new Set([...formerValues(vault, chosen), ...others])],
  secrets_trouble: null,
})

function orTrouble(open: () => Given): Given {
  try {
    return open()
  } catch (error) {
    if (error instanceof VaultError) return { ...NOTHING, secrets_trouble: error.message }
    throw error
  }
}
