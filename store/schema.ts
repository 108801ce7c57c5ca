// The tables as TypeScript sees them. The migrations say what they are.
import type { ColumnType, Generated, GeneratedAlways } from 'kysely'
import type { ArtifactType } from '../domain/artifact.ts'
import type { AuditEntry } from '../domain/audit.ts'
import type { CheckpointSummary, ForkSession } from '../domain/checkpoint.ts'
import type { RunConfiguration, SavedPromptUse } from '../domain/configuration/configuration.ts'
import type { ItemKind } from '../domain/configuration/shared-item.ts'
import type { BuildReason, BuildResult, BuildState, EnvironmentConfig } from '../domain/environment.ts'
import type { EventKind } from '../domain/event.ts'
import type { RunFailure } from '../domain/failure.ts'
import type { PullRequestFailure, PullRequestState, PullRequestStatus } from '../domain/git/pull-request.ts'
import type { AgentName, PermissionPolicy, ProviderName } from '../domain/harness.ts'
import type { CredentialBinding, PushResult } from '../domain/host-api.ts'
import type { IdentityConfig } from '../domain/identity.ts'
import type { McpServer } from '../domain/mcp/server.ts'
import type { BudgetPeriod, BudgetScope, LedgerKind, StopReason } from '../domain/money/words.ts'
import type { CallerType, Role, Scope, ShareLevel } from '../domain/permission.ts'
import type { AgentConfig, InlineEnvironment, RunMode, RunSchedule } from '../domain/run.ts'
import type { OverlapPolicy, SlotKind, SlotOutcome } from '../domain/schedule.ts'
import type { RunState, TerminalState, TimelineType } from '../domain/state.ts'
import type { TeamLimits } from '../domain/team-limits.ts'
import type { SecretKind, SecretScope } from '../domain/vault/secret.ts'
import type { DeliveryState, PING, WebhookEvent, WebhookFilter } from '../domain/webhook.ts'
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
  scope: Generated<'Team' | 'User'>
  created_by_type: Generated<CallerType>
  created_by: Generated<string>
  executor_type: Generated<CallerType>
  executor: Generated<string>
  priority: Generated<number>
  concurrency_group: string | null
  concurrency_limit: number | null
  idle_minutes: number | null
  config: AgentConfig
  configuration: RunConfiguration | null
  environment: InlineEnvironment | null
  environment_id: Generated<string | null>
  metadata: Record<string, string>
  schedule: RunSchedule | null
  demo: boolean
  mode: Generated<RunMode>
  /** The name of the skill that it works by, for lists to be sorted by. */
  skill: Generated<string | null>
  conversation_id: Generated<string | null>
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

/** One row for each run, made and kept by triggers. */
export interface RunStatisticsTable {
  run_id: string
  team: string
  created_at: Time
  source: string
  agent: string
  model: string | null
  environment_id: string | null
  creator: string
  executor: string
  state: TerminalState | null
  run_class: number | null
  wait_class: number | null
  failure_code: string | null
  failure_phase: string | null
  total_tokens: Generated<number>
  cost_micro_usd: Generated<number>
}

export interface RunSearchTable {
  run_id: string
  words: string
}

export interface RunScoresTable {
  run_id: string
  scorer: string
  value: number
  passed: boolean | null
  explanation: string | null
  metadata: Record<string, unknown>
  created_by_type: CallerType
  created_by: string
  created_at: TimeByDefault
  updated_at: TimeByDefault
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
  /** Absent: normal. */
  mode?: RunMode
  questionId?: string
  optionId?: string
  reason?: string
  /** A cancel that is for the run's children, too. */
  cascade?: boolean
  execution?: number
  /** Files that came with it. */
  attachments?: number
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
  binding: CredentialBinding | null
  created_at: TimeByDefault
}

