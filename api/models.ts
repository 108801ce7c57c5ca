// The models that runs may name, and which of them this server can have answer.
import { Router } from 'express'
import type { Config } from '../config.ts'
import { agentNames, type ProviderName } from '../domain/harness.ts'
import { type CatalogueModel, defaultModels, type ModelItem, type ModelList } from '../domain/models/models.ts'
import { isAllowed, ModelRules } from '../domain/models/rules.ts'
import { agentProviders, resolveHarness } from '../runs/harness.ts'
import { loadCatalogue } from '../secrets/gateway/catalogue.ts'
import { providerTargets } from '../secrets/gateway/targets.ts'
import { note } from '../store/audit.ts'
import { formatsOfTeam } from '../store/models/providers.ts'
import { modelRules, setModelRules } from '../store/models/rules.ts'
import { callerOf, permit } from './access/caller.ts'
import type { ApiDeps } from './deps.ts'
import { onlyMethods, parseBody } from './parse.ts'

const ozProviders = { anthropic: 'ANTHROPIC', openai: 'OPENAI', gemini: 'GOOGLE' } as const satisfies Record<
  ProviderName,
  ModelItem['provider']
>

export function modelRoutes({ config, db }: Pick<ApiDeps, 'config' | 'db'>): Router {
  const models = loadCatalogue(config)
  const router = Router()
  router
    .route('/models')
    .get(permit('catalogue.view'), async (_request, response) => {
      const { team } = callerOf(response)
      const [rules, own] = await Promise.all([modelRules(db, team), formatsOfTeam(db, team)])
      response.json(modelList(config, models, { rules, own }))
    })
    .all(onlyMethods('GET'))

  router
    .route('/models/rules')
    .get(permit('catalogue.view'), async (_request, response) => {
      response.json(await modelRules(db, callerOf(response).team))
    })
    .put(permit('models.manage'), async (request, response) => {
      const caller = callerOf(response)
      const rules = parseBody(ModelRules, request)
      await db.transaction().execute(async (tx) => {
        await setModelRules(tx, caller.team, rules)
        await note(tx, {
          caller,
          action: 'models.set_rules',
          thing: { type: 'team', uid: caller.team },
          detail: { allow: rules.allow, deny: rules.deny },
        })
      })
      response.json(rules)
    })
    .all(onlyMethods('GET', 'PUT'))
  return router
}

/** `own`: the formats that the team has endpoints for. */
export function modelList(
  settings: Config,
  models: readonly CatalogueModel[],
  { rules, own }: { rules: ModelRules; own: readonly ProviderName[] },
): ModelList {
  const targets = providerTargets(settings)
  const isOff = (id: string, provider: ProviderName | null) =>
    !isAllowed(rules, id) || (provider !== null && targets[provider] === null && !own.includes(provider))
  const { agent: defaultAgent, model } = resolveHarness(settings, null)
  const defaultModel = model ?? defaultModels[defaultAgent]
  const known = models.map(
    (entry): ModelItem => ({
      id: entry.id,
      display_name: entry.name,
      provider: ozProviders[entry.provider],
      vision_supported: entry.vision,
      ...(entry.description !== null && { description: entry.description }),
      reasoning_levels: [...entry.reasoning],
      harnesses: agentNames.filter((agent) => agentProviders[agent] === entry.provider),
      default_of: agentNames.filter(
        (agent) => entry.id === (agent === defaultAgent ? defaultModel : defaultModels[agent]),
      ),
      prices: entry.prices,
      ...(isOff(entry.id, entry.provider) && { disable_reason: 'ADMIN_DISABLED' as const }),
    }),
  )
  const others = named(settings, known).map((entry) => ({
    ...entry,
    ...(isOff(entry.id, null) && { disable_reason: 'ADMIN_DISABLED' as const }),
  }))
  return { default_model_id: defaultModel ?? '', models: [...others, ...known] }
}

/** The model of the settings, where it is none of those that are known. */
function named({ AMBIENT_MODEL: id }: Config, known: readonly ModelItem[]): ModelItem[] {
  if (id === undefined || known.some((entry) => entry.id === id)) return []
  return [
    {
      id,
      display_name: id,
      provider: 'UNKNOWN',
      vision_supported: false,
      reasoning_levels: [],
      prices: null,
      harnesses: agentNames.filter((agent) => agentProviders[agent] !== null),
      default_of: [],
    },
  ]
}
