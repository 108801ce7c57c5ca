import { z } from 'zod'
import {
  Answer,
  AnswerResponse,
  Cancel,
  CancelResponse,
  FollowUp,
  FollowUpResponse,
  RunItem,
  StartRun,
  StartRunResponse,
} from '../../domain/run.ts'
import { RunListQuery, RunPage } from '../../domain/run-list.ts'
import { json, type RouteDeclaration, type Section } from './declaration.ts'
import { messageId, otherRunId, run, runId } from './examples.ts'

const start = {
  method: 'post',
  path: '/agent/runs',
  id: 'startRun',
  summary: 'Start a run',
  description:
    'Answered as soon as the run is written down. With `at_capacity` it waits in line: it is queued, not refused. ' +
    'Fields that are not known have no effect and are named in `warnings`; in objects that no other API has they are refused.',
  body: {
    schema: StartRun,
    example: {
      prompt: 'Fix the failing test',
      title: 'Fix CI',
      config: { name: 'ci', harness: { type: 'codex' }, permission_policy: 'ask' },
      environment: { repos: [{ url: 'https://github.com/you/project.git', ref: 'main' }], setup_commands: ['npm ci'] },
      metadata: { ticket: 'T-1' },
    },
  },
  idempotent: true,
  answers: { 200: json(StartRunResponse, { run_id: runId, task_id: runId, state: 'QUEUED', at_capacity: false }) },
  errors: {
    404: '`config.environment_id` names no environment of the team; or `skill` no skill of its environments.',
    409: '`parent_run_id` was cancelled with its children, or `fork_from` has no checkpoint yet, or no longer.',
    422: 'A field of the Oz API that this server does not serve, an image where no host has containers, or an Idempotency-Key that was used for another body.',
  },
} as const satisfies RouteDeclaration

const cancel = {
  method: 'post',
  path: '/agent/runs/{runId}/cancel',
  id: 'cancelRun',
  summary: 'Cancel a run',
  description:
    'The agent is stopped within seconds. The runs that it began are left alone, unless `cascade` is true. Official clients send no body.',
  body: { schema: Cancel, example: { cascade: true }, optional: true },
  idempotent: true,
  answers: {
    200: {
      description: 'The id of the run as bare text; with `cascade`, all that are being cancelled.',
      content: {
        'text/plain': { schema: z.uuid(), example: runId },
        'application/json': {
          schema: CancelResponse,
          example: { run_id: runId, cancelled_run_ids: [runId, otherRunId] },
        },
      },
    },
  },
  errors: { 400: 'The run is over, or a field does not fit.' },
} as const satisfies RouteDeclaration

export const runs: Section = {
  name: 'Runs',
  description: 'Tasks for an agent: one from its first message on, with every follow-up.',
  routes: [
    start,
    {
      ...start,
      path: '/agent/run',
      id: 'startRunByOldPath',
      summary: 'Start a run, by the older path',
      deprecated: true,
    },
    {
      method: 'get',
      path: '/agent/runs',
      id: 'listRuns',
      summary: 'List runs',
      description: 'Pages go on where they ended, whatever was inserted in between.',
      query: RunListQuery,
      answers: { 200: json(RunPage, { runs: [run], page_info: { has_next_page: false } }) },
    },
    {
      method: 'get',
      path: '/agent/runs/{runId}',
      id: 'getRun',
      summary: 'Read a run',
      answers: { 200: json(RunItem, run) },
    },
    cancel,
    {
      ...cancel,
      path: '/agent/tasks/{runId}/cancel',
      id: 'cancelTask',
      summary: 'Cancel a run, by the older path',
      deprecated: true,
    },
    {
      method: 'post',
      path: '/agent/runs/{runId}/followups',
      id: 'followUp',
      summary: 'Send a message to a run',
      description:
        'During a turn it waits for the end, or interrupts. After the end it begins a new execution of the same run.',
      body: { schema: FollowUp, example: { message: 'Now the documentation as well', delivery: 'queue' } },
      idempotent: true,
      answers: {
        200: json(FollowUpResponse, { run_id: runId, message_id: messageId, state: 'INPROGRESS' }, 'It is accepted.'),
      },
      errors: {
        409: 'The run is over, and its conversation goes on in another run that is not.',
        422: 'A field of the Oz API that this server does not serve, or an Idempotency-Key that was used for another body.',
      },
    },
    {
      method: 'post',
      path: '/agent/runs/{runId}/answers',
      id: 'answerQuestion',
      summary: 'Answer a question of a run',
      description: 'A run that asks a person is BLOCKED, and its `questions` say what can be answered.',
      body: { schema: Answer, example: { option_id: 'allow' } },
      idempotent: true,
      answers: {
        200: json(AnswerResponse, { run_id: runId, question_id: '1-7', option_id: 'allow_once' }),
      },
      errors: { 409: 'The run does not wait for an answer, or it was given already.' },
    },
  ],
}
