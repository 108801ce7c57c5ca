// The models that runs may name, and which of them this server can have answer.
import { Router } from 'express'
import type { Config } from '../config.ts'
import { agentNames, type ProviderName } from '../domain/harness.ts'
import { defaultModels, knownModels, type ModelItem, type ModelList } from '../domain/models.ts'
import { agentProviders, resolveHarness } from '../runs/harness.ts'
import { providerTargets } from '../secrets/targets.ts'
import { permit } from './access/caller.ts'
import type { ApiDeps } from './deps.ts'
import { onlyMethods } from './parse.ts'

const ozProviders = { anthropic: 'ANTHROPIC', openai: 'OPENAI', gemini: 'GOOGLE' } as const satisfies Record<
  ProviderName,
  ModelItem['provider']
>

export function modelRoutes({ config }: Pick<ApiDeps, 'config'>): Router {
  const router = Router()
  router
    .route('/models')
    .get(permit('catalogue.view'), (_request, response) => {
      response.json(modelList(config))
    })
    .all(onlyMethods('GET'))
  return router
}

export function modelList(settings: Config): ModelList {
  const targets = providerTargets(settings)
  const { agent: defaultAgent, model } = resolveHarness(settings, null)
  const defaultModel = model ?? defaultModels[defaultAgent]
  const known = knownModels.map(
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
      ...(targets[entry.provider] === null && { disable_reason: 'ADMIN_DISABLED' as const }),
    }),
  )
  return { default_model_id: defaultModel ?? '', models: [...named(settings, known), ...known] }
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
      harnesses: agentNames.filter((agent) => agentProviders[agent] !== null),
      default_of: [],
    },
  ]
}
