// The tables as TypeScript sees them. The migrations say what they are.
import type { ColumnType, Generated, GeneratedAlways } from 'kysely'
import type { CheckpointSummary, ForkSession } from '../domain/checkpoint.ts'
import type { BuildReason, BuildResult, BuildState, EnvironmentConfig } from '../domain/environment.ts'
import type { EventKind } from '../domain/event.ts'
import type { RunFailure } from '../domain/failure.ts'
import type { AgentName, PermissionPolicy } from '../domain/harness.ts'
import type { PushResult } from '../domain/host-api.ts'
import type { AgentConfig, InlineEnvironment } from '../domain/run.ts'
import type { RunState, TimelineType } from '../domain/state.ts'
import type { AgentQuestion, ExecutionPlan } from '../workflows/contract.ts'

type Time = ColumnType<Date, Date | string, Date | string>
type TimeByDefault = ColumnType<Date, Date | string | undefined, Date | string>

export interface RunsTable {
  id: string
  state: RunState
  title: string
  prompt: string
  source: string
  name: string | null
  agent: AgentName
  model: string | null
  reasoning_level: string | null
  command: string[] | null
  policy: PermissionPolicy | null
  base_prompt: string | null
  pool: string
  team: Generated<string>
  priority: Generated<number>
  concurrency_group: string | null
  concurrency_limit: number | null
  idle_minutes: number | null
  config: AgentConfig
  environment: InlineEnvironment | null
  environment_id: Generated<string | null>
  metadata: Record<string, string>
  demo: boolean
  parent_run_id: string | null
  root_run_id: string
  execution: Generated<number>
  last_event_sequence: Generated<number>
  transcript_bytes: Generated<number>
  checkpoints: Generated<number>
  forked_from_run_id: string | null
  forked_from_checkpoint: number | null
  fork_session: ForkSession | null
  forked_checkpoint_id: string | null
  host_id: string | null
  sandbox_running: Generated<boolean>
  workspace_kept: Generated<boolean>
  workspace_until: Time | null
  failure: RunFailure | null
  message: string | null
  created_at: TimeByDefault
  updated_at: TimeByDefault
  started_at: Time | null
  finished_at: Time | null
}

export interface ExecutionsTable {
  run_id: string
  execution: number
  key: string
  plan: ExecutionPlan
  host_id: string | null
  claimed_by: string | null
  created_at: TimeByDefault
  started_at: Time | null
  finished_at: Time | null
}

export interface StateChangesTable {
  run_id: string
  key: string
  number: number
  execution: number
  state: RunState
  time: TimeByDefault
}

export interface EventsTable {
  run_id: string
  sequence: number
  execution: number
  journal: string
  line: number
  part: number
  time: Time
  kind: EventKind
  data: Record<string, unknown>
}

export interface JournalsTable {
  run_id: string
  journal: string
  read_to: number
}

export interface TimelineTable {
  id: Generated<string>
  position: Generated<number>
  run_id: string
  key: string
  execution: number
  event_type: TimelineType
  time: TimeByDefault
  payload: Record<string, unknown>
}

/** What a piece of mail says; `kind` is a column of its own. */
export interface MailBody {
  text?: string
  delivery?: 'queue' | 'interrupt'
  questionId?: string
  optionId?: string
  reason?: string
  /** A cancel that is for the run's children, too. */
  cascade?: boolean
  execution?: number
}

export interface MailTable {
  id: string
  position: Generated<number>
  run_id: string
  kind: 'prompt' | 'answer' | 'cancel' | 'admit' | 'release'
  body: MailBody
  created_at: TimeByDefault
  dispatched_at: Time | null
  accepted_at: Time | null
  accepted_by: string | null
  trace: string | null
}

export interface QuestionsTable {
  run_id: string
  question_id: string
  execution: number
  title: string
  options: AgentQuestion['options']
  asked_at: TimeByDefault
  answer_id: string | null
  option_id: string | null
  closed_at: Time | null
}

export interface RunCredentialsTable {
  run_id: string
  execution: number
  token_hash: string
  created_at: TimeByDefault
}