export interface ModelCallsTable {
  id: string
  run_id: string
  execution: number
  team: string
  provider: ProviderName
  endpoint: string | null
  model: string | null
  path: string
  gateway: string
  state: Generated<'open' | 'settled' | 'broken'>
  started_at: TimeByDefault
  touched_at: TimeByDefault
  ended_at: Time | null
  status: number | null
  complete: boolean | null
  request_bytes: number | null
  input_tokens: number | null
  cache_read_tokens: number | null
  cache_write_tokens: number | null
  cache_write_hour_tokens: number | null
  output_tokens: number | null
  reasoning_tokens: number | null
  estimated: Generated<boolean>
  input_cost: number | null
  cache_read_cost: number | null
  cache_write_cost: number | null
  output_cost: number | null
}

export interface ModelProvidersTable {
  uid: string
  team: string
  name: string
  format: ProviderName
  base_url: string
  models: string[]
  api_key: Buffer | null
  headers: Buffer | null
  created_by_type: CallerType
  created_by: string
  created_at: TimeByDefault
  updated_at: TimeByDefault
}

export interface ModelRulesTable {
  team: string
  allow: string[]
  deny: string[]
  updated_at: TimeByDefault
}

export interface LedgerTable {
  position: GeneratedAlways<number>
  key: string
  team: string
  kind: LedgerKind
  micro_credits: number
  micro_usd: number
  person_type: CallerType | null
  person: string | null
  run_id: string | null
  execution: number | null
  schedule_id: string | null
  detail: LedgerDetail
  created_at: TimeByDefault
}

/** What an entry says beside its sums; by its kind. */
export interface LedgerDetail {
  provider?: string
  /** The uid of the team's own endpoint. */
  endpoint?: string
  model?: string | null
  tokens?: { input: number; cache_read: number; cache_write: number; output: number }
  /** In millionths of a dollar; absent: no price is known. */
  cost?: { input: number; cache_read: number; cache_write: number; output: number }
  estimated?: boolean
  seconds?: number
  cpus?: number
  memory_mb?: number
  note?: string
}

export interface SpendingTable {
  team: string
  scope: BudgetScope
  thing: string
  month: string
  inference_micro_usd: Generated<number>
  compute_micro_usd: Generated<number>
  inference_micro_credits: Generated<number>
  compute_micro_credits: Generated<number>
  granted_micro_credits: Generated<number>
  purchased_micro_credits: Generated<number>
  tokens: Generated<number>
  compute_seconds: Generated<number>
  unpriced_calls: Generated<number>
}

export interface RunUsageTable {
  run_id: string
  model: string
  is_own_endpoint: boolean
  input_tokens: number
  cache_read_tokens: number
  cache_write_tokens: number
  output_tokens: number
  input_micro_usd: number
  cache_read_micro_usd: number
  cache_write_micro_usd: number
  output_micro_usd: number
  calls: number
}

export interface BudgetsTable {
  uid: string
  team: string
  scope: BudgetScope
  thing: string
  period: BudgetPeriod
  limit_micro_usd: number
  percents: number[]
  created_by_type: CallerType
  created_by: string
  created_at: TimeByDefault
  updated_at: TimeByDefault
}

export interface BudgetAlertsTable {
  budget_uid: string
  month: string
  limit_micro_usd: number
  percent: number
  spent_micro_usd: number
  run_id: string | null
  created_at: TimeByDefault
  told_at: Time | null
}

export interface BudgetStopsTable {
  uid: string
  run_id: string
  execution: number
  mail_id: string
  reason: StopReason
  budget_uid: string | null
  title: string
  created_at: TimeByDefault
  told_at: Time | null
  closed_at: Time | null
}

export interface SandboxMetersTable {
  id: Generated<string>
  run_id: string
  execution: number
  host_id: string | null
  cpus: number | null
  memory_mb: number | null
  began_at: Time
  ended_at: Time | null
  charged_seconds: Generated<number>
  remainder: Generated<number>
  charged_at: TimeByDefault
  is_settled: Generated<boolean>
}

export interface GitCredentialsTable {
  id: string
  team: string
  person: string | null
  name: string
  url: string
  type: 'token' | 'github_app'
  secret: Buffer
  username: string | null
  app_id: string | null
  api_url: string | null
  access: 'read' | 'write'
  forge: 'github' | 'gitlab' | null
  revision: Generated<number>
  last_used_at: Time | null
  created_by_type: CallerType
  created_by: string
  created_at: TimeByDefault
  updated_at: TimeByDefault
}

