// A stored environment: where runs of a team work, under a name; and its builds, each a prepared start on one host.
import { z } from 'zod'
import { Ownership, Profile } from './account.ts'
import { cursor, PageInfo, pageLimit } from './page.ts'
import { AgentConfig, Failure, InlineEnvironment } from './run.ts'
import { runStates } from './state.ts'
import { HostName } from './worker.ts'

const text = (max: number) => z.string().max(max)

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

/** Body of `POST …/environments/{uid}/builds`. */
export const StartBuild = z
  .object({
    reason: z.enum(['manual', 'push']).default('manual'),
    force: z.boolean().default(false).describe('Build anew even where the same has been built.'),
    worker_id: HostName.nullish().describe('The only host that builds. Absent: every one that runs may come to.'),
  })
  .meta({ id: 'StartBuild' })
export type StartBuild = z.infer<typeof StartBuild>

/** A build as it is served. */
export const BuildItem = z
  .object({
    build_id: z.uuid(),
    environment_id: z.string(),
    worker_id: z.string().describe('The host that builds it, and on which runs start from it.'),
    reason: z.enum(buildReasons),
    force: z.boolean(),
    state: z.enum(buildStates),
    created_at: z.iso.datetime(),
    started_at: z.iso.datetime().nullable(),
    finished_at: z.iso.datetime().nullable(),
    used_at: z.iso.datetime().nullable().describe('When a run last started from it.'),
    result: BuildResult.nullable(),
    failure: Failure.nullable(),
  })
  .meta({ id: 'EnvironmentBuild' })
export type BuildItem = z.infer<typeof BuildItem>

/** A line that the set-up of a build has written, or that says what it is at. */
export const BuildLogLine = z
  .object({
    position: z.number().int().describe('Grows from line to line, with holes.'),
    time: z.iso.datetime(),
    source: z.string().describe('What wrote it.'),
    line: z.number().int().describe('Counts from 1 within its source.'),
    text: z.string(),
  })
  .meta({ id: 'BuildLogLine' })
export type BuildLogLine = z.infer<typeof BuildLogLine>

/** A stored environment in short: the part of Oz's CloudEnvironmentConfig that is served. */
export const EnvironmentSummary = z
  .object({
    name: z.string(),
    description: z.string(),
    docker_image: z.string(),
    github_repos: z.array(z.object({ owner: z.string(), repo: z.string() })),
    setup_commands: z.array(z.string()),
  })
  .meta({ id: 'CloudEnvironmentConfig' })
export type EnvironmentSummary = z.infer<typeof EnvironmentSummary>

/** A stored environment as it is served: Oz's fields, and our own beside them. */
export const EnvironmentItem = z
  .object({
    uid: z.string(),
    config: z.looseObject({
      name: z.string(),
      description: z.string(),
      docker_image: z.string().describe('The same as `image`; empty where there is none.'),
      github_repos: z.array(z.object({ owner: z.string(), repo: z.string() })).describe('Those of `repos` on GitHub.'),
      setup_commands: z.array(z.string()),
    }),
    created_at: z.iso.datetime(),
    last_updated: z.iso.datetime(),
    setup_failed: z.boolean().describe('On one host at least, the newest finished build failed.'),
    // These two as Oz has them: left out where there is none.
    last_task_run_timestamp: z.iso.datetime().optional(),
    last_task_created: z
      .object({
        id: z.uuid(),
        title: z.string(),
        state: z.enum(runStates),
        created_at: z.iso.datetime(),
        updated_at: z.iso.datetime(),
        started_at: z.iso.datetime().optional(),
      })
      .optional(),
    team: z.string(),
    scope: Ownership,
    creator: Profile,
    last_editor: Profile,
    runs_at_work: z.number().int().describe('What `run_limit` counts.'),
    builds: z.array(BuildItem).describe('The newest one of each host.'),
    warnings: z.array(z.string()).optional().describe('Fields of the request that are not known and had no effect.'),
  })
  .meta({ id: 'Environment' })
export type EnvironmentItem = z.infer<typeof EnvironmentItem>

/** `GET /agent/environments` */
export const EnvironmentQuery = z.object({
  sort_by: z
    .enum(['last_updated', 'name'])
    .default('last_updated')
    .describe('`last_updated`: what changed last comes first.'),
})
export const EnvironmentList = z.object({ environments: z.array(EnvironmentItem) })

/** `GET /agent/environments/{uid}/builds` */
export const BuildQuery = z.object({
  limit: pageLimit(50),
  cursor,
  worker_id: z.string().optional().describe('Only those of this host.'),
})
export const BuildPage = z.object({ builds: z.array(BuildItem), page_info: PageInfo })

export const StartedBuilds = z.object({
  builds: z.array(BuildItem).describe('One for each host: begun, or going on already.'),
  warnings: EnvironmentItem.shape.warnings,
})

/** `GET …/builds/{buildId}/log` */
export const BuildLogQuery = z.object({
  after: z.number().int().min(0).default(0).describe('`next_cursor` of the page before.'),
  limit: pageLimit(500, 1_000),
})
export const BuildLogPage = z.object({
  lines: z.array(BuildLogLine),
  page_info: z.object({
    has_next_page: z.boolean(),
    next_cursor: z.string(),
    state: z.enum(buildStates),
    is_over: z.boolean(),
  }),
})
