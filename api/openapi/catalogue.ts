import { ModelList } from '../../domain/models.ts'
import { Statistics, StatisticsQuery } from '../../domain/statistics.ts'
import { json, type Section } from './declaration.ts'
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
  total_tokens: null,
  cost_usd: null,
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
            },
          ],
        }),
      },
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