export interface GitTokensTable {
  token_hash: string
  run_id: string | null
  execution: number | null
  build_id: string | null
  environment_id: string | null
  for_host: boolean
  binding: CredentialBinding | null
  created_at: TimeByDefault
  expires_at: Time | null
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
  sealed_key: Generated<Buffer | null>
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
  cpus: Generated<number | null>
  memory_mb: Generated<number | null>
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
  /** Its uid. */
  name: string
  run_limit: number
  display_name: Generated<string>
  has_own_limit: Generated<boolean>
  /** Without those that it does not have. */
  limits: Generated<Partial<TeamLimits>>
  created_at: TimeByDefault
  updated_at: TimeByDefault
  deleted_at: Time | null
}

export interface PeopleTable {
  uid: string
  email: string
  display_name: string
  photo_url: string | null
  created_at: TimeByDefault
  updated_at: TimeByDefault
  disabled_at: Time | null
  deleted_at: Time | null
}

export interface MembersTable {
  team: string
  person: string
  role: Role
  joined_at: TimeByDefault
}

export interface IdentitiesTable {
  uid: string
  team: string
  name: string
  config: IdentityConfig
  on_behalf_of_enabled: Generated<boolean>
  is_default: Generated<boolean>
  created_by_type: CallerType
  created_by: string
  created_at: TimeByDefault
  updated_at: TimeByDefault
  deleted_at: Time | null
}

export interface ApiKeysTable {
  uid: string
  name: string
  prefix: string
  key_hash: string
  person: string | null
  agent: string | null
  team: string | null
  scope: Scope
  created_by_type: CallerType
  created_by: string
  made_with: string | null
  created_at: TimeByDefault
  expires_at: Time | null
  last_used_at: Time | null
  revoked_at: Time | null
}

