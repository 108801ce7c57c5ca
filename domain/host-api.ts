// What a host asks of the server. A host has no database access: it hands over the transcript and gets its orders here.
import { z } from 'zod'
import { ForkedFrom } from './checkpoint.ts'
import { PinnedSkill, SkillFile } from './configuration/skill.ts'
import { BlockedHost } from './egress.ts'
import { buildReasons } from './environment.ts'
import { NewEvent } from './event.ts'
import { AgentName, PermissionPolicy } from './harness.ts'
import { McpServerOrder } from './mcp/server.ts'
import { CommitIdentity, InlineEnvironment, Repository, RunMode } from './run.ts'
import { GivenSecret } from './vault/secret.ts'
import { EgressState, HostName } from './worker.ts'

/** All of these routes live under this prefix and need a worker key. */
export const HOST_API = '/internal/v1'

/** Every request says by these which host it comes from: its lasting id, and the secret that the machine made for itself. */
export const HOST_HEADER = 'x-ambient-host'
export const HOST_SECRET_HEADER = 'x-ambient-host-secret'

/**
 * `PUT /hosts/:hostId` → {@link HostStanding}: on start, and every 5 s. The first
 * one binds the id to the secret; nobody else can report or ask under it.
 */
export const HostReport = z.object({
  pool: HostName,
  kind: z.enum(['docker', 'direct']),
  version: z.string().max(100),
  capacity: z.number().int().min(1),
  /** Runs that it holds, with kept sandboxes. */
  in_use: z.number().int().min(0),
  egress: EgressState.nullable().default(null),
  /** How large one of its sandboxes is. Null: a host of an older version, which does not say. */
  cpus: z.number().min(0).nullable().default(null),
  memory_mb: z.number().int().min(0).nullable().default(null),
})
export type HostReport = z.infer<typeof HostReport>

/** What the server wants of a host, and what a host cannot know by itself. */
export const HostStanding = z.object({
  /** True: it takes no new run, and finishes what it holds. */
  draining: z.boolean(),
  /** Where the model gateway listens beside the server. */
  gateway_port: z.number().int(),
})
export type HostStanding = z.infer<typeof HostStanding>

/**
 * `POST /hosts/:hostId/claims`: this host carries an execution out, unless it
 * drains. Everything below `/runs` is for the host that holds the run; others
 * are refused with 403.
 */
export const ClaimRequest = z.object({ run_id: z.uuid(), execution: z.number().int().min(1) })
/** A repository that is reached through the git broker, below the gateway's address. */
export const BrokeredRepository = z.object({
  /** As the run names it, without credentials. */
  url: z.string(),
  /** Where it is over HTTP. */
  place: z.object({ scheme: z.enum(['https', 'http']), host: z.string(), path: z.string() }),
  /**
   * Where its credential comes from. The host itself goes before the settings of
   * the server, and what a URL has as its credentials it uses by itself.
   */
  by: z.enum(['url', 'stored', 'settings']),
})
export type BrokeredRepository = z.infer<typeof BrokeredRepository>

/** `GET /runs/:runId/executions/:execution`: what a host needs to carry it out. */
export const ExecutionOrder = z.object({
  run_id: z.uuid(),
  execution: z.number().int().min(1),
  agent: AgentName,
  model: z.string().nullable(),
  reasoning_level: z.string().nullable(),
  /** Only for the `command` agent. */
  command: z.array(z.string()).nullable(),
  /** Null: the host's default, `allow` in a container and `ask` on the bare machine. */
  policy: PermissionPolicy.nullable(),
  base_prompt: z.string().nullable(),
  /** What its team and its creator have every agent told; null: nothing. */
  rules: z.string().nullable().default(null),
  environment: InlineEnvironment,
  /** The stored environment, where a prepared start is wanted; null: the run sets itself up. */
  prepared: z.object({ environment_id: z.string(), wait: z.boolean() }).nullable().default(null),
  /** The host that took the newest earlier execution, when there is one: what any other still has of the run is out of date. */
  former: z
    .object({ execution: z.number().int().min(1), host_id: z.string() })
    .nullable()
    .default(null),
  /** The server has a checkpoint of the run. */
  has_checkpoint: z.boolean().default(false),
  /** The run was forked from a checkpoint of another one. */
  forked_from: ForkedFrom.nullable().default(null),
  /** It has no checkpoint of its own yet, and that one is kept. */
  begins_forked: z.boolean().default(false),
  /** Largest transcript of the run, in bytes; null where the server sets no limit. */
  transcript_bytes: z.number().int().min(0).nullable().default(null),
  /** Most of the disk that the run may take, in bytes; null: what the host allows. */
  disk_bytes: z.number().min(0).nullable().default(null),
  /** Whose run it is: teams share no copies of repositories. */
  team: z.string().default('default'),
  /** What its agent is given beside our own tools, and whether the `.mcp.json` of its repository counts. */
  mcp_servers: z.array(McpServerOrder).default([]),
  repository_mcp_servers: z.boolean().default(false),
  /** What set-up and agent are given as variables and files. */
  secrets: z.array(GivenSecret).default([]),
  /** Further values that are to be kept out of what the run says: former ones that it may still have. */
  hidden_values: z.array(z.string()).default([]),
  /** Why it cannot have its secrets; null where it can. */
  secrets_trouble: z.string().nullable().default(null),
  /** In whose name the agent commits; null: nobody's. */
  commit_identity: CommitIdentity.nullable().default(null),
  /** The repositories that the git broker has a credential for. */
  git: z.array(BrokeredRepository).default([]),
  /** What the run works by, and what is at hand for it; `GET /runs/:runId/skills` has what they say. */
  skills: z.array(PinnedSkill).default([]),
})
export type ExecutionOrder = z.infer<typeof ExecutionOrder>

