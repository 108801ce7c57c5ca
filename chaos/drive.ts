// Carries out one plan as a stubborn client would: what is not answered is sent again, until it is.
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { RunEvent } from '../domain/event.ts'
import type { RunItem } from '../domain/run.ts'
import { isTerminal, type RunState } from '../domain/state.ts'
import type { Answer, Stack } from '../test/support/stack.ts'
import type { Conversation, Plan } from './plan.ts'

export interface Driven {
  runId: string
  /** What a reader of the event stream got, from the start to the end. */
  seen: readonly RunEvent[]
}

/** Nothing in a plan takes nearly as long, with every part killed on its way. */
const PATIENCE_MS = 240_000
const PAUSE_MS = 200

/** A run did not get to where it should. */
export class StuckError extends Error {
  override readonly name = 'StuckError'
  readonly runId: string | null
  readonly seen: readonly RunEvent[]

  constructor(runId: string | null, seen: readonly RunEvent[], message: string) {
    super(message)
    this.runId = runId
    this.seen = seen
  }
}

/**
 * Until the run is over for good. `waitsFor` is told each time what is waited for next.
 * @throws {StuckError}
 */
export async function drive(
  stack: Stack,
  plan: Plan,
  body: Record<string, unknown>,
  waitsFor: (what: string) => void,
): Promise<Driven> {
  waitsFor('an answer to its creation')
  const started = await post<{ run_id: string }>(stack, '/api/v1/agent/runs', body).catch((error: unknown) => {
    throw new StuckError(null, [], `it cannot be started: ${error}`)
  })
  const runId = started.run_id
  const reader = readRun(stack, runId, (what) => waitsFor(`${what} (${runId})`))
  try {
    await plan.steer(conversationWith(stack, runId, reader))
    await reader.until('the end', () => reader.seen.some(isEnd))
    const last = await over(stack, runId)
    await reader.until(`event ${last}`, () => (reader.seen.at(-1)?.sequence ?? 0) >= last)
    return { runId, seen: reader.seen }
  } catch (error) {
    throw new StuckError(runId, reader.seen, error instanceof Error ? error.message : String(error))
  } finally {
    reader.close()
  }
}

function conversationWith(stack: Stack, runId: string, reader: Reader): Conversation {
  const path = `/api/v1/agent/runs/${runId}`
  return {
    said: (text) => reader.until(`the agent to say "${text}"`, () => reader.text().includes(text)),
    state: (state, execution = 1) =>
      reader.until(state, () => reader.seen.some((event) => event.execution >= execution && stateOf(event) === state)),
    ended: (execution) =>
      reader.until(`the end of execution ${execution}`, () =>
        reader.seen.some((event) => event.execution === execution && isEnd(event)),
      ),
    async followUp(message, delivery) {
      await post(stack, `${path}/followups`, { message: message.text, delivery })
    },
    async answer(count, choice) {
      const questions = () => reader.seen.filter(({ kind }) => kind === 'question')
      await reader.until(`question ${count}`, () => questions().length >= count)
      const questionId = String(questions()[count - 1]?.data.question_id)
      // The transcript has a question before the run is BLOCKED by it, and only then it can be answered.
      const isOpen = async () =>
        (await get<RunItem>(stack, path)).questions.some(({ question_id: open }) => open === questionId)
      const deadline = Date.now() + PATIENCE_MS
      while (!(await isOpen())) {
        if (Date.now() > deadline) throw new Error(`waited in vain for question ${count} to be open`)
        await delay(PAUSE_MS)
      }
      await post(stack, `${path}/answers`, { question_id: questionId, option_id: choice })
    },
    async cancel() {
      await post(stack, `${path}/cancel`)
    },
  }
}

/** Waits until no message is left and the last execution has ended. Returns the last event's sequence. */
async function over(stack: Stack, runId: string): Promise<number> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const item = await get<RunItem>(stack, `/api/v1/agent/runs/${runId}`)
    if (isTerminal(item.state)) return item.last_event_sequence
    if (Date.now() > deadline) throw new Error(`waited in vain for its end: it is ${item.state}`)
    await delay(PAUSE_MS)
  }
}

interface Reader {
  seen: RunEvent[]
  /** What the agent has said so far. */
  text(): string
  until(what: string, isThere: () => boolean): Promise<void>
  close(): void
}

function readRun(stack: Stack, runId: string, waitsFor: (what: string) => void): Reader {
  const closing = new AbortController()
  const seen: RunEvent[] = []
  let text = ''
  let changed = Promise.withResolvers<void>()
  const reading = async () => {
    for await (const event of stack.stream(runId, closing.signal)) {
      seen.push(event)
      if (event.kind === 'message') text += event.data.text
      if (event.kind === 'output') text += `${event.data.text}\n`
      changed.resolve()
      changed = Promise.withResolvers()
    }
  }
  void reading()
  return {
    seen,
    text: () => text,
    async until(what, isThere) {
      waitsFor(what)
      const deadline = AbortSignal.timeout(PATIENCE_MS)
      const late = new Promise<void>((resolve) => deadline.addEventListener('abort', () => resolve(), { once: true }))
      while (!isThere()) {
        if (deadline.aborted) throw new Error(`waited in vain for ${what}`)
        await Promise.race([changed.promise, late])
      }
    },
    close: () => closing.abort(),
  }
}

const stateOf = ({ kind, data }: RunEvent) => (kind === 'state' ? (data.state as RunState) : null)

const isEnd = (event: RunEvent): boolean => {
  const state = stateOf(event)
  return state !== null && isTerminal(state)
}

export const get = <T>(stack: Stack, path: string) => persist(() => stack.call<T>('GET', path))

/** The same request each time, known by its key. */
function post<T>(stack: Stack, path: string, body?: Record<string, unknown>): Promise<T> {
  const headers = { 'idempotency-key': randomUUID() }
  return persist(() => stack.call<T>('POST', path, body, headers))
}

/** Until there is an answer of the API: of a server that is not there, or that misses its database, there is none. */
async function persist<T>(send: () => Promise<Answer<T>>): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const answer = await send().catch((error: unknown) => ({ status: 0, body: String(error) }))
    if (answer.status >= 200 && answer.status < 300) return answer.body as T
    const isAnswer = answer.status >= 400 && answer.status < 500
    if (isAnswer || Date.now() > deadline) throw new Error(`${answer.status} ${JSON.stringify(answer.body)}`)
    await delay(PAUSE_MS)
  }
}
