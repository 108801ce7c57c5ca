// Things that the examples of several routes show.

export const runId = '0198c0de-7a11-7000-8000-000000000001'
export const otherRunId = '0198c0de-7a11-7000-8000-000000000002'
export const messageId = '0198c0de-7a11-7000-8000-000000000011'
export const environmentUid = 'Zk3vQ8mTn1bXw5rLc7Hy2d'
export const buildId = '0198c0de-7a11-7000-8000-000000000021'
export const createdAt = '2026-01-31T12:00:00.000Z'
export const updatedAt = '2026-01-31T12:05:30.000Z'

export const operator = {
  type: 'user',
  uid: 'operator',
  display_name: 'Operator',
  email: null,
  photo_url: null,
}

export const run = {
  run_id: runId,
  task_id: runId,
  title: 'Fix the failing test',
  state: 'INPROGRESS',
  prompt: 'Fix the failing test',
  created_at: createdAt,
  updated_at: updatedAt,
  started_at: '2026-01-31T12:00:02.000Z',
  finished_at: null,
  run_time: 'PT5M28S',
  status_message: null,
  failure: null,
  queue: null,
  team: 'default',
  scope: { type: 'Team', uid: 'default' },
  creator: operator,
  executor: operator,
  priority: 0,
  concurrency: null,
  source: 'API',
  schedule: null,
  execution_location: 'REMOTE',
  execution: 1,
  is_sandbox_running: true,
  is_run_type_cancellable: true,
  agent_config: { name: 'ci', harness: { type: 'codex' } },
  agent_skill: null,
  skills: [],
  configuration: {
    sources: {
      name: { type: 'request' },
      'harness.agent': { type: 'profile', uid: 'Pr9fT2kWm5Xb8Qc1Ld4Rz7', name: 'reviewer', version: 3 },
    },
    profile: { uid: 'Pr9fT2kWm5Xb8Qc1Ld4Rz7', name: 'reviewer', version: 3 },
    saved_prompt: null,
    rules: [{ uid: 'Ru3gH6jNv9Ds2Ky5Ae8Bt1', name: 'house style', version: 1 }],
  },
  environment: {
    repos: [{ url: 'https://github.com/you/project.git', ref: 'main' }],
    setup_commands: ['npm ci'],
    env: {},
  },
  conversation_id: runId,
  mode: 'normal',
  scores: [],
  secrets: [],
  request_usage: {
    inference_cost: 12.4,
    compute_cost: 0.5,
    platform_cost: 0,
    inference_cost_usd: 0.124,
    compute_cost_usd: 0.005,
    platform_cost_usd: 0,
    total_tokens: 48_000,
    inference_cost_breakdown_usd: {
      input_cost_usd: 0.03,
      input_cache_read_cost_usd: 0.01,
      input_cache_write_cost_usd: 0.024,
      output_cost_usd: 0.06,
    },
    usage_by_category: {
      primary_agent: {
        platform_usage_usd: 0,
        direct_api_inference_usage: {
          'claude-sonnet-5-5': {
            cost_usd: { input: 0.03, input_cache_read: 0.01, input_cache_write: 0.024, output: 0.06 },
            token_count: { input: 10_000, input_cache_read: 28_000, input_cache_write: 6_000, output: 4_000 },
          },
        },
      },
    },
    compute_seconds: 180,
    unpriced_calls: 0,
  },
  budgets: [{ scope: 'run', limit_usd: 5, spent_usd: 0.129, percent: 2.5 }],
  session_id: null,
  parent_run_id: null,
  root_run_id: runId,
  forked_from: null,
  checkpoint: null,
  metadata: { ticket: 'T-1' },
  artifacts: [],
  children: [],
  last_event_sequence: 42,
  blocked_hosts: [],
  questions: [],
  demo: false,
}

export const build = {
  build_id: buildId,
  environment_id: environmentUid,
  worker_id: 'machine-1',
  reason: 'manual',
  force: false,
  state: 'READY',
  created_at: createdAt,
  started_at: createdAt,
  finished_at: updatedAt,
  used_at: null,
  result: {
    key: 'c0ffee00'.repeat(8),
    reused: false,
    bytes: 184_549_376,
    image: null,
    commits: { project: '4f0c2b7d9e1a6c3f5b8d0e2a4c6f8b1d3e5a7c90' },
  },
  failure: null,
}

export const environmentBody = {
  name: 'project',
  description: 'The project with its dependencies',
  image: 'node:24-bookworm',
  repos: [{ url: 'https://github.com/you/project.git', ref: 'main' }],
  setup_commands: ['npm ci'],
}

export const environment = {
  uid: environmentUid,
  config: {
    ...environmentBody,
    docker_image: 'node:24-bookworm',
    github_repos: [{ owner: 'you', repo: 'project' }],
    env: {},
    prepare: true,
    wait_for_build: false,
    rebuild_hours: 24,
  },
  created_at: createdAt,
  last_updated: updatedAt,
  setup_failed: false,
  team: 'default',
  scope: { type: 'Team', uid: 'default' },
  creator: operator,
  last_editor: operator,
  runs_at_work: 0,
  builds: [build],
}

export const worker = {
  worker_id: 'machine-1',
  pool: 'default',
  kind: 'docker',
  version: '0.1.0',
  state: 'live',
  capacity: 5,
  in_use: 1,
  connected_at: createdAt,
  last_seen_at: updatedAt,
  draining_at: null,
  egress: 'public',
  key_uid: null,
}
