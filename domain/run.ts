// What a run is: its request, its configuration, and how it is served. Field names are Oz's where Oz has the field.
import { z } from 'zod'
import { Ownership, Profile, Uid } from './account.ts'
import { attachmentFields, RunArtifact } from './artifact.ts'
import { ForkedFrom, ForkFrom } from './checkpoint.ts'
import { RunConfiguration, SavedPromptUse } from './configuration/configuration.ts'
import { RunSkill, SKILLS_OF_RUN, SkillName } from './configuration/skill.ts'
import { BlockedHost, EgressRule } from './egress.ts'
import { BranchName, BranchPattern } from './git/branch.ts'
import { PullRequestAsk } from './git/pull-request.ts'
import { AgentName, HarnessType, PermissionPolicy, providerNames } from './harness.ts'
import * as limits from './limits.ts'
import { McpServers } from './mcp/server.ts'
import { BudgetAsk, RequestUsage, RunBudget } from './money/money.ts'
import { Concurrency, Priority, QueuePlace } from './queue.ts'
import { ScoreItem } from './score.ts'
import { runStates } from './state.ts'
import { SEALED_MARK } from './vault/sealed.ts'
import { SecretChoice, UsedSecret } from './vault/secret.ts'
import { VariableName } from './vault/variable-name.ts'

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
  // With sealed credentials in it, it is longer.
  .max(8192)
  .refine((url) => url.length <= 2048 || url.includes(SEALED_MARK), { error: 'longer than 2048 characters' })
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

export const Repository = z
  .object({
    url: GitUrl.describe(
      'https, ssh, git or file, or `git@host:path`. One repository is the working directory; several lie beside each other.',
    ),
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
    push_branches: z
      .array(BranchPattern)
      .max(limits.PUSH_BRANCHES)
      .optional()
      .describe(
        'Branches that the agent itself may push to through the git broker, beside `push_branch` and `ambient/<run_id>`: names, or patterns (`agent/*`, `**`). A pattern does not stand for the default branch.',
      ),
    push_force: z
      .boolean()
      .optional()
      .describe(
        'True: on these branches the agent may replace commits by `git push --force`, but for the default branch. On `ambient/<run_id>` it may always.',
      ),
    pull_request: PullRequestAsk.optional().describe(
      'A pull request is opened for the pushed branch. Without `push_branch`, the branch is `ambient/<run_id>`.',
    ),
  })
  .meta({ id: 'Repository' })

export type Repository = z.infer<typeof Repository>

/** A sealed one is longer than what it stands for. */
const variableValue = text(64 * 1024).refine((value) => bytes(value) <= 32 * 1024 || value.startsWith(SEALED_MARK), {
  error: `longer than ${32 * 1024} bytes`,
})

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
      .default([])
      .describe('Run one after the other, by a shell, in the working directory, before the agent begins.'),
    env: z
      .record(VariableName, variableValue)
      .default({})
      .describe('Variables for set-up commands and the agent. Values are kept sealed, and not shown again.'),
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
    type: HarnessType.default('oz').describe('Which agent. `oz`: as the server has it.'),
    agent: AgentName.nullish().describe(
      'Which agent, before `type`. Answers have it here where Oz has no word for it, and `oz` as the `type`.',
    ),
    model_id: text(200).min(1).nullish().describe('Before `config.model_id`.'),
    reasoning_level: text(50).min(1).nullish().describe('As the agent calls it: `high`.'),
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

/** Secrets that are the key of the run's provider; the gateway uses them, and no sandbox gets them by this. */
export const HarnessAuthSecrets = z
  .object({
    claude_auth_secret_name: z
      .string()
      .max(200)
      .nullish()
      .describe('The key for Anthropic, or the token of a Claude subscription.'),
    codex_auth_secret_name: z.string().max(200).nullish().describe('The key for OpenAI.'),
  })
  .meta({ id: 'HarnessAuthSecrets' })
