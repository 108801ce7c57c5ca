// What a host asks of the server. A host has no database access: it hands over the transcript and gets its orders here.
import { z } from 'zod'
import { NewEvent } from './event.ts'
import { AgentName, PermissionPolicy } from './harness.ts'
import { InlineEnvironment } from './run.ts'

/** All of these routes live under this prefix and need the worker key. */
export const HOST_API = '/internal/v1'

/** `PUT /hosts/:hostId`: on start, and every 15 s. */
export const HostReport = z.object({
  pool: z.string().min(1).max(100),
  kind: z.enum(['docker', 'direct']),
  version: z.string().max(100),
  capacity: z.number().int().min(1),
})

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
  environment: InlineEnvironment,
})
export type ExecutionOrder = z.infer<typeof ExecutionOrder>

/** `GET /runs/:runId/messages/:messageId` */
export const MessageText = z.object({ message_id: z.uuid(), text: z.string() })

/** `POST /runs/:runId/executions/:execution/credential`: a gateway token; a second call replaces the first. */
export const RunCredential = z.object({ token: z.string() })

/** `POST /runs/:runId/executions/:execution/events` → {@link JournalPosition}. At most 500 events a call. */
export const AppendEvents = z.object({
  journal: z.string().min(1).max(100),
  events: z.array(NewEvent).max(500),
  /** The journal was read up to here, whether or not the lines gave events. */
  read_to: z.number().int().min(0),
})
export type AppendEvents = z.infer<typeof AppendEvents>

/** `GET /runs/:runId/journals/:journal`, and the answer of an append. */
export const JournalPosition = z.object({ line: z.number().int().min(0) })

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
})
export type RepositoryResult = z.infer<typeof RepositoryResult>

/** `PUT /runs/:runId/executions/:execution/result` */
export const RunResult = z.object({ repositories: z.array(RepositoryResult) })
export type RunResult = z.infer<typeof RunResult>

/** `POST /hosts/:hostId/sweep`: the runs of which a host has anything; the answer names those it must remove. */
export const SweepRequest = z.object({ run_ids: z.array(z.uuid()).max(10_000) })
export const SweepAnswer = z.object({ remove: z.array(z.uuid()) })
