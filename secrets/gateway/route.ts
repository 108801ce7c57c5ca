// Where a run's calls go: with a key of its own, to an endpoint of its team, to the server's provider, or to the demo.

import type { ProviderName } from '../../domain/harness.ts'
import { setLatest } from '../../domain/latest.ts'
import { type CatalogueModel, findModel } from '../../domain/models/models.ts'
import { type ModelRules, matches } from '../../domain/models/rules.ts'
import type { Vault } from '../../domain/vault/vault.ts'
import type { Db } from '../../store/database.ts'
import { openEndpoint, type TeamEndpoint, teamEndpoints } from '../../store/models/providers.ts'
import { modelRules } from '../../store/models/rules.ts'
import { holderOf, openSecret, secretsOf } from '../../store/secrets/run-secrets.ts'
import type { CredentialHolder } from './credential.ts'
import { NoRoute, type Route } from './gateway.ts'
import type { ProviderTarget } from './providers.ts'

/** 5 s: a change holds this soon, and an agent's burst of calls asks the database once. */
const FRESH_MS = 5_000
const LARGEST = 1_000

export interface Routing {
  route: Route
  rules(team: string): Promise<ModelRules>
}

/** `servers`: of the settings, or a scripted model in its place; `baseUrls`: where a provider itself is. */
export function createRouting(options: {
  db: Db
  vault: Vault
  servers: Readonly<Record<ProviderName, ProviderTarget>>
  baseUrls: Readonly<Record<ProviderName, string>>
  models: readonly CatalogueModel[]
  now?: () => number
}): Routing {
  const { db, vault, servers, baseUrls, models, now = Date.now } = options
  const endpoints = remembered(now, (team: string) => teamEndpoints(db, team))
  const rules = remembered(now, (team: string) => modelRules(db, team))
  const keys = remembered(now, (place: string) => {
    const [runId = '', ...name] = place.split(' ')
    return keyOf(db, vault, runId, name.join(' '))
  })

  async function targetOf(
    holder: CredentialHolder,
    provider: ProviderName,
    model: string | null,
  ): Promise<ProviderTarget> {
    const secret = holder.keys?.[provider]
    if (secret !== undefined) {
      const key = await keys(`${holder.runId} ${secret}`)
      if (key === null)
        throw new NoRoute(`The secret ${secret}, which is to be the key of this run's provider, is not there any more.`)
      return { baseUrl: baseUrls[provider], apiKey: key.value, endpoint: key.uid }
    }
    const endpoint = endpointFor(await endpoints(holder.team), provider, model)
    if (endpoint === null) return servers[provider]
    return { baseUrl: endpoint.baseUrl, endpoint: endpoint.uid, isOutside: true, ...openEndpoint(vault, endpoint) }
  }

  return {
    async route(holder, provider, model) {
      const target = await targetOf(holder, provider, model)
      const isPriced = model !== null && (findModel(models, model)?.prices ?? null) !== null
      return { target, priced: target.isDemo === true || isPriced }
    },
    rules,
  }
}

/** The one that names the model most exactly. A call that names none goes where all models of its format do. */
export function endpointFor<T extends Pick<TeamEndpoint, 'format' | 'models'>>(
  endpoints: readonly T[],
  format: ProviderName,
  model: string | null,
): T | null {
  const fitting = endpoints.flatMap((endpoint) =>
    endpoint.models
      .filter((pattern) => endpoint.format === format && (model === null ? pattern === '*' : matches(pattern, model)))
      .map((pattern) => ({ endpoint, exactness: pattern.includes('*') ? pattern.length : Number.POSITIVE_INFINITY })),
  )
  const [best] = fitting.sort((one, other) => (other.exactness > one.exactness ? 1 : -1))
  return best?.endpoint ?? null
}

async function keyOf(
  db: Db,
  vault: Vault,
  runId: string,
  name: string,
): Promise<{ uid: string; value: string } | null> {
  const run = await holderOf(db, runId)
  const [secret] = run === null ? [] : await secretsOf(db, { ...run.holder, namedByOthers: false }, [name])
  return secret === undefined ? null : { uid: secret.uid, value: openSecret(vault, secret).value.trim() }
}

function remembered<T>(now: () => number, ask: (key: string) => Promise<T>): (key: string) => Promise<T> {
  const known = new Map<string, { value: Promise<T>; at: number }>()
  return (key) => {
    const entry = known.get(key)
    if (entry && now() - entry.at < FRESH_MS) return entry.value
    const value = ask(key)
    setLatest(known, key, { value, at: now() }, LARGEST)
    // Whoever asks next, asks anew.
    value.catch(() => known.delete(key))
    return value
  }
}
