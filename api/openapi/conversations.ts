import { z } from 'zod'
import { ConversationResponse } from '../../domain/conversation.ts'
import { RunEvent } from '../../domain/event.ts'
import { PostScores, ScoresResponse } from '../../domain/score.ts'
import { json, type RouteAnswer, type Section } from './declaration.ts'
import { createdAt, messageId, runId } from './examples.ts'

const conversation = {
  conversation_id: runId,
  request_usage: null,
  steps: [
    {
      id: messageId,
      description: 'Fix the failing test in the parser',
      run_id: runId,
      started_at: createdAt,
      messages: [
        {
          role: 'user',
          content: [{ type: 'text', text: 'Fix the failing test in the parser' }],
          message_ids: [messageId],
          timestamp: createdAt,
        },
        {
          role: 'assistant',
          content: [
            {
              type: 'action',
              id: 'call_1',
              category: 'command',
              name: 'npm test',
              input: { command: ['npm', 'test'] },
            },
          ],
          timestamp: createdAt,
        },
        {
          role: 'tool',
          content: [
            {
              type: 'action_result',
              action_id: 'call_1',
              category: 'command',
              name: 'npm test',
              state: 'completed',
              output: '12 passed',
            },
          ],
          timestamp: createdAt,
        },
        {
          role: 'assistant',
          content: [{ type: 'text', text: 'The test expects a sorted list. It gets one now.' }],
          timestamp: createdAt,
        },
      ],
      steps: [],
      completed_at: createdAt,
    },
  ],
}

const link: RouteAnswer = {
  description:
    'A link that needs no key and is good for a while: the events, one a line, as JSON (`application/x-ndjson`).',
  headers: { location: 'The link.' },
}

export const conversations: Section = {
  name: 'Conversations',
  description: 'What was said, as steps with messages; and the transcript it is made from, as one file.',
  routes: [
    {
      method: 'get',
      path: '/agent/runs/{runId}/conversation',
      id: 'getRunConversation',
      summary: 'Read what was said in a run',
      description: 'One step for each message that the agent was given. Written as it is read, however long it is.',
      answers: { 200: json(ConversationResponse, conversation) },
    },
    {
      method: 'get',
      path: '/agent/runs/{runId}/transcript',
      id: 'getRunTranscript',
      summary: 'Fetch the transcript of a run as a file',
      answers: { 302: link },
    },
    {
      method: 'get',
      path: '/agent/conversations/{conversationId}',
      id: 'getConversation',
      summary: 'Read a conversation',
      description: 'Of all its runs, one after the other, as far as the caller may see them.',
      answers: { 200: json(ConversationResponse, conversation) },
    },
    {
      method: 'get',
      path: '/agent/conversations/{conversationId}/transcript',
      id: 'getConversationTranscript',
      summary: 'Fetch the transcript of a conversation as a file',
      answers: { 302: link },
    },
    {
      method: 'get',
      path: '/links/transcripts/{runIds}',
      root: true,
      open: true,
      id: 'getLinkedTranscript',
      summary: 'A transcript, by its link',
      params: { runIds: 'Ids of runs, separated by commas.' },
      query: z.object({
        expires: z.string().describe('Seconds since 1970.'),
        signature: z.string().describe('Of the path and `expires`, by the server.'),
      }),
      answers: {
        200: {
          description: 'One event a line: a RunEvent, with its `run_id`.',
          content: {
            'application/x-ndjson': {
              schema: z.string(),
              example: `${JSON.stringify({
                run_id: runId,
                ...RunEvent.parse({
                  sequence: 7,
                  time: createdAt,
                  kind: 'message',
                  execution: 1,
                  data: { text: 'The test expects a sorted list.' },
                }),
              })}\n`,
            },
          },
        },
      },
      errors: { 403: 'The link is not valid, or not any more.' },
    },
    {
      method: 'post',
      path: '/agent/runs/{runId}/scores',
      id: 'scoreRun',
      summary: 'Score a run',
      description: 'A later score of the same scorer takes the place of the one before. The run shows its scores.',
      body: { schema: PostScores, example: { scores: [{ scorer: 'tests', value: 0.92, passed: true }] } },
      idempotent: true,
      answers: {
        200: json(ScoresResponse, { run_id: runId, scores: [score()], errors: [] }, 'All are stored.'),
        206: json(
          ScoresResponse,
          { run_id: runId, scores: [score()], errors: [{ index: 1, message: 'value: must be a number' }] },
          'Some are stored; `errors` says which are not.',
        ),
      },
    },
  ],
}

function score() {
  return { scorer: 'tests', value: 0.92, passed: true, explanation: null, metadata: {}, scored_at: createdAt }
}
