// The configuration of a run as it was resolved when the run was made: which of the things kept for it, and what came from where.
import { z } from 'zod'
import { Uid } from '../account.ts'

/**
 * Where a value can come from, the strongest first. `team`: the default of the
 * team, its profile or its service account. `server`: the settings.
 */
export const sourceTypes = [
  'request',
  'schedule',
  'forked_run',
  'parent_run',
  'profile',
  'service_account',
  'environment',
  'team',
  'server',
] as const
export type SourceType = (typeof sourceTypes)[number]

export const ValueSource = z
  .object({
    type: z.enum(sourceTypes),
    uid: z.string().optional().describe('Of the profile, service account, environment, schedule or run.'),
    name: z.string().optional().describe('As it was then.'),
    version: z.number().int().optional().describe('Of the profile.'),
  })
  .meta({ id: 'ValueSource' })
export type ValueSource = z.infer<typeof ValueSource>

/** A stored thing at the version that a run used. */
export const UsedItem = z.object({ uid: Uid, name: z.string(), version: z.number().int() })
export type UsedItem = z.infer<typeof UsedItem>

/** What is kept beside `agent_config`, which has the values. Whoever resolves a further field adds what it used. */
export const RunConfiguration = z
  .object({
    sources: z
      .record(z.string(), ValueSource)
      .describe('For each field of `agent_config`, where its value comes from. Absent: from the server.'),
    profile: UsedItem.nullable(),
    saved_prompt: UsedItem.extend({ arguments: z.record(z.string(), z.string()) }).nullable(),
    rules: z.array(UsedItem).describe('Those that its agents are given, in their order.'),
  })
  .meta({ id: 'RunConfiguration' })
export type RunConfiguration = z.infer<typeof RunConfiguration>

/** How a request names a saved prompt. */
export const SavedPromptUse = z
  .object({
    uid: Uid.optional(),
    name: z.string().min(1).max(200).optional(),
    version: z.number().int().min(1).optional().describe('Absent: the newest.'),
    arguments: z
      .record(z.string().min(1).max(100), z.string())
      .default({})
      .describe('By their names. Values are put in as they are: a placeholder in one stays what it is.'),
  })
  .refine(({ uid, name }) => (uid === undefined) !== (name === undefined), {
    error: 'must have either a uid or a name',
  })
  .meta({ id: 'SavedPromptUse' })
export type SavedPromptUse = z.infer<typeof SavedPromptUse>