/** `order`: what {@link ClaimRequest} was for, told with the claim; absent where it has to be asked for, as of an older server. */
export const ClaimAnswer = z.object({ outcome: z.enum(['claimed', 'draining']), order: ExecutionOrder.optional() })
export type ClaimAnswer = z.infer<typeof ClaimAnswer>

/** `GET /runs/:runId/messages/:messageId`: what a person sent, a message or the answer to a question. */
export const MessageText = z.object({
  message_id: z.uuid(),
  text: z.string(),
  /** For an answer: what was asked, and what was decided. */
  decision: z.object({ title: z.string(), choice: z.enum(['allow', 'deny']) }).nullable(),
  /** The one that it was sent in. Absent: normal. */
  mode: RunMode.optional(),
  /** Files that came with it, in their order. `GET /runs/:runId/attachments/:uid` has their contents. */
  attachments: z
    .array(
      z.object({ uid: z.string(), file_name: z.string(), mime_type: z.string(), bytes: z.number().int().nullable() }),
    )
    .optional(),
})
export type MessageText = z.infer<typeof MessageText>

/**
 * `POST /runs/:runId/executions/:execution/credential`: a gateway token; a second
 * call replaces the first. And one for the agent's tools, null from a server that
 * has none; a further one, by `…/tool-credential`, leaves the others good.
 */
export const CredentialRequest = z.object({
  binds: z.boolean().default(false).describe('The host will tell from where it is good: until then it is nowhere.'),
  binding: z
    .lazy(() => CredentialBinding)
    .nullable()
    .default(null)
    .describe('From where it is good, where the host knows that already.'),
})
export const RunCredential = z.object({
  token: z.string(),
  tool_token: z.string().nullable().default(null),
  bound: z.boolean().default(false).describe('The request said from where the token is good, and was heeded.'),
})
export type RunCredential = z.infer<typeof RunCredential>
export const ToolCredential = z.object({ tool_token: z.string() })

/**
 * `POST /runs/:runId/executions/:execution/git-credential`: a token for the git
 * broker, for the run's sandbox or, with `for_host`, for the host itself. Those
 * that were given before stay good.
 */
export const GitCredentialRequest = z.object({
  for_host: z.boolean(),
  /** From where it may be used; null: from anywhere. */
  binding: z
    .lazy(() => CredentialBinding)
    .nullable()
    .default(null),
})
/** Also of `POST /builds/:buildId/git-credential`. */
export const GitCredential = z.object({ git_token: z.string() })
/** `POST /environments/:environmentId/git-credential`: to look for what is new. No token where the broker has nothing of it. */
export const EnvironmentGit = z.object({ git_token: z.string().nullable(), git: z.array(BrokeredRepository) })
export type EnvironmentGit = z.infer<typeof EnvironmentGit>

/**
 * `PUT /runs/:runId/executions/:execution/binding`: where the gateway token may be
 * used from, told by the host once the sandbox is there. Until then, where it was
 * asked for with `binds`, it may be used nowhere.
 */
