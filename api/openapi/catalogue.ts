import { ModelList } from '../../domain/models/models.ts'
import { ModelProviderConfig, ModelProviderItem, ModelProviders } from '../../domain/models/provider.ts'
import { ModelRules } from '../../domain/models/rules.ts'
import { Statistics, StatisticsQuery } from '../../domain/statistics.ts'
import { json, nothing, type Section } from './declaration.ts'
import { createdAt } from './examples.ts'

const figures = {
  runs: 1204,
  going_on: 3,
  succeeded: 1010,
  failed: 120,
  errors: 21,
  cancelled: 50,
  success_rate: 0.8775,
  run_time_seconds: { p50: 182, p95: 1240 },
  queue_wait_seconds: { p50: 0.06, p95: 41.2 },
  failure_reasons: [{ code: 'setup_command_failed', phase: 'setup', runs: 64 }],
  total_tokens: 4_200_000,
  cost_usd: 11.35,
}

const rules = { allow: ['claude-*', 'gpt-6*'], deny: ['gpt-6-astra'] }

const providerBody = {
  name: 'In-house',
  format: 'openai',
  base_url: 'https://models.example.com/v1',
  models: ['llama-*'],
  api_key: 'sk-example',
}

const provider = {
  uid: 'Pr5vQ8mTn1bXw5rLc7Hy2d',
  name: 'In-house',
  format: 'openai',
  base_url: 'https://models.example.com/v1',
  models: ['llama-*'],
  has_api_key: true,
  header_names: [],
  created_by: { type: 'operator', uid: 'operator' },
  created_at: createdAt,
  updated_at: createdAt,
}

export const catalogue: Section = {
  name: 'Models and statistics',
  description: 'What agents may think with, and what the runs of a team came to.',
  routes: [
    {
      method: 'get',
      path: '/agent/models',
      id: 'listModels',
      summary: 'List the models that are known by name',
      description: 'Any other may be named just as well: `config.model_id` is passed on to the agent as it is.',
      answers: {
        200: json(ModelList, {
          default_model_id: 'gpt-6.1-sol',
          models: [
            {
              id: 'gpt-6.1-sol',
              display_name: 'GPT-6.1-Sol',
              provider: 'OPENAI',
              vision_supported: true,
              description: 'Latest workhorse model for coding and everyday work.',
              reasoning_levels: ['low', 'medium', 'high'],
              harnesses: ['codex', 'opencode', 'qwen'],
              default_of: ['codex', 'opencode', 'qwen'],
              prices: { input: 2, cache_read: 0.1, cache_write: 2.5, output: 10 },
            },
          ],
        }),
      },
    },
    {
      method: 'get',
      path: '/agent/models/rules',
      id: 'getModelRules',
      summary: 'Which models the team may call',
      answers: { 200: json(ModelRules, rules) },
    },
    {
      method: 'put',
      path: '/agent/models/rules',
      id: 'setModelRules',
      summary: 'Say which models the team may call',
      description:
        'Held by the gateway for each call, within seconds for runs that are going on, and when a run names its model. A `*` stands for any characters.',
      body: { schema: ModelRules, example: rules },
      answers: { 200: json(ModelRules, rules) },
    },
    {
      method: 'get',
      path: '/agent/providers',
      id: 'listModelProviders',
      summary: 'List the team’s own model endpoints',
      answers: { 200: json(ModelProviders, { providers: [provider] }) },
    },
    {
      method: 'post',
      path: '/agent/providers',
      id: 'createModelProvider',
      summary: 'Add a model endpoint of the team’s own',
      description:
        'The calls of its models go there in the place of the server’s provider, and cost the team no credits. Private addresses are refused by the gateway unless AMBIENT_PROVIDER_ALLOW has them.',
      idempotent: true,
      body: { schema: ModelProviderConfig, example: providerBody },
      answers: { 201: json(ModelProviderItem, provider) },
      errors: { 409: 'The team has one of that name, or too many.' },
    },
    {
      method: 'get',
      path: '/agent/providers/{uid}',
      id: 'getModelProvider',
      summary: 'Show a model endpoint',
      answers: { 200: json(ModelProviderItem, provider) },
    },
    {
      method: 'put',
      path: '/agent/providers/{uid}',
      id: 'replaceModelProvider',
      summary: 'Change a model endpoint',
      description: 'Everything is replaced but key and headers, which stay where the body does not name them.',
      body: { schema: ModelProviderConfig, example: providerBody },
      answers: { 200: json(ModelProviderItem, provider) },
      errors: { 409: 'The team has another one of that name.' },
    },
    {
      method: 'delete',
      path: '/agent/providers/{uid}',
      id: 'deleteModelProvider',
      summary: 'Remove a model endpoint',
      description: 'From then on its models are called where others of their format are.',
      answers: { 204: nothing('It is removed.') },
    },
    {
      method: 'get',
      path: '/agent/statistics',
      id: 'getStatistics',
      summary: 'What the runs of the team came to',
      description: 'Of all runs that were created in the time that is asked for, the personal ones with them.',
      query: StatisticsQuery,
      answers: {
        200: json(Statistics, {
          as_of: createdAt,
          team_uid: 'default',
          start_date: createdAt,
          end_date: createdAt,
          time_zone: 'UTC',
          total: figures,
          groups: [{ key: 'API', ...figures }],
        }),
      },
    },
  ],
}
