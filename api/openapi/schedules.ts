import {
  Backfill,
  BackfillResponse,
  CreateSchedule,
  RunNowResponse,
  ScheduleDeleted,
  ScheduleItem,
  ScheduleList,
  ScheduleRuns,
  ScheduleRunsQuery,
  UpcomingQuery,
  UpcomingResponse,
  UpdateSchedule,
} from '../../domain/schedule.ts'
import { json, type Section } from './declaration.ts'
import { createdAt, environmentUid, operator, otherRunId, runId, updatedAt } from './examples.ts'

const body = {
  name: 'Daily Code Review',
  cron_schedule: '0 9 * * MON-FRI',
  time_zone: 'Europe/Berlin',
  prompt: 'Review open pull requests and provide feedback',
  agent_config: { environment_id: environmentUid },
  metadata: { kind: 'review' },
  overlap_policy: 'skip',
}

const schedule = {
  ...body,
  id: 'a4Q8mTn1bXw5rLc7Hy2dZk',
  enabled: true,
  mode: 'normal',
  saved_prompt: null,
  created_at: createdAt,
  updated_at: updatedAt,
  agent_uid: null,
  environment: {
    name: 'web',
    description: '',
    docker_image: '',
    github_repos: [{ owner: 'you', repo: 'project' }],
    setup_commands: ['npm ci'],
  },
  created_by: operator,
  updated_by: operator,
  scope: { type: 'Team', uid: 'default' },
  history: { last_ran: '2026-01-30T08:00:00.000Z', next_run: '2026-02-02T08:00:00.000Z' },
  last_spawn_error: null,
  catchup_window_seconds: 3600,
  jitter_seconds: 0,
  pause_after_failures: null,
  failures_in_a_row: 0,
  spent: {
    total: { credits: 52, usd: 0.52 },
    inference: { credits: 50, usd: 0.5 },
    compute: { credits: 2, usd: 0.02 },
  },
  paused_reason: null,
}

const away = { 503: 'Temporal does not answer. Try again in a moment.' }

export const schedules: Section = {
  name: 'Schedules',
  description: 'Runs that begin by themselves, at the times of a cron expression.',
  routes: [
    {
      method: 'get',
      path: '/agent/schedules',
      id: 'listSchedules',
      summary: 'List schedules',
      description: 'By name. Personal ones are for their owner, and for the admins of the team.',
      answers: { 200: json(ScheduleList, { schedules: [schedule] }) },
    },
    {
      method: 'post',
      path: '/agent/schedules',
      id: 'createSchedule',
      summary: 'Create a schedule',
      description: 'It is refused where no run of it could be started at this moment.',
      body: { schema: CreateSchedule, example: body },
      idempotent: true,
      answers: { 201: json(ScheduleItem, schedule) },
      errors: {
        404: '`agent_config.environment_id` names no environment, or a skill is not known.',
        409: 'The name is taken.',
        422: 'It asks for something that runs of this server cannot have, or the Idempotency-Key was used for another body.',
      },
    },
    {
      method: 'get',
      path: '/agent/schedules/{id}',
      id: 'getSchedule',
      summary: 'Read a schedule',
      answers: { 200: json(ScheduleItem, schedule) },
    },
    {
      method: 'put',
      path: '/agent/schedules/{id}',
      id: 'replaceSchedule',
      summary: 'Replace a schedule',
      description:
        'A field that is left out is as if it had never been given. Failures are counted anew, and `enabled: true` resumes it.',
      body: { schema: UpdateSchedule, example: { ...body, enabled: true } },
      answers: { 200: json(ScheduleItem, schedule) },
      errors: { 409: 'The name is taken.', 422: 'It asks for something that runs of this server cannot have.' },
    },
    {
      method: 'delete',
      path: '/agent/schedules/{id}',
      id: 'deleteSchedule',
      summary: 'Delete a schedule',
      answers: { 200: json(ScheduleDeleted, { success: true }, 'It is gone. Its runs stay, and go on.') },
    },
    {
      method: 'post',
      path: '/agent/schedules/{id}/pause',
      id: 'pauseSchedule',
      summary: 'Pause a schedule',
      description: 'Runs that go on are left to go on.',
      answers: {
        200: json(ScheduleItem, {
          ...schedule,
          enabled: false,
          history: { last_ran: '2026-01-30T08:00:00.000Z', next_run: null },
        }),
      },
    },
    {
      method: 'post',
      path: '/agent/schedules/{id}/resume',
      id: 'resumeSchedule',
      summary: 'Resume a schedule',
      description:
        'What had failed before is forgiven. Times that passed meanwhile are left out; `backfill` brings them.',
      answers: { 200: json(ScheduleItem, schedule) },
    },
    {
      method: 'post',
      path: '/agent/schedules/{id}/run',
      id: 'runScheduleNow',
      summary: 'Start a run of a schedule now',
      description:
        'Whatever `overlap_policy` says, and also while it is paused. Later times see this run as any other of the schedule.',
      idempotent: true,
      answers: {
        200: json(RunNowResponse, {
          run_id: runId,
          task_id: runId,
          state: 'QUEUED',
          at_capacity: false,
          scheduled_time: '2026-01-31T12:00:01.000Z',
        }),
      },
      errors: { 422: 'The run asks for something that runs of this server cannot have.' },
    },
    {
      method: 'post',
      path: '/agent/schedules/{id}/backfill',
      id: 'backfillSchedule',
      summary: 'Start the runs of times that have passed',
      description: 'Of those times that have started none. A time that has a run gets no second one.',
      body: {
        schema: Backfill,
        example: { from: '2026-01-26T00:00:00Z', to: '2026-01-31T00:00:00Z' },
      },
      idempotent: true,
      answers: {
        202: json(BackfillResponse, {
          scheduled_times: ['2026-01-27T08:00:00.000Z', '2026-01-28T08:00:00.000Z'],
          already_started: ['2026-01-29T08:00:00.000Z'],
        }),
      },
      errors: away,
    },
    {
      method: 'get',
      path: '/agent/schedules/{id}/upcoming',
      id: 'listUpcomingTimes',
      summary: 'List the next times of a schedule',
      query: UpcomingQuery,
      answers: {
        200: json(UpcomingResponse, {
          enabled: true,
          time_zone: 'Europe/Berlin',
          times: ['2026-02-02T08:00:00.000Z', '2026-02-03T08:00:00.000Z'],
        }),
      },
      errors: away,
    },
    {
      method: 'get',
      path: '/agent/schedules/{id}/runs',
      id: 'listScheduleRuns',
      summary: 'List what became of the times of a schedule',
      description: 'The latest first, each with its run, or the reason why there is none.',
      query: ScheduleRunsQuery,
      answers: {
        200: json(ScheduleRuns, {
          slots: [
            {
              scheduled_time: '2026-01-30T08:00:00.000Z',
              kind: 'scheduled',
              outcome: 'started',
              reason: null,
              run: {
                run_id: runId,
                title: 'Daily Code Review',
                state: 'SUCCEEDED',
                created_at: '2026-01-30T08:00:00.120Z',
                finished_at: '2026-01-30T08:04:10.000Z',
              },
            },
            {
              scheduled_time: '2026-01-29T08:00:00.000Z',
              kind: 'scheduled',
              outcome: 'skipped',
              reason: `The run ${otherRunId} was still going on (overlap_policy: skip).`,
              run: null,
            },
          ],
          page_info: { has_next_page: false },
        }),
      },
    },
  ],
}