export interface ResultsTable {
  run_id: string
  execution: number
  position: number
  path: string
  summary: ResultSummary
  patch: Buffer | null
  bundle: Buffer | null
  created_at: TimeByDefault
}

/** A repository's result without the two large parts. */
export interface ResultSummary {
  path: string
  url: string
  base_commit: string | null
  head_commit: string | null
  branch: string | null
  commits: { commit: string; subject: string; author: string; time: string }[]
  files_changed: number
  insertions: number
  deletions: number
  note: string | null
  /** Absent where the row was written before there was one. */
  push?: PushResult | null
}

export interface CheckpointsTable {
  id: string
  run_id: string
  execution: number
  bytes: Generated<number>
  created_at: TimeByDefault
  completed_at: Time | null
  replaced_at: Time | null
  number: number | null
  summary: CheckpointSummary | null
  late: Generated<boolean>
}

export interface CheckpointPiecesTable {
  checkpoint_id: string
  number: number
  bytes: Buffer
}

export interface IdempotencyTable {
  scope: string
  key: string
  body_hash: string
  status: number
  response: unknown
  created_at: TimeByDefault
  answered_at: Time | null
}

export interface HostsTable {
  id: string
  pool: string
  kind: 'docker' | 'direct'
  version: string
  capacity: number
  secret_hash: string | null
  key_id: string | null
  in_use: Generated<number>
  draining_at: Time | null
  created_at: TimeByDefault
  reported_at: Time
  egress: 'public' | 'open' | 'failing' | null
}

export interface BlockedHostsTable {
  run_id: string
  sandbox: number
  host: string
  port: number
  count: number
  first_seen: Time
}

export interface WorkerKeysTable {
  id: string
  name: string
  prefix: string
  key_hash: string
  pool: string | null
  created_at: TimeByDefault
  last_used_at: Time | null
  revoked_at: Time | null
}

export interface TeamsTable {
  name: string
  run_limit: number
}

export interface PlacesTable {
  run_id: string
  execution: number
  stage: 'waiting' | 'working' | 'idle'
  since: TimeByDefault
  takes_capacity: boolean
  host_id: string | null
  pool: string
  team: string
  priority: number
  concurrency_group: string | null
  concurrency_limit: number | null
  environment_id: Generated<string | null>
  arrival: number
  release_asked_at: Time | null
}

export interface EnvironmentsTable {
  id: string
  team: string
  name: string
  config: EnvironmentConfig
  run_limit: GeneratedAlways<number | null>
  created_at: TimeByDefault
  updated_at: TimeByDefault
  deleted_at: Time | null
}

export interface BuildsTable {
  id: string
  environment_id: string
  host_id: string
  reason: BuildReason
  force: boolean
  /** QUEUED until its end: that its host is at it, `started_at` tells. */
  state: Exclude<BuildState, 'BUILDING'>
  config: InlineEnvironment
  result: BuildResult | null
  failure: RunFailure | null
  created_at: TimeByDefault
  started_at: Time | null
  finished_at: Time | null
  used_at: Time | null
  dispatched_at: Time | null
  cancel_asked_at: Time | null
  cancel_dispatched_at: Time | null
  log_bytes: Generated<number>
}

export interface BuildLogTable {
  build_id: string
  position: GeneratedAlways<number>
  source: string
  line: number
  text: string
  time: TimeByDefault
}

export interface Schema {
  runs: RunsTable
  executions: ExecutionsTable
  state_changes: StateChangesTable
  events: EventsTable
  journals: JournalsTable
  timeline: TimelineTable
  mail: MailTable
  questions: QuestionsTable
  run_credentials: RunCredentialsTable
  results: ResultsTable
  checkpoints: CheckpointsTable
  checkpoint_pieces: CheckpointPiecesTable
  idempotency: IdempotencyTable
  hosts: HostsTable
  blocked_hosts: BlockedHostsTable
  worker_keys: WorkerKeysTable
  teams: TeamsTable
  places: PlacesTable
  environments: EnvironmentsTable
  builds: BuildsTable
  build_log: BuildLogTable
}