export const CredentialBinding = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('nowhere').describe('Yet: the host is about to tell.') }),
  z.object({ kind: z.literal('address').describe('From the address of a container.'), address: z.string() }),
  z.object({ kind: z.literal('pass').describe('Through the relay of the host, which adds this.'), hash: z.string() }),
  z.object({ kind: z.literal('namespace').describe('From a process in this PID namespace.'), id: z.string() }),
  z.object({ kind: z.literal('machine').describe("From an address of the gateway's own machine.") }),
  z.object({ kind: z.literal('first').describe('From the address that uses it first.') }),
])
export type CredentialBinding = z.infer<typeof CredentialBinding>

/** `GET /runs/:runId/executions/:execution/asked`: what the agent wants of the host and of people, now that its turn has ended. */
export const AskedInTurn = z.object({
  question: z
    .object({
      questionId: z.string(),
      title: z.string(),
      options: z.array(z.object({ optionId: z.string(), name: z.string(), kind: z.string() })),
    })
    .nullable(),
  /** What the run waits for since a model call of this turn was not passed on for want of money; before `question`. */
  stopped: z
    .object({
      questionId: z.string(),
      title: z.string(),
      options: z.array(z.object({ optionId: z.string(), name: z.string(), kind: z.string() })),
    })
    .nullable()
    .default(null),
  /** To be sent to `PUT …/artifacts/:uid`, or taken back by `POST …/artifacts/:uid/refused` → {@link RefusedFile}. */
  files: z.array(z.object({ artifact_uid: z.string(), path: z.string() })),
  max_file_bytes: z.number().int().min(0).default(0),
})
export type AskedInTurn = z.infer<typeof AskedInTurn>

export const RefusedFile = z.object({ reason: z.string().min(1).max(500) })

/** `POST /runs/:runId/executions/:execution/events` → {@link Appended}. At most 500 events a call. */
export const AppendEvents = z.object({
  journal: z.string().min(1).max(100),
  events: z.array(NewEvent).max(500),
  /** The journal was read up to here, whether or not the lines gave events. */
  read_to: z.number().int().min(0),
})
export type AppendEvents = z.infer<typeof AppendEvents>

/** `GET /runs/:runId/journals/:journal` */
export const JournalPosition = z.object({ line: z.number().int().min(0) })

/** The answer of an append. */
export const Appended = JournalPosition.extend({
  /** What the run's transcript has come to, in bytes. */
  transcript_bytes: z.number().int().min(0).default(0),
})
export type Appended = z.infer<typeof Appended>

/** What became of the branch that the agent's commits were to be pushed to. */
export const PushResult = z.object({
  branch: z.string(),
  commit: z.string(),
  outcome: z
    .enum(['pushed', 'rejected', 'failed'])
    .describe('`rejected`: the server did not take it. `failed`: it was not asked, or did not answer.'),
  message: z.string().nullable().describe('Why, and what to do.'),
})
export type PushResult = z.infer<typeof PushResult>

/** One repository's share of the work product. */
export const RepositoryResult = z.object({
  path: z.string(),
  url: z.string(),
  base_commit: z.string().nullable(),
  head_commit: z.string().nullable(),
  branch: z.string().nullable(),
  commits: z.array(z.object({ commit: z.string(), subject: z.string(), author: z.string(), time: z.string() })),
  files_changed: z.number().int(),
  insertions: z.number().int(),
  deletions: z.number().int(),
  /** `git diff --binary` from the start of the run, untracked files included, in base64; null when it was too large to keep. */
  patch: z.base64().nullable(),
  /** A git bundle of the agent's commits and a last one with what was not committed, in base64; null as above or when nothing changed. */
  bundle: z.base64().nullable(),
  /** Said to the person when something could not be collected. */
  note: z.string().nullable(),
  /** Null where there was nothing to push, or nothing was asked for. */
  push: PushResult.nullable().default(null),
})
export type RepositoryResult = z.infer<typeof RepositoryResult>

/** `PUT /runs/:runId/executions/:execution/blocked-hosts`: all that one sandbox of the run was refused so far. */
export const BlockedHosts = z.object({ sandbox: z.number().int().min(1), hosts: z.array(BlockedHost).max(1_000) })
export type BlockedHosts = z.infer<typeof BlockedHosts>

/** `PUT /runs/:runId/executions/:execution/result` */
export const RunResult = z.object({ repositories: z.array(RepositoryResult) })
export type RunResult = z.infer<typeof RunResult>

