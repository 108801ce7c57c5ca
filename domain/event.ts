// One row of a run's transcript.
import { z } from 'zod'
import { pageLimit } from './page.ts'
import { timelineTypes } from './state.ts'

/**
 * What a transcript event can be. The first group keeps the meaning of the
 * Agent Client Protocol's session updates; the second is the run's own.
 */
export const eventKinds = [
  'message', // the agent speaks; a chunk of text: {text}
  'thought', // the agent thinks aloud; a chunk: {text}
  'tool_call', // ACP ToolCall, as the agent sent it
  'tool_update', // ACP ToolCallUpdate: only what changed
  'plan', // {entries: [{content, priority, status}]}
  'usage', // {used?, size?, cost?, ...}: context and money so far
  'mode', // {mode_id}
  'commands', // {commands: [{name, description}]}
  'session_info', // {title?, ...}
  'unknown_update', // an update of a kind newer than this server; kept whole
  'prompt', // a person's message, at the moment the agent got it: {message_id, text}
  'question', // the agent asks: {question_id, tool_call, options: [{option_id, name, kind}]}
  'answer', // a person (or the policy) answered: {question_id, option_id, by}
  'budget', // what is spent reaches a share of a budget, stops the run, or may be more: {what: alert|stopped|raised, message, scope?, percent?, limit_usd?, spent_usd?}
  'progress', // the agent tells how far it is: {message, percent?}
  'artifact', // handed over beside the repositories: {artifact_uid, artifact_type, title?, filename?, url?, branch?}
  'child', // the agent has started another run: {run_id, title}
  'turn_end', // {stop_reason, usage?}
  'mcp_server', // a server of tools was tried before the agent began: {name, type, state: ready | failed, tools?, reason?, exit_code?, log_tail?, milliseconds?}
  'setup', // a line of set-up output: {step, stream, text} or {step, command} or {step, exit_code, duration_ms}
  'output', // a line of a command agent's output: {stream, text}
  'state', // the run's state changed: {state, execution, failure?, message?}
  'result', // the work product: {repos: [{path, branch, commits, files_changed, insertions, deletions, bundle, note?, push?}]}; bundle: whether its commits are kept
  'warning', // {code, message}
  'error', // {failure}
] as const

export type EventKind = (typeof eventKinds)[number]

/** A transcript event as it is served. */
export const RunEvent = z
  .object({
    sequence: z.number().int().min(1).describe('Counts from 1 over the whole run, without holes.'),
    time: z.iso.datetime().describe('When it happened, as seen by the host.'),
    kind: z.enum(eventKinds),
    execution: z.number().int().min(1).describe('The execution of the run it belongs to.'),
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'RunEvent' })

export type RunEvent = z.infer<typeof RunEvent>

/** `GET /agent/runs/{id}/events` */
export const EventQuery = z.object({
  after: z
    .number()
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(0)
    .describe('The sequence after which the page, or the stream, begins.'),
  limit: pageLimit(100),
  kind: z.array(z.enum(eventKinds)).optional().describe('Only these; repeated for several. A stream has all.'),
  follow: z.enum(['always']).optional().describe('A stream that stays open when the run is over.'),
})

export const EventPage = z
  .object({
    events: z.array(RunEvent),
    page_info: z.object({
      has_next_page: z.boolean(),
      next_cursor: z.string().nullable().describe('For `after`.'),
      last_sequence: z.number().int(),
    }),
  })
  .meta({ id: 'EventPage' })

/** One of `GET /agent/runs/{id}/timeline`. */
export const TimelineEvent = z
  .object({
    event_uuid: z.uuid(),
    run_id: z.uuid(),
    execution_id: z.string(),
    execution: z.number().int(),
    event_type: z.enum(timelineTypes),
    occurred_at: z.iso.datetime(),
    payload: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'TimelineEvent' })

export const Timeline = z.object({ events: z.array(TimelineEvent) })

/**
 * A transcript event before it has a sequence, keyed by where it came from: the
 * `line` of a `journal` (an agent process's output, a set-up step's log, the
 * run's own notes), and the `part` where one line gives several events. The
 * same key stored twice is one event.
 */
export const NewEvent = z.object({
  line: z.number().int().min(1),
  part: z.number().int().min(0).default(0),
  time: z.iso.datetime(),
  kind: z.enum(eventKinds),
  data: z.record(z.string(), z.unknown()),
})

export type NewEvent = z.infer<typeof NewEvent>

/** Longest text that one event keeps, in characters; what is cut is said in the event (`truncated_chars`). */
export const EVENT_TEXT_LIMIT = 256 * 1024
