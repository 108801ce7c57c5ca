// What a run is: its request, its configuration, and how it is served. Field names are Oz's where Oz has the field.
import { z } from 'zod'
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
  })
  .meta({ id: 'InlineEnvironment' })

export type InlineEnvironment = z.infer<typeof InlineEnvironment>

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
    failure: z
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
      .nullable(),
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
    metadata: z.record(z.string(), z.string()),
    artifacts: z.array(z.unknown()),
    children: z.array(z.uuid()),
    last_event_sequence: z.number().int(),
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
