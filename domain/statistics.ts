// What the runs of a team came to: for dashboards.
import { z } from 'zod'

export const statisticsGroups = [
  'source',
  'agent',
  'model',
  'creator',
  'executor',
  'environment',
  'state',
  'failure',
] as const
export type StatisticsGroup = (typeof statisticsGroups)[number]

export const statisticsPeriods = ['day', 'week', 'month'] as const
export type StatisticsPeriod = (typeof statisticsPeriods)[number]

/** More periods than this are refused. */
export const STATISTICS_BUCKETS = 365
const DEFAULT_GROUPS = 50
const GROUPS = 500

const time = z.union([z.iso.datetime({ offset: true }), z.iso.date()])

/** `GET /agent/statistics` */
export const StatisticsQuery = z
  .object({
    start_date: time
      .optional()
      .describe('Runs that were created from here on: a time, or a day in `time_zone`. Absent: 30 days back.'),
    end_date: time.optional().describe('And before this. Absent: now.'),
    time_zone: z.string().optional().describe('Where days begin, such as `Europe/Berlin`. Absent: UTC.'),
    group_by: z
      .enum(statisticsGroups)
      .optional()
      .describe('`creator` is whom a run was started for, `executor` who started it.'),
    group_by_period: z
      .enum(statisticsPeriods)
      .optional()
      .describe(`At most ${STATISTICS_BUCKETS} of them. Weeks begin on Sunday.`),
    limit: z
      .number()
      .int()
      .min(1)
      .max(GROUPS)
      .default(DEFAULT_GROUPS)
      .describe('The groups with most runs; the others are added up in `rest`.'),
    source: z.string().optional().describe('Only runs from here, such as `API`.'),
    agent: z.string().optional().describe('Only runs of this harness.'),
    model_id: z.string().optional().describe('Only runs with this model.'),
    creator: z.string().optional().describe('Only runs that were started for them: a uid.'),
    environment_id: z.string().optional().describe('Only runs in this stored environment.'),
  })
  .meta({ id: 'StatisticsQuery' })
export type StatisticsQuery = z.infer<typeof StatisticsQuery>

const Spread = z
  .object({ p50: z.number(), p95: z.number() })
  .nullable()
  .describe('Within 2 %. Null where there is nothing to measure.')

export const RunFigures = z
  .object({
    runs: z.number().int().describe('That were created in this time.'),
    going_on: z.number().int(),
    succeeded: z.number().int(),
    failed: z.number().int().describe('For a reason on the side of whoever asked for them.'),
    errors: z.number().int().describe('For a reason on the side of the platform.'),
    cancelled: z.number().int(),
    success_rate: z
      .number()
      .nullable()
      .describe('Of those that succeeded, failed or ended with an error. Null where there are none.'),
    run_time_seconds: Spread.describe('How long they worked, over all executions.'),
    queue_wait_seconds: Spread.describe('How long they waited before a host could take them, over all executions.'),
    failure_reasons: z
      .array(z.object({ code: z.string(), phase: z.string(), runs: z.number().int() }))
      .describe('The most frequent first.'),
    total_tokens: z.number().int().describe('Of models, whatever they cost.'),
    cost_usd: z.number().describe('Of models and compute. Models without a price cost nothing here.'),
  })
  .meta({ id: 'RunFigures' })
export type RunFigures = z.infer<typeof RunFigures>

export const RunFiguresOfGroup = RunFigures.extend({
  key: z.string().nullable().describe('What its runs have in common; null: that they have none of it.'),
  name: z.string().optional().describe('Of a creator, executor or environment, as people know it.'),
}).meta({ id: 'RunFiguresOfGroup' })

const grouped = {
  groups: z.array(RunFiguresOfGroup).optional().describe('With `group_by`: the one with most runs first.'),
  rest: RunFigures.optional().describe('Of all groups beyond `limit`, where there are any.'),
}

export const Statistics = z
  .object({
    as_of: z.iso.datetime(),
    team_uid: z.string(),
    start_date: z.iso.datetime(),
    end_date: z.iso.datetime(),
    time_zone: z.string(),
    total: RunFigures,
    ...grouped,
    periods: z
      .array(
        z.object({
          start: z.iso.datetime(),
          end: z.iso.datetime(),
          total: RunFigures,
          ...grouped,
        }),
      )
      .optional()
      .describe('With `group_by_period`: all between the two dates, in their order, also those without a run.'),
  })
  .meta({ id: 'Statistics' })
export type Statistics = z.infer<typeof Statistics>