export type HarnessAuthSecrets = z.infer<typeof HarnessAuthSecrets>

/** Oz's AmbientAgentConfig: the part that is served so far. Unknown fields are kept and ignored, as Oz does. */
export const AgentConfig = z
  .looseObject({
    name: text(500).nullish().describe('A label to group runs by.'),
    model_id: text(200).min(1).nullish().describe('As the provider of the agent calls it. Absent: the default.'),
    profile: z
      .string()
      .max(200)
      .nullish()
      .describe(
        'Name or uid of an agent profile, which says what is not said here. Absent: that of the service account, else the default one of the team. Empty: none.',
      ),
    profile_version: z.number().int().min(1).nullish().describe('Of the profile that is named. Absent: the newest.'),
    base_prompt: text(limits.PROMPT_BYTES).nullish().describe('Instructions that come before the prompt.'),
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
    permission_policy: PermissionPolicy.nullish().describe(
      'When the agent wants to act: `ask` a person, and the run is BLOCKED meanwhile. Absent: `allow` in a container, `ask` on the bare machine.',
    ),
    budget: BudgetAsk.nullish().describe(
      'What models and compute of this run may cost. At its end the run is BLOCKED until somebody raises it.',
    ),
    tree_budget: BudgetAsk.nullish().describe('The same for this run together with all that it begins.'),
    commit_identity: CommitIdentity.nullish().describe(
      "Author and committer of the agent's commits. Absent: Ambient <ambient@localhost>.",
    ),
    secrets: SecretChoice.nullish().describe(
      'Names of the secrets that the run gets, of those in its scope. Absent: all of them, without personal ones where the run is the team’s. Empty: none.',
    ),
    harness_auth_secrets: HarnessAuthSecrets.nullish().describe(
      'Names of secrets in the run’s scope whose values are its keys for a provider, in the place of the server’s. They do not enter the sandbox.',
    ),
    environment_id: z
      .union([EnvironmentId, z.literal('')], 'must be the uid of an environment: 22 letters and digits')
      .nullish()
      .describe('The stored environment to work in. The run gets a copy of it.'),
    mcp_servers: McpServers.nullish().describe(
      'Servers of the Model Context Protocol that the agent is given, by the names that it knows them under. Stored ones are copied into the run.',
    ),
    repository_mcp_servers: z
      .boolean()
      .nullish()
      .describe('True: the servers of the `.mcp.json` of its repository, too. Absent: they are not started.'),
    skill_spec: SkillName.nullish().describe(
      'The skill that the run works by. `owner/repo:path`, `owner/repo:name`, `repo:path`, `repo:name`, or its name alone where only one has it.',
    ),
    skills: z
      .array(SkillName)
      .max(SKILLS_OF_RUN)
      .nullish()
      .describe(
        'The same for several: the first one is what the run works by, further ones are at hand for the agent. Answers have both fields, the first skill in each.',
      ),
    session_sharing: z
      .looseObject({ public_access: z.enum(['VIEWER', 'EDITOR']).nullish() })
      .nullish()
      .describe(
        'A link to the run, for anybody who is signed in here: VIEWER to see it, EDITOR to steer it as well. The answer to the request has it as `session_link`. Without effect on runs of a schedule.',
      ),
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

/** `plan`: look into it and write a plan. `orchestrate`: have other runs do it. */
export const RunMode = z.enum(['normal', 'plan', 'orchestrate'])
export type RunMode = z.infer<typeof RunMode>

/** Body of `POST /agent/runs`. Fields that this server does not know are ignored, as Oz does. */
export const StartRun = z
  .object({
    prompt: text(limits.PROMPT_BYTES)
      .refine((prompt) => prompt.trim() !== '', { error: 'must not be empty' })
      .nullish()
      .describe('The task. May be left out with `saved_prompt`.'),
    saved_prompt: SavedPromptUse.nullish().describe('The task, kept under a name: in place of `prompt`.'),
    skill: SkillName.nullish().describe(
      'The skill that the run works by, before `config.skill_spec`. The prompt may be left out then.',
    ),
    mode: RunMode.nullish(),
    title: z.string().min(1).max(limits.TITLE_CHARS).nullish().describe('Absent: the first line of the prompt.'),
    config: AgentConfig.nullish(),
    environment: InlineEnvironment.nullish().describe('Where it works, unless `config.environment_id` says it.'),
    metadata: Metadata.nullish().describe(
      'Pairs of your own, fixed at creation; `GET /agent/runs` filters by them. What the parent run has is inherited.',
    ),
    parent_run_id: z.uuid().nullish().describe('The run that begins this one.'),
    conversation_id: z
      .uuid()
      .nullish()
      .describe(
        'Go on with a conversation in a new run: with the workspace and the session of the last checkpoint of its last run. The prompt may be left out then.',
      ),
    fork_from: ForkFrom.nullish().describe(
      'Begin with the workspace of another run. What is not given is as it is there.',
    ),
    priority: Priority.nullish().describe('Where runs wait in line, higher goes first. Absent: 0.'),
    concurrency: Concurrency.nullish(),
    team: z
      .boolean()
      .nullish()
      .describe(
        'False: a personal run, seen by its creator and the admins of the team alone. Absent: true, unless it is begun below or from a personal one.',
      ),
    agent_identity_uid: z
      .union([Uid, z.literal('')], 'must be the uid of a service account: 22 letters and digits')
      .nullish()
      .describe('The service account that carries it out, and whose configuration holds where the request has none.'),
    on_behalf_of: text(320)
      .nullish()
      .describe('Uid or e-mail address of the member whose run it is to be. Only for service accounts that may.'),
    ...attachmentFields,
  })
  .meta({ id: 'StartRun' })

export type StartRun = z.infer<typeof StartRun>

export const StartRunResponse = z
  .object({
    run_id: z.uuid(),
    task_id: z.uuid(),
    state: z.enum(runStates),
    at_capacity: z.boolean(),
    session_link: z.string().optional().describe('Where `config.session_sharing` asked for it: shown here alone.'),
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
    message: text(limits.PROMPT_BYTES)
      .nullish()
      .describe('May be left out where the run has ended and what was said in it is kept: then the agent goes on.'),
    mode: RunMode.nullish(),
    delivery: z
      .enum(['queue', 'interrupt'])
      .default('queue')
      .describe(
        'What happens when a turn is running: wait for its end, or interrupt it and continue with this message.',
      ),
    ...attachmentFields,
  })
  .meta({ id: 'FollowUp' })

/** The answer to a follow-up: it is accepted; what becomes of it, the run shows. */
export const FollowUpResponse = z
  .object({
    run_id: z.uuid(),
    message_id: z.uuid(),
    state: z.enum(runStates),
    warnings: StartRunResponse.shape.warnings,
  })
  .meta({ id: 'FollowUpResponse' })

/** Body of `POST …/answers`. */
export const Answer = z
  .object({
    question_id: z.string().min(1).max(200).nullish().describe('Absent: the only open question.'),
    option_id: z
      .string()
      .min(1)
      .max(200)
      .nullish()
      .describe("One of the question's option ids, or the word `allow` or `deny`."),
    text: text(limits.PROMPT_BYTES)
      .nullish()
      .describe('In its place, for a question with `free_text`: the answer in words.'),
  })
  .meta({ id: 'Answer' })

export const AnswerResponse = z
  .object({
    run_id: z.uuid(),
    question_id: z.string(),
    option_id: z.string().nullable().describe('Null: it was answered in words.'),
  })
  .meta({ id: 'AnswerResponse' })

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
    code: z.string().describe('Such as `setup_command_failed`; finer than `status_message.error_code`.'),
    phase: z.string().describe('Where in the execution it happened.'),
    message: z.string(),
    command: z.string().optional().describe('The command that failed.'),
    exit_code: z.number().int().optional(),
    log_tail: z.string().optional().describe('The last lines of its log.'),
    next_step: z.string().optional().describe('What you can do next.'),
    retryable: z.boolean().describe('Whether the same, begun again unchanged, can be expected to do better.'),
  })
  .meta({ id: 'Failure' })

