import { z } from 'zod'
import { CheckpointPage, CheckpointQuery } from '../../domain/checkpoint.ts'
import { EventPage, EventQuery, Timeline } from '../../domain/event.ts'
import { ResultQuery, Results } from '../../domain/result.ts'
import { json, type Section } from './declaration.ts'
import { createdAt, messageId, runId } from './examples.ts'

const event = {
  sequence: 7,
  time: createdAt,
  kind: 'message',
  execution: 1,
  data: { text: 'The test expects a sorted list.' },
}

export const transcript: Section = {
  name: 'What a run did',
  description: 'Its transcript, its timeline, its work product, and its checkpoints.',
  routes: [
    {
      method: 'get',
      path: '/agent/runs/{runId}/events',
      id: 'readEvents',
      summary: 'Read the transcript, by pages or as a stream',
      description:
        'With `Accept: text/event-stream` it is a stream: `id` is the sequence, `data` the event. `event: end` closes it when the run is over. Whoever comes back with `Last-Event-ID` or `after` reads on without a gap.',
      query: EventQuery,
      headers: { 'Last-Event-ID': 'Of a stream: the last sequence that was read.' },
      answers: {
        200: {
          description: 'In order, without holes.',
          content: {
            'application/json': {
              schema: EventPage,
              example: {
                events: [event],
                page_info: { has_next_page: true, next_cursor: '7', last_sequence: 42 },
              },
            },
            'text/event-stream': {
              schema: z.string(),
              example: `id: 7\ndata: ${JSON.stringify(event)}\n\nevent: end\ndata: {"state":"SUCCEEDED","last_sequence":7}\n\n`,
            },
          },
        },
      },
    },
    {
      method: 'get',
      path: '/agent/runs/{runId}/timeline',
      id: 'readTimeline',
      summary: 'Read the timeline',
      description: 'Created, claimed, container ready, agent started, blocked, and one ending for each execution.',
      answers: {
        200: json(Timeline, {
          events: [
            {
              event_uuid: messageId,
              run_id: runId,
              execution_id: `${runId}-1`,
              execution: 1,
              event_type: 'oz_run_created',
              occurred_at: createdAt,
              payload: {},
            },
          ],
        }),
      },
    },
    {
      method: 'get',
      path: '/agent/runs/{runId}/diff',
      id: 'readWorkProduct',
      summary: 'Read the work product',
      query: ResultQuery,
      answers: {
        200: {
          description: 'A patch as git writes it; commits and counts; or a bundle of the commits.',
          content: {
            'text/x-diff': { schema: z.string(), example: 'diff --git a/README.md b/README.md\n' },
            'application/json': {
              schema: Results,
              example: {
                repositories: [
                  {
                    path: 'project',
                    url: 'https://github.com/you/project.git',
                    base_commit: '4f0c2b7d9e1a6c3f5b8d0e2a4c6f8b1d3e5a7c90',
                    head_commit: '9b1d3e5a7c904f0c2b7d9e1a6c3f5b8d0e2a4c6f',
                    branch: 'main',
                    commits: [
                      {
                        commit: '9b1d3e5a7c904f0c2b7d9e1a6c3f5b8d0e2a4c6f',
                        subject: 'Sort the list',
                        author: 'Ambient',
                        time: createdAt,
                      },
                    ],
                    files_changed: 1,
                    insertions: 2,
                    deletions: 1,
                    note: null,
                    push: null,
                    execution: 1,
                    patch_bytes: 412,
                    bundle_bytes: 1_024,
                  },
                ],
              },
            },
            'application/x-git-bundle': { schema: z.string().meta({ format: 'binary' }), example: '# v2 git bundle\n' },
          },
        },
      },
      errors: { 404: 'There is no such run, no such repository in it, or its patch or bundle was not kept.' },
    },
    {
      method: 'get',
      path: '/agent/runs/{runId}/checkpoints',
      id: 'listCheckpoints',
      summary: 'List the checkpoints that are kept',
      description: 'The newest first. A run can begin from one, by `fork_from`.',
      query: CheckpointQuery,
      answers: {
        200: json(CheckpointPage, {
          checkpoints: [
            {
              checkpoint_id: messageId,
              run_id: runId,
              number: 1,
              execution: 1,
              message_id: messageId,
              taken_at: createdAt,
              bytes: 20_480,
              files_changed: 1,
              repositories: [{ path: 'project', head_commit: null, branch: 'main', files_changed: 1 }],
              session: true,
              left_out: [],
              newest: true,
              late: false,
            },
          ],
          page_info: { has_next_page: false },
        }),
      },
    },
  ],
}
