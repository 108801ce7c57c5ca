// Schedules: runs that begin by themselves, at the times of a cron expression. Field names are Oz's where Oz has the field.
import { z } from 'zod'
import { Ownership, Profile } from './account.ts'
import { SavedPromptUse } from './configuration/configuration.ts'
import { canonicalTimeZone, cronTrouble } from './cron.ts'
import { EnvironmentSummary } from './environment.ts'
import { Spent } from './money/money.ts'
import { cursor, PageInfo, pageLimit } from './page.ts'
import { AgentConfig, Metadata, RunMode, StartRun } from './run.ts'
import { runStates } from './state.ts'

/** What happens at a time when an earlier run of the schedule is still going on. */
export const overlapPolicies = ['skip', 'buffer_one', 'buffer_all', 'cancel_other', 'allow_all'] as const
export type OverlapPolicy = (typeof overlapPolicies)[number]

/** As long as Temporal keeps a time at the least, and a year. In seconds. */
const CATCH_UP = { least: 10, most: 31_536_000, default: 3_600 }
const JITTER_MOST = 3_600
/** Most times that one backfill may name: Temporal keeps no more in line. */
export const BACKFILL_SLOTS = 500
export const UPCOMING_MOST = 100
export const UPCOMING_LIMIT = 10
/** Slots of a page, where the query does not say. */
export const SLOTS_LIMIT = 20

export const ScheduleId = z.string().regex(/^[A-Za-z0-9]{22}$/, 'must be 22 letters and digits')

const CronExpression = z
  .string()
  .min(1)
  .max(200)
  .superRefine((text, context) => {
    const trouble = cronTrouble(text)
    if (trouble !== null) context.addIssue({ code: 'custom', message: trouble })
  })
  .describe('Five fields: minute, hour, day of the month, month, day of the week; in `time_zone`.')

const TimeZone = z
  .string()
  .min(1)
  .max(100)
  .refine((name) => canonicalTimeZone(name) !== null, { error: 'must be a time zone, such as UTC or Europe/Berlin' })

/** What a schedule is, but for whether it is enabled and whose it is. */
const fields = {
  name: z
    .string()
    .max(500)
    .refine((name) => name.trim() !== '' && !name.includes('\0'), { error: 'must not be empty' }),
  cron_schedule: CronExpression,
  prompt: StartRun.shape.prompt.describe('The task of each run.'),
  saved_prompt: StartRun.shape.saved_prompt,
  mode: StartRun.shape.mode,
  agent_uid: z.string().min(1).max(100).nullish().describe('The service account that the runs are made by.'),
  agent_config: AgentConfig.nullish(),
  metadata: Metadata.nullish(),
  time_zone: TimeZone.default('UTC').describe('That `cron_schedule` is in, with its daylight saving time.'),
  overlap_policy: z
    .enum(overlapPolicies)
    .default('skip')
    .describe(
      'What happens at a time when an earlier run of the schedule is still going on: nothing (`skip`); one run, or all of them, after its end (`buffer_one`, `buffer_all`); it is cancelled, and the next one begins (`cancel_other`); both go on side by side (`allow_all`).',
    ),
  catchup_window_seconds: z
    .number()
    .int()
    .min(CATCH_UP.least)
    .max(CATCH_UP.most)
    .default(CATCH_UP.default)
    .describe('A time that passed while Temporal was away is made up for when it is no longer ago than this.'),
  jitter_seconds: z
    .number()
    .int()
    .min(0)
    .max(JITTER_MOST)
    .default(0)
    .describe('Each run begins up to so much later than its time, at random.'),
  pause_after_failures: z
    .number()
    .int()
    .min(0)
    .max(1_000)
    .nullish()
    .describe('The schedule is paused after so many failures in a row. 0: never. Absent: as the server has it.'),
}

/** Body of `POST /agent/schedules`. */
export const CreateSchedule = z
  .object({
    ...fields,
    enabled: z.boolean().default(true),
    team: z.boolean().nullish().describe('False: the schedule, and its runs, are personal.'),
  })
  .meta({ id: 'CreateSchedule' })
export type CreateSchedule = z.infer<typeof CreateSchedule>

/** Body of `PUT /agent/schedules/{id}`, which replaces everything: what it leaves out is as at a creation. */
export const UpdateSchedule = z.object({ ...fields, enabled: z.boolean() }).meta({ id: 'UpdateSchedule' })
export type UpdateSchedule = z.infer<typeof UpdateSchedule>

/** Body of `POST …/backfill`. */
export const Backfill = z
  .object({
    from: z.iso.datetime({ offset: true }),
    to: z.iso.datetime({ offset: true }).describe('With this moment itself. Not in the future.'),
    overlap_policy: z
      .enum(overlapPolicies)
      .default('buffer_all')
      .describe('How the runs follow one another. Absent: each after the end of the one before.'),
  })
  .meta({ id: 'Backfill' })