/** The schedule of a run, as it was when the run was made. */
export const RunSchedule = z
  .object({ schedule_id: z.string(), schedule_name: z.string(), cron_schedule: z.string() })
  .meta({ id: 'RunSchedule' })
export type RunSchedule = z.infer<typeof RunSchedule>

/** A run as it is served. */
export const RunItem = z
  .object({
    run_id: z.uuid(),
    task_id: z.uuid().describe('The older name of `run_id`.'),
    title: z.string(),
    state: z
      .enum(runStates)
      .describe(
        'FAILED: for a reason on your side, such as set-up, a command, a limit. ERROR: on the side of the platform. BLOCKED: waits for a person.',
      ),
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
    scope: Ownership.describe('`User`: seen by its creator and the admins of the team alone.'),
    creator: Profile,
    executor: Profile.describe('As whom it works: a service account, or its creator.'),
    priority: z.number().int(),
    concurrency: Concurrency.nullable(),
    source: z.string(),
    schedule: RunSchedule.nullable().describe('The schedule that made it.'),
    execution_location: z.enum(['LOCAL', 'REMOTE']),
    execution: z.number().int().describe('Counts from 1; a follow-up on an ended run begins another one.'),
    is_sandbox_running: z.boolean(),
    is_run_type_cancellable: z.boolean().describe('Whether runs of its kind can be cancelled, whatever its state.'),
    agent_config: z.record(z.string(), z.unknown()).describe('As resolved when the run was made: AmbientAgentConfig.'),
    agent_skill: RunSkill.nullable().describe('The skill that it works by, as it was when the run was made.'),
    skills: z.array(RunSkill).describe('All of its skills, that one first.'),
    configuration: RunConfiguration.nullable().describe('Where `agent_config` comes from, and what was used for it.'),
    environment: z
      .record(z.string(), z.unknown())
      .nullable()
      .describe('As asked for, without the values of `env` and the credentials in URLs.'),
    secrets: z.array(UsedSecret).describe('Those that it was given, without their values.'),
    conversation_id: z.uuid(),
    mode: RunMode,
    session_id: z.string().nullable(),
    parent_run_id: z.uuid().nullable(),
    root_run_id: z.uuid(),
    forked_from: ForkedFrom.nullable().describe('The checkpoint of another run that it began with.'),
    checkpoint: z
      .object({ number: z.number().int(), taken_at: z.iso.datetime() })
      .nullable()
      .describe('The newest one that is kept.'),
    metadata: z.record(z.string(), z.string()),
    scores: z.array(ScoreItem),
    request_usage: RequestUsage.nullable().describe('What it has used so far; null where that is nothing.'),
    budgets: z.array(RunBudget).describe('What its own budget, and that of its tree, are at.'),
    artifacts: z.array(RunArtifact),
    children: z.array(z.uuid()).describe('The runs that it began.'),
    last_event_sequence: z.number().int().describe('Of its transcript.'),
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
        free_text: z.boolean().optional().describe('It may be answered by `text` instead of an option.'),
        about: z
          .enum(['budget', 'credits'])
          .optional()
          .describe(
            'The run is paused, and goes on when there is more to spend: with `POST …/budget`, another limit, a grant, or a new month. It takes no answer.',
          ),
        next_step: z
          .string()
          .optional()
          .describe('With `about`: what a person can do that it goes on, as a command and as a request.'),
      }),
    ),
    demo: z.boolean().describe('True when a scripted demo model played the model.'),
  })
  .meta({ id: 'RunItem' })

export type RunItem = z.infer<typeof RunItem>
