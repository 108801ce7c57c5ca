// Runs on the worker that holds the sandbox. Where events go.
import type { EventKind, NewEvent } from '../../domain/event.ts'
import type { Redactor } from '../../domain/vault/redaction.ts'
import type { HostServer } from './server.ts'

/** Most events that one request carries. */
const BATCH = 500

/** The transcript of one execution, as a host writes it. */
export interface Transcript {
  /** How far a journal has been stored. */
  storedLine(journal: string): Promise<number>
  /** Stores events of a journal, and that it was read up to `readTo`. Safe to repeat. */
  record(journal: string, events: NewEvent[], readTo: number): Promise<void>
  /**
   * A journal of our own: what the host itself has to say about a step. A step
   * that is carried out again says the same under the same numbers, which is
   * stored once.
   */
  notes(journal: string): Notes
}

export interface Notes {
  add(kind: EventKind, data: Record<string, unknown>): Promise<void>
}

/** `onSize` is told how large the run's transcript has become, in bytes. */
export function createTranscript(
  server: HostServer,
  ref: { runId: string; execution: number },
  redactor: Redactor,
  signal: AbortSignal,
  onSize: (bytes: number) => void = () => {},
): Transcript {
  async function record(journal: string, said: NewEvent[], readTo: number): Promise<void> {
    const events = said.map((event) => hidden(redactor, event))
    if (events.length === 0) {
      await server.append(ref.runId, ref.execution, { journal, events: [], read_to: readTo }, signal)
      return
    }
    for (let at = 0; at < events.length; at += BATCH) {
      const batch = events.slice(at, at + BATCH)
      const isLast = at + BATCH >= events.length
      const lastLine = batch.at(-1)?.line ?? readTo
      // A line's parts may be split over two batches, so only the line before it counts as read.
      const stored = { journal, events: batch, read_to: isLast ? readTo : lastLine - 1 }
      const { transcript_bytes: bytes } = await server.append(ref.runId, ref.execution, stored, signal)
      onSize(bytes)
    }
  }

  return {
    storedLine: (journal) => server.position(ref.runId, journal, signal),
    record,
    notes: notesBy(record),
  }
}

/** An event without the values that are nobody's to read. */
export function hidden(redactor: Redactor, event: NewEvent): NewEvent {
  const data = redactor.value(event.data)
  if (typeof data.truncated_chars !== 'number') return { ...event, data }
  // What was cut may have been cut in the middle of a value.
  let dropped = 0
  const closed = withoutOpenEnds(data, (text) => {
    const end = redactor.opens(text)
    dropped += text.length - end
    return text.slice(0, end)
  })
  return { ...event, data: { ...closed, truncated_chars: data.truncated_chars + dropped } }
}

/** Only long texts are cut, in characters. */
const LONG_CHARS = 1_000

function withoutOpenEnds<T>(value: T, close: (text: string) => string): T {
  if (typeof value === 'string') return (value.length < LONG_CHARS ? value : close(value)) as T
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((each) => withoutOpenEnds(each, close)) as T
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, withoutOpenEnds(each, close)])) as T
}

/** {@link Transcript.notes}, of what stores events by `record`. */
export const notesBy =
  (record: Transcript['record']): Transcript['notes'] =>
  (journal) => {
    let line = 0
    return {
      async add(kind, data) {
        line += 1
        await record(journal, [{ line, part: 0, time: new Date().toISOString(), kind, data }], line)
      },
    }
  }