export type Backfill = z.infer<typeof Backfill>

export const BackfillResponse = z
  .object({
    scheduled_times: z.array(z.iso.datetime()).describe('Those that had started no run, and will.'),
    already_started: z.array(z.iso.datetime()).describe('Those that have a run, and get no second one.'),
  })
  .meta({ id: 'BackfillResponse' })
export type BackfillResponse = z.infer<typeof BackfillResponse>

/** Answer of `POST …/run`. */
export const RunNowResponse = z
  .object({
    run_id: z.uuid(),
    task_id: z.uuid(),
    state: z.enum(runStates),
    at_capacity: z.boolean(),
    scheduled_time: z.iso.datetime(),
  })
  .meta({ id: 'RunNowResponse' })
export type RunNowResponse = z.infer<typeof RunNowResponse>

/** Query of `GET …/upcoming`. */
export const UpcomingQuery = z.object({
  limit: z.number().int().min(1).max(UPCOMING_MOST).optional().describe(`${UPCOMING_LIMIT} unless given.`),
})

export const UpcomingResponse = z
  .object({
    enabled: z.boolean().describe('False: nothing begins at these times, unless the schedule is resumed.'),
    time_zone: z.string(),
    times: z.array(z.iso.datetime()),
  })
  .meta({ id: 'UpcomingResponse' })
export type UpcomingResponse = z.infer<typeof UpcomingResponse>

/** Why there is a slot: its time came, somebody asked for a run now, or for one that was missed. */
export const slotKinds = ['scheduled', 'manual', 'backfill'] as const
export type SlotKind = (typeof slotKinds)[number]

/** What became of it. `due`: its run is being made. `skipped`: on purpose. `missed`: nobody was there. `failed`: no run could be started. */
export const slotOutcomes = ['due', 'started', 'skipped', 'missed', 'failed'] as const
export type SlotOutcome = (typeof slotOutcomes)[number]

/** One time of a schedule, and what became of it. */
export const ScheduleSlot = z
  .object({
    scheduled_time: z.iso.datetime(),
    kind: z.enum(slotKinds),
    outcome: z.enum(slotOutcomes),
    reason: z.string().nullable().describe('Why nothing was started.'),
    run: z
      .object({
        run_id: z.uuid(),
        title: z.string(),
        state: z.enum(runStates),
        created_at: z.iso.datetime(),
        finished_at: z.iso.datetime().nullable(),
      })
      .nullable(),
  })
  .meta({ id: 'ScheduleSlot' })
export type ScheduleSlot = z.infer<typeof ScheduleSlot>

/** Query of `GET …/runs`. */
export const ScheduleRunsQuery = z.object({ limit: pageLimit(SLOTS_LIMIT), cursor })

export const ScheduleRuns = z
  .object({
    slots: z.array(ScheduleSlot).describe('The latest first.'),
    page_info: PageInfo,
  })
  .meta({ id: 'ScheduleRuns' })

/** A schedule as it is served: Oz's fields, and our own beside them. */
export const ScheduleItem = z
  .object({
    id: z.string(),
    name: z.string(),
    cron_schedule: z.string(),
    enabled: z.boolean(),
    prompt: z.string().describe('Empty where `saved_prompt` is the task.'),
    saved_prompt: SavedPromptUse.nullable(),
    mode: RunMode,
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
    agent_config: z.record(z.string(), z.unknown()).nullable(),
    agent_uid: z.string().nullable(),
    metadata: z.record(z.string(), z.string()),
    environment: EnvironmentSummary.nullable().describe('The stored environment of `agent_config.environment_id`.'),
    created_by: Profile,
    updated_by: Profile,
    scope: Ownership,
    history: z.object({
      last_ran: z.iso.datetime().nullable().describe('When a run was started last.'),
      next_run: z.iso.datetime().nullable().describe('Null while the schedule is paused.'),
    }),
    last_spawn_error: z.string().nullable().describe('Why the last time started no run; null once one has.'),
    time_zone: z.string(),
    overlap_policy: z.enum(overlapPolicies),
    catchup_window_seconds: z.number().int(),
    jitter_seconds: z.number().int(),
    pause_after_failures: z.number().int().nullable(),
    failures_in_a_row: z.number().int(),
    spent: Spent.describe('By all its runs, and the runs that they began.'),
    paused_reason: z.string().nullable().describe('Why it was paused, where nobody has done so.'),
    warnings: z.array(z.string()).optional().describe('Fields of the request that are not known and had no effect.'),
  })
  .meta({ id: 'ScheduledAgentItem' })
export type ScheduleItem = z.infer<typeof ScheduleItem>

/** Answer of `DELETE`. */
export const ScheduleDeleted = z.object({ success: z.boolean() }).meta({ id: 'ScheduleDeleted' })

export const ScheduleList = z
  .object({ schedules: z.array(ScheduleItem).describe('By name.') })
  .meta({ id: 'ScheduleList' })