/**
 * `PUT /runs/:runId/executions/:execution/checkpoint` stores the body, bytes that
 * only hosts understand, as the run's newest checkpoint; `GET` gives them back,
 * or 404. `PUT …/late-checkpoint` stores what a host still had of an execution
 * that another one has taken over from. Of {@link CHECKPOINT_TYPE}, a line of
 * JSON comes before the bytes, a CheckpointSummary.
 */
export const CHECKPOINT_TYPE = 'application/x-ambient-checkpoint'

export const CheckpointStored = z.object({ bytes: z.number().int().min(0) })

/** Most runs that one request names; a host that has more asks several times. */
export const SWEEP_RUNS = 10_000

/**
 * `POST /hosts/:hostId/sweep`: the runs of which a host has anything. The answer
 * names those of which nothing may stay, and those that may have files there
 * and nothing that runs.
 */
export const SweepRequest = z.object({ run_ids: z.array(z.uuid()).max(SWEEP_RUNS) })
export const SweepAnswer = z.object({
  remove: z.array(z.uuid()),
  stop: z.array(z.uuid()).default([]),
  /** Of those to be removed, the ones that another host has taken over: what is only here is handed over first. */
  save: z.array(z.uuid()).default([]),
})
export type SweepAnswer = z.infer<typeof SweepAnswer>

/**
 * `POST /environments/:environmentId/builds` → {@link BuildAsked}: a run found
 * nothing here that it could start from, or what is here has become old. One
 * build of an environment at a time on a host: another one is the answer if it goes on.
 */
export const BuildRequest = z.object({ reason: z.enum(buildReasons) })
export const BuildAsked = z.object({ build_id: z.uuid() })

/** `POST /environments/:environmentId/used`: a run has started from the snapshot that has this content key. */
export const BuildUsed = z.object({ key: z.string().min(1).max(200) })

/**
 * `GET /builds/:buildId`: what a host needs to build. For the host that is to
 * build it. Of one that is over, without the values of its variables.
 */
export const BuildOrder = z.object({
  build_id: z.uuid(),
  environment_id: z.string(),
  team: z.string(),
  environment: InlineEnvironment,
  /** What its set-up commands are given; nothing of a build that is over. */
  secrets: z.array(GivenSecret).default([]),
  secrets_trouble: z.string().nullable().default(null),
  git: z.array(BrokeredRepository).default([]),
  /** Build anew even where the same has been built. */
  force: z.boolean(),
  state: z.enum(['QUEUED', 'BUILDING', 'READY', 'FAILED', 'CANCELLED']),
  /** For whoever waits for it: why it failed. */
  failure: z.record(z.string(), z.unknown()).nullable(),
})
export type BuildOrder = z.infer<typeof BuildOrder>

/** `POST /builds/:buildId/log`: output, each line once by its source and number. The first one says that the host has begun, also without lines. */
export const BuildLog = z.object({
  source: z.string().min(1).max(100),
  lines: z.array(z.object({ line: z.number().int().min(1), text: z.string() })).max(500),
})
export type BuildLog = z.infer<typeof BuildLog>

/** `GET /runs/:runId/skills`: what the skills of a run say, in their order. With `?files=true` what lies beside it. */
export const SkillTexts = z.object({
  skills: z.array(z.object({ text: z.string(), files: z.array(SkillFile) })),
})
export type SkillTexts = z.infer<typeof SkillTexts>

/** `GET /skill-readings/:readingId`: whose skills a host is to read. For the host that is to read them; 404 when that is over. */
export const SkillReadingOrder = z.object({
  reading_id: z.uuid(),
  environment_id: z.string(),
  team: z.string(),
  repositories: z.array(Repository),
  /** What of them the git broker has, and the token for that; null where it has nothing. */
  git: z.array(BrokeredRepository).default([]),
  git_token: z.string().nullable().default(null),
})
export type SkillReadingOrder = z.infer<typeof SkillReadingOrder>

/** `PUT /skill-readings/:readingId`: what was found, of each repository in their order. Ends the reading. */
export const SkillReading = z.object({
  repositories: z.array(
    z.object({
      /** Null: the repository is empty, or could not be read. */
      revision: z.string().nullable(),
      /** Why it could not be read. */
      failure: z.string().nullable(),
      skills: z.array(
        z.object({
          /** Of its SKILL.md. */
          path: z.string(),
          text: z.string(),
          files: z.array(SkillFile),
          /** Why it cannot be used, as far as its host can tell. */
          problem: z.string().nullable(),
        }),
      ),
    }),
  ),
})
export type SkillReading = z.infer<typeof SkillReading>
