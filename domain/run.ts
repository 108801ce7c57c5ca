// What a run is: its request, its configuration, and how it is served. Field names are Oz's where Oz has the field.
import { z } from 'zod'
import { ForkedFrom, ForkFrom } from './checkpoint.ts'
import { BlockedHost, EgressRule } from './egress.ts'
import { AgentName, HarnessType, PermissionPolicy, providerNames } from './harness.ts'
import * as limits from './limits.ts'
import { Concurrency, Priority, QueuePlace } from './queue.ts'
import { runStates } from './state.ts'

const bytes = (text: string) => new TextEncoder().encode(text).length

const text = (max: number) =>
  z
    .string()
    .refine((value) => bytes(value) <= max, { error: `longer than ${max} bytes` })
    .refine((value) => !value.includes('\0'), { error: 'contains a NUL character' })

/** The git transports a repository may be fetched over. `ext::` and other helpers run commands, so they are refused. */
const GitUrl = z
  .string()
  .min(1)
  .max(2048)
  .refine((url) => /^(https?|ssh|git|file):\/\/\S+$/.test(url) || /^[\w.-]+@[\w.-]+:(?!:)\S+$/.test(url), {
    error: 'must be a git URL: https://…, ssh://…, git@host:path or file:///path',
  })

/** A URL as it may be shown: without user name and password, which may be a token. */
export function withoutCredentials(url: string): string {
  // To the last @ before the path: whoever forgot to encode one in a password has it hidden all the same.
  return url.replace(/^((?:https?|git):\/\/)[^/?#]*@/, '$1').replace(/^(ssh:\/\/[^/?#@:]*):[^/?#]*@/, '$1@')
}

/** A path inside the workspace: relative, below it, and never its root. */
const WorkspacePath = z
  .string()
  .min(1)
  .max(255)
  .refine((path) => !/\p{Cc}/u.test(path) && !path.split('/').some((part) => ['', '.', '..', '.git'].includes(part)), {
    error: 'must be a relative path inside the workspace',
  })

/** The name of a branch as git takes it (git-check-ref-format), without `refs/heads/`. */
const BranchName = z
  .string()
  .min(1)
  .max(200)
  .refine(
    (name) =>
      !/[\s\p{Cc}~^:?*[\\]|\.\.|@\{|^[-@]$|^-|\.$/u.test(name) &&
      !/^(refs\/|HEAD$)/.test(name) &&
      name.split('/').every((part) => part !== '' && !part.startsWith('.') && !part.endsWith('.lock')),
    { error: 'must be the name of a branch, as git takes it' },
  )

export const Repository = z
  .object({
    url: GitUrl,
    ref: z
      .string()
      .min(1)
      .max(255)
      .refine((ref) => !ref.startsWith('-'), { error: 'must not start with "-"' })
      .optional()
      .describe('Branch, tag or commit. Absent: the default branch.'),
    path: WorkspacePath.optional().describe('Where in the workspace. Absent: the name of the repository.'),
    depth: z
      .number()
      .int()
      .min(1)
      .max(1_000_000)
      .optional()
      .describe('Only so many of the newest commits, of one branch. Absent: the whole history, of all branches.'),
    submodules: z
      .boolean()
      .optional()
      .describe('Absent: they are there as far as the host can get them. True: the run fails without them.'),
    lfs: z
      .boolean()
      .optional()
      .describe(
        'Large files of Git LFS. Absent: they are there as far as the host can get them. True: the run fails without them.',
      ),
    push_branch: BranchName.optional().describe(
      'The agent works on a branch of this name, made from `ref`, and its commits are pushed to the remote when an execution ends; never by force.',
    ),
  })
  .meta({ id: 'Repository' })

export type Repository = z.infer<typeof Repository>

/** Names that set-up and agents rely on, so that a request cannot replace them. */
const reservedEnv = /^(PATH|HOME|AMBIENT_.*|LD_.*|NODE_OPTIONS)$/

export const InlineEnvironment = z
  .object({
    image: z
      .string()
      .min(1)
      .max(512)
      .regex(/^[\w./:@-]+$/, 'must be the name of a container image')
      .optional()
      .describe('Container image. Refused where the hosts of the pool run no containers.'),
    repos: z.array(Repository).max(limits.REPOSITORIES).default([]),
    setup_commands: z
      .array(text(64 * 1024).min(1))
      .max(limits.SETUP_COMMANDS)
      .default([]),
    env: z
      .record(
        z
          .string()
          .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be letters, digits and underscores, and not begin with a digit')
          .refine((name) => !reservedEnv.test(name), { error: 'is a reserved name' }),
        text(32 * 1024),
      )
      .default({}),
    devcontainer: z
      .boolean()
      .optional()
      .describe('False: a devcontainer.json in the repositories has no effect. Absent: it is honoured.'),
    egress: EgressRule.optional().describe(
      'What the sandbox reaches of the outside. Absent: what its host allows. Refused where the hosts of the pool run no containers.',
    ),
    setup_inputs: z
      .array(
        text(255)
          .min(1)
          .refine((path) => !path.startsWith('/') && !path.split('/').includes('..'), {
            error: 'must be a relative path, or a pattern of one',
          }),
      )
      .max(limits.SETUP_INPUTS)
      .optional()
      .describe(
        'What the set-up commands depend on: paths or patterns (`**/*.lock`) within a repository or the workspace. A prepared start runs them again when one of these files has changed since its build. Absent: known lock files and manifests of package managers, and files that a command names.',
      ),
  })
  .meta({ id: 'InlineEnvironment' })

export type InlineEnvironment = z.infer<typeof InlineEnvironment>

/** Stands in for every value of a variable wherever an environment is shown. */
export const HIDDEN = '***'

/** An environment as it may be shown. */
export const withoutSecrets = <T extends InlineEnvironment>(environment: T): T => ({
  ...environment,
  env: Object.fromEntries(Object.keys(environment.env).map((name) => [name, HIDDEN])),
  repos: environment.repos.map((repository) => ({ ...repository, url: withoutCredentials(repository.url) })),
})

/** Of a stored environment. */
export const EnvironmentId = z.string().regex(/^[A-Za-z0-9]{22}$/, 'must be 22 letters and digits')

export const Harness = z
  .object({
    type: HarnessType.default('oz'),
    model_id: text(200).min(1).nullish(),
    reasoning_level: text(50).min(1).nullish(),
    /** Only for the `command` harness. */
    command: z
      .array(text(64 * 1024))
      .min(1)
      .max(256)
      .nullish()
      .describe(
        'Program and arguments of the `command` harness. `{prompt}` in an argument is replaced by the prompt; without it the prompt arrives on stdin.',
      ),
  })
  .meta({ id: 'Harness' })

const minutes = z.number().int().min(1).nullish()

/** Git takes what is between its own marks: no line breaks, no angle brackets. */
const identityText = z
  .string()
  .trim()
  .min(1)
  .max(200)
  .refine((value) => !/[\p{Cc}<>]/u.test(value), { error: 'must not have line breaks or angle brackets' })

export const CommitIdentity = z.object({ name: identityText, email: identityText }).meta({ id: 'CommitIdentity' })
export type CommitIdentity = z.infer<typeof CommitIdentity>

/** Oz's AmbientAgentConfig: the part that is served so far. Unknown fields are kept and ignored, as Oz does. */
export const AgentConfig = z
  .looseObject({
    name: text(500).nullish(),
    model_id: text(200).min(1).nullish(),
    base_prompt: text(limits.PROMPT_BYTES).nullish(),
    idle_timeout_minutes: z
      .number()
      .int()
      .min(0)
      .max(60)
      .nullish()
      .describe('How long the sandbox is kept after the work is done.'),
    max_turn_minutes: minutes.describe(
      'Longest time one turn may take. Absent: as the server has it, which is also the most.',
    ),
    max_run_minutes: minutes.describe(
      'Longest time all turns of one execution may take together. Absent: as the server has it, which is also the most.',
    ),
    max_transcript_mb: z
      .number()
      .int()
      .min(1)
      .nullish()
      .describe('Largest transcript of the run, in MiB. Absent: as the server has it, which is also the most.'),
    max_disk_gb: z
      .number()
      .min(0.01)
      .nullish()
      .describe('Most of the disk that the run may take, in GiB. Its host may allow less.'),
    worker_host: z
      .string()
      .min(1)
      .max(100)
      .regex(/^[\w.-]+$/, 'must be letters, digits, dots, dashes or underscores')
      .nullish()
      .describe('The pool of hosts that may take the run.'),
    harness: Harness.nullish(),
    permission_policy: PermissionPolicy.nullish(),
    commit_identity: CommitIdentity.nullish().describe(
      "Author and committer of the agent's commits. Absent: Ambient <ambient@localhost>.",
    ),
    environment_id: z
      .union([EnvironmentId, z.literal('')], 'must be the uid of an environment: 22 letters and digits')
      .nullish()
      .describe('The stored environment to work in. The run gets a copy of it.'),
  })
  .meta({ id: 'AmbientAgentConfig' })

export type AgentConfig = z.infer<typeof AgentConfig>

export const Metadata = z
  .record(
    z
      .string()
      .min(1)
      .max(limits.METADATA_KEY_BYTES)
      .regex(/^[a-zA-Z0-9._-]+$/, 'must be letters, digits, dots, dashes or underscores'),
    text(limits.METADATA_VALUE_BYTES),
  )
  .refine((map) => Object.keys(map).length <= limits.METADATA_KEYS, { error: `more than ${limits.METADATA_KEYS} keys` })

/** Body of `POST /agent/runs`. Fields that this server does not know are ignored, as Oz does. */
export const StartRun = z
  .object({
    prompt: text(limits.PROMPT_BYTES)
      .refine((prompt) => prompt.trim() !== '', { error: 'must not be empty' })
      .describe('The task.'),
    mode: z.enum(['normal', 'plan', 'orchestrate']).nullish(),
    title: z.string().min(1).max(limits.TITLE_CHARS).nullish(),
    config: AgentConfig.nullish(),
    environment: InlineEnvironment.nullish(),
    metadata: Metadata.nullish(),
    parent_run_id: z.uuid().nullish(),
    fork_from: ForkFrom.nullish().describe(
      'Begin with the workspace of another run. What is not given is as it is there.',
    ),
    priority: Priority.nullish().describe('Where runs wait in line, higher goes first. Absent: 0.'),
    concurrency: Concurrency.nullish(),
  })
  .meta({ id: 'StartRun' })

export type StartRun = z.infer<typeof StartRun>

export const StartRunResponse = z
  .object({
    run_id: z.uuid(),
    task_id: z.uuid(),
    state: z.enum(runStates),
    at_capacity: z.boolean(),
    warnings: z.array(z.string()).optional().describe('Fields of the request that are not known and had no effect.'),
  })
  .meta({ id: 'StartRunResponse' })

/** `GET /agent/harnesses`: what runs may name as `config.harness.type`, and what this server makes of it. */
export const Harnesses = z
  .object({
    default_harness: AgentName.describe('What `oz`, or no harness at all, stands for.'),
    harnesses: z.array(
      z.object({
        type: AgentName,
        provider: z.enum(providerNames).nullable(),
        default_model_id: z.string().nullable(),
        demo: z.boolean().describe('No key for its provider: a scripted model plays its part.'),
      }),
    ),
  })
  .meta({ id: 'Harnesses' })

export type Harnesses = z.infer<typeof Harnesses>

/** Body of `POST …/followups`. */
export const FollowUp = z
  .object({
    message: text(limits.PROMPT_BYTES).refine((message) => message.trim() !== '', { error: 'must not be empty' }),
    mode: z.enum(['normal', 'plan', 'orchestrate']).nullish(),
    delivery: z
      .enum(['queue', 'interrupt'])
      .default('queue')
      .describe(
        'What happens when a turn is running: wait for its end, or interrupt it and continue with this message.',
      ),
  })
  .meta({ id: 'FollowUp' })

/** Body of `POST …/answers`. */
export const Answer = z
  .object({
    question_id: z.string().min(1).max(200).nullish().describe('Absent: the only open question.'),
    option_id: z.string().min(1).max(200).describe("One of the question's option ids, or the word `allow` or `deny`."),
  })
  .meta({ id: 'Answer' })

/** Body of `POST …/cancel`, which official clients send without one. */
export const Cancel = z
  .object({
    cascade: z
      .boolean()
      .default(false)
      .describe('Cancel the runs that it began as well, and those that they began, as far as they are going on.'),
  })
  .meta({ id: 'Cancel' })

/** The answer to a cancel with `cascade`. Without, it is the run's id as plain text. */
export const CancelResponse = z
  .object({
    run_id: z.uuid(),
    cancelled_run_ids: z.array(z.uuid()).describe('With the run itself, unless it was over.'),
  })
  .meta({ id: 'CancelResponse' })

export type CancelResponse = z.infer<typeof CancelResponse>

/** Why a run, or the build of an environment, did not succeed, as it is served. */
export const Failure = z
  .object({
    code: z.string(),
    phase: z.string(),
    message: z.string(),
    command: z.string().optional(),
    exit_code: z.number().int().optional(),
    log_tail: z.string().optional(),
    next_step: z.string().optional(),
    retryable: z.boolean(),
  })
  .meta({ id: 'Failure' })

/** A run as it is served. */
export const RunItem = z
  .object({
    run_id: z.uuid(),
    task_id: z.uuid(),
    title: z.string(),
    state: z.enum(runStates),
    prompt: z.string(),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
    started_at: z.iso.datetime().nullable(),
    finished_at: z.iso.datetime().nullable(),
    run_time: z.string().nullable().describe('ISO 8601 duration, summed over executions.'),
    status_message: z
      .object({ message: z.string(), error_code: z.string().optional(), retryable: z.boolean().optional() })
      .nullable(),
    failure: Failure.nullable(),
    queue: QueuePlace.nullable().describe('Only while the run waits in line.'),
    team: z.string(),
    priority: z.number().int(),
    concurrency: Concurrency.nullable(),
    source: z.string(),
    execution_location: z.enum(['LOCAL', 'REMOTE']),
    execution: z.number().int(),
    is_sandbox_running: z.boolean(),
    agent_config: z.record(z.string(), z.unknown()),
    environment: z
      .record(z.string(), z.unknown())
      .nullable()
      .describe('As asked for, without the values of `env` and the credentials in URLs.'),
    conversation_id: z.uuid(),
    session_id: z.string().nullable(),
    parent_run_id: z.uuid().nullable(),
    root_run_id: z.uuid(),
    forked_from: ForkedFrom.nullable().describe('The checkpoint of another run that it began with.'),
    checkpoint: z
      .object({ number: z.number().int(), taken_at: z.iso.datetime() })
      .nullable()
      .describe('The newest one that is kept.'),
    metadata: z.record(z.string(), z.string()),
    artifacts: z.array(z.unknown()),
    children: z.array(z.uuid()),
    last_event_sequence: z.number().int(),
    blocked_hosts: z
      .array(BlockedHost)
      .describe(
        'What its sandboxes tried to reach and `environment.egress` does not allow, in the order of the first time.',
      ),
    questions: z.array(
      z.object({
        question_id: z.string(),
        title: z.string().describe('What is to be decided, whole: it may be a command of many lines.'),
        tool_call: z
          .record(z.string(), z.unknown())
          .nullable()
          .describe('What the agent wants to do, as the Agent Client Protocol has it: command, changes to files.'),
        options: z.array(z.object({ option_id: z.string(), name: z.string(), kind: z.string() })),
      }),
    ),
    demo: z.boolean().describe('True when a scripted demo model played the model.'),
  })
  .meta({ id: 'RunItem' })

export type RunItem = z.infer<typeof RunItem>