export interface RunSharesTable {
  uid: string
  run_id: string
  shared_with: 'person' | 'team' | 'link'
  person: string | null
  team: string | null
  level: ShareLevel
  token_hash: string | null
  is_public: Generated<boolean>
  expires_at: Time | null
  created_by_type: CallerType
  created_by: string
  created_at: TimeByDefault
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
  created_by_type: Generated<CallerType>
  created_by: Generated<string>
  updated_by_type: Generated<CallerType>
  updated_by: Generated<string>
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
  again_with_force: boolean | null
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

export interface SchedulesTable {
  id: string
  team: string
  owner: string | null
  name: string
  cron_schedule: string
  time_zone: string
  enabled: boolean
  prompt: string
  mode: RunMode | null
  agent_uid: string | null
  agent_config: AgentConfig | null
  saved_prompt: SavedPromptUse | null
  metadata: Record<string, string>
  overlap_policy: OverlapPolicy
  catchup_seconds: number
  jitter_seconds: number
  pause_after_failures: number | null
  failures: Generated<number>
  paused_reason: string | null
  last_spawn_error: string | null
  last_ran: Time | null
  created_by_type: CallerType
  created_by: string
  updated_by_type: CallerType
  updated_by: string
  created_at: TimeByDefault
  updated_at: TimeByDefault
  deleted_at: Time | null
  revision: Generated<number>
  handed_revision: Generated<number>
  handed_at: Time | null
  upcoming: Generated<Date[]>
  accounted_to: TimeByDefault
}

export interface ScheduleSlotsTable {
  schedule_id: string
  slot: Time
  kind: SlotKind
  outcome: SlotOutcome
  reason: string | null
  run_id: string | null
  created_at: TimeByDefault
  known_at: Time | null
  over_at: Time | null
  told_at: Time | null
}

export interface ScheduleBackfillsTable {
  id: string
  schedule_id: string
  from_time: Time
  to_time: Time
  overlap_policy: OverlapPolicy
  created_at: TimeByDefault
  handed_at: Time | null
}

export interface AuditInboxTable {
  actor_type: AuditEntry['actor']['type']
  actor_uid: string
  actor_name: string | null
  key_id: string | null
  address: string | null
  user_agent: string | null
  team: string | null
  action: string
  thing_type: string | null
  thing_uid: string | null
  detail: Record<string, unknown>
}

export interface AuditLogTable extends AuditInboxTable {
  position: GeneratedAlways<number>
  time: GeneratedAlways<Date>
  hash: GeneratedAlways<Buffer>
}

export interface ContentsTable {
  uid: string
  bytes: number
  sha256: string
  created_at: TimeByDefault
}

export interface ArtifactsTable {
  uid: string
  run_id: string
  execution: number
  key: string
  type: ArtifactType
  data: Record<string, unknown>
  content_uid: string | null
  wanted_path: string | null
  created_at: TimeByDefault
}

export interface AttachmentsTable {
  uid: string
  run_id: string
  mail_id: string
  position: number
  file_name: string
  mime_type: string
  content_uid: string | null
}

export interface ToolCredentialsTable {
  token_hash: string
  run_id: string
  execution: number
  pass: Generated<string>
  created_at: TimeByDefault
}

export interface ToolCallsTable {
  run_id: string
  key: string
  number: number
  tool: string
  answer: string
  created_at: TimeByDefault
}

export interface AsksTable {
  uid: string
  run_id: string
  mail_id: string
  title: string
  options: AgentQuestion['options']
  free_text: boolean
  number: number
}

export interface PullRequestsTable {
  run_id: string
  path: string
  repository: string
  branch: string
  execution: number
  state: PullRequestState
  url: string | null
  number: number | null
  status: PullRequestStatus | null
  notes: ColumnType<string[], string[] | undefined, string[]>
  failure: PullRequestFailure | null
  attempts: Generated<number>
  told: Generated<number>
  created_at: TimeByDefault
  updated_at: TimeByDefault
}

export interface SecretsTable {
  uid: string
  team: string
  scope: SecretScope
  owner: string
  name: string
  kind: SecretKind
  path: string | null
  description: string
  version: Generated<number>
  sealed: Buffer
  former_sealed: Buffer | null
  created_by_type: CallerType
  created_by: string
  updated_by_type: CallerType
  updated_by: string
  created_at: TimeByDefault
  updated_at: TimeByDefault
  last_used_at: Time | null
}

export interface RunSecretsTable {
  run_id: string
  execution: number
  name: string
  version: number
  secret: string
  scope: SecretScope
  kind: SecretKind
  given_at: TimeByDefault
}

export interface GivenValuesTable {
  run_id: string
  secret: string
  version: number
  sealed: Buffer
}

export interface ExternalReferencesTable {
  team: string
  key: string
  run_id: string
  created_at: TimeByDefault
}

export interface WebhooksTable {
  id: string
  team: string
  name: string
  url: string
  events: WebhookEvent[]
  filter: WebhookFilter
  enabled: boolean
  secret_number: Generated<number>
  disabled_reason: string | null
  failing_since: Time | null
  created_by_type: string
  created_by: string
  created_at: TimeByDefault
  updated_at: TimeByDefault
}

export interface McpServersTable {
  uid: string
  team: string
  name: string
  description: string | null
  config: McpServer
  created_by_type: CallerType
  created_by: string
  created_at: TimeByDefault
  updated_at: TimeByDefault
}

export interface WebhookDeliveriesTable {
  id: Generated<string>
  webhook_id: string
  run_id: string | null
  event: WebhookEvent | typeof PING
  data: Record<string, unknown>
  body: string | null
  state: Generated<DeliveryState>
  attempts: Generated<number>
  due_at: TimeByDefault
  since: TimeByDefault
  status: number | null
  error: string | null
  response: string | null
  duration_ms: number | null
  created_at: TimeByDefault
  attempted_at: Time | null
  delivered_at: Time | null
}

export interface SharedItemsTable {
  uid: string
  team: string
  kind: ItemKind
  /** Null: the team's. */
  owner: string | null
  name: string
  version: Generated<number>
  /** As its kind has it: see domain/. */
  content: Record<string, unknown>
  is_default: Generated<boolean>
  created_by_type: CallerType
  created_by: string
  updated_by_type: CallerType
  updated_by: string
  created_at: TimeByDefault
  updated_at: TimeByDefault
  deleted_at: Time | null
}

export interface SharedItemVersionsTable {
  uid: string
  version: number
  name: string
  content: Record<string, unknown>
  created_by_type: CallerType
  created_by: string
  created_at: TimeByDefault
}

export interface PersonLoginsTable {
  issuer: string
  subject: string
  person: string
  created_at: TimeByDefault
  last_used_at: TimeByDefault
}

export interface SignInsTable {
  token_hash: string
  state: string
  nonce: string
  verifier: string
  expires_at: Time
}

export interface SessionsTable {
  uid: string
  token_hash: string
  person: string | null
  operator_key_hash: string | null
  key_uid: string | null
  address: string
  user_agent: string | null
  created_at: TimeByDefault
  last_used_at: TimeByDefault
  expires_at: Time
}

export interface SkillReadingsTable {
  id: string
  environment_id: string
  host_id: string
  created_at: TimeByDefault
  dispatched_at: Time | null
  finished_at: Time | null
  failure: string | null
  repositories: ReadRepository[] | null
}

/** What came of a repository as its skills were to be read. */
export interface ReadRepository {
  url: string
  owner: string
  repo: string
  /** Null where it was not read, and where it is empty. */
  revision: string | null
  failure: string | null
}

export interface SkillContentsTable {
  hash: string
  text: string
  files: Buffer
}

export interface SkillsTable {
  environment_id: string
  position: number
  path: string
  owner: string
  repo: string
  url: string
  revision: string
  name: string
  description: string
  problem: string | null
  content: string | null
}

export interface RunSkillsTable {
  run_id: string
  position: number
  team: string
  name: string
  description: string
  owner: string
  repo: string
  url: string
  path: string
  revision: string
  content: string
}

export interface Schema {
  skill_readings: SkillReadingsTable
  skill_contents: SkillContentsTable
  skills: SkillsTable
  run_skills: RunSkillsTable
  secrets: SecretsTable
  run_secrets: RunSecretsTable
  given_values: GivenValuesTable
  contents: ContentsTable
  artifacts: ArtifactsTable
  attachments: AttachmentsTable
  tool_credentials: ToolCredentialsTable
  tool_calls: ToolCallsTable
  asks: AsksTable
  runs: RunsTable
  run_statistics: RunStatisticsTable
  run_search: RunSearchTable
  run_scores: RunScoresTable
  executions: ExecutionsTable
  state_changes: StateChangesTable
  events: EventsTable
  journals: JournalsTable
  timeline: TimelineTable
  mail: MailTable
  questions: QuestionsTable
  run_credentials: RunCredentialsTable
  model_calls: ModelCallsTable
  model_providers: ModelProvidersTable
  model_rules: ModelRulesTable
  ledger: LedgerTable
  spending: SpendingTable
  run_usage: RunUsageTable
  budgets: BudgetsTable
  budget_alerts: BudgetAlertsTable
  budget_stops: BudgetStopsTable
  sandbox_meters: SandboxMetersTable
  git_credentials: GitCredentialsTable
  git_tokens: GitTokensTable
  results: ResultsTable
  checkpoints: CheckpointsTable
  checkpoint_pieces: CheckpointPiecesTable
  idempotency: IdempotencyTable
  hosts: HostsTable
  blocked_hosts: BlockedHostsTable
  worker_keys: WorkerKeysTable
  teams: TeamsTable
  people: PeopleTable
  members: MembersTable
  identities: IdentitiesTable
  api_keys: ApiKeysTable
  run_shares: RunSharesTable
  places: PlacesTable
  environments: EnvironmentsTable
  builds: BuildsTable
  build_log: BuildLogTable
  schedules: SchedulesTable
  schedule_slots: ScheduleSlotsTable
  schedule_backfills: ScheduleBackfillsTable
  audit_inbox: AuditInboxTable
  audit_log: AuditLogTable
  shared_items: SharedItemsTable
  shared_item_versions: SharedItemVersionsTable
  person_logins: PersonLoginsTable
  sign_ins: SignInsTable
  sessions: SessionsTable
  pull_requests: PullRequestsTable
  external_references: ExternalReferencesTable
  mcp_servers: McpServersTable
  webhooks: WebhooksTable
  webhook_deliveries: WebhookDeliveriesTable
}
