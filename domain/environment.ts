// A stored environment: where runs of a team work, under a name; and its builds, each a prepared start on one host.
import { z } from 'zod'
import { AgentConfig, InlineEnvironment } from './run.ts'

const text = (max: number) => z.string().max(max)

/** What a run may name in `config.environment_id`. 22 letters and digits. */
export const EnvironmentId = z.string().regex(/^[A-Za-z0-9]{22}$/, 'must be 22 letters and digits')

/** Body of `POST /agent/environments`, and of `PUT`, which replaces everything. */
export const EnvironmentConfig = InlineEnvironment.extend({
  name: text(200).min(1),
  description: text(10_000).nullish(),
  prepare: z
    .boolean()
    .default(true)
    .describe('Build it ahead, so that runs start from the finished set-up. False: every run sets itself up.'),
  wait_for_build: z
    .boolean()
    .default(false)
    .describe('A run that finds nothing built waits for the build. Otherwise it starts cold and says so.'),
  rebuild_hours: z
    .number()
    .min(0)
    .max(8_760)
    .default(24)
    .describe('Build again when the last build is older than this and was used since, in hours. 0: never by age.'),
  run_limit: z
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .nullish()
    .describe('Runs of this environment that are at work at once; further ones wait in line.'),
  ...AgentConfig.pick({
    max_turn_minutes: true,
    max_run_minutes: true,
    max_transcript_mb: true,
    max_disk_gb: true,
    idle_timeout_minutes: true,
  }).shape,
}).meta({ id: 'EnvironmentConfig' })

export type EnvironmentConfig = z.infer<typeof EnvironmentConfig>

/** `QUEUED`: its host has not begun. The last three are final. */
export const buildStates = ['QUEUED', 'BUILDING', 'READY', 'FAILED', 'CANCELLED'] as const
export type BuildState = (typeof buildStates)[number]

/** Why it was asked for: by a person, because the environment is new or changed, is too old, was not there for a run, or its inputs have changed. */
export const buildReasons = ['manual', 'changed', 'age', 'missing', 'push'] as const
export type BuildReason = (typeof buildReasons)[number]

/** What a finished build is. */
export const BuildResult = z.object({
  /** Stands for all that went into it: image, commits, set-up commands and their inputs. */
  key: z.string().regex(/^[0-9a-f]{64}$/),
  /** The same had been built on this host already. */
  reused: z.boolean(),
  /** Bytes of the host's disk. */
  bytes: z.number().int().min(0),
  /** Digest of the image; null on hosts without containers. */
  image: z.string().nullable(),
  /** The commit of each repository, by its path. */
  commits: z.record(z.string(), z.string()),
})
export type BuildResult = z.infer<typeof BuildResult>
