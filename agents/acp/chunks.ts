// What an agent says comes in pieces, and a value may be split over several: the last ones wait until it shows.
import type { NewEvent } from '../../domain/event.ts'
import { REDACTED, type Redactor } from '../../domain/vault/redaction.ts'

/** Lines that were read, and what they gave. */
export interface Read {
  readTo: number
  events: NewEvent[]
}

export interface Chunks {
  /** What can be stored now, in order. The rest comes with a later call. */
  add(read: Read): Read[]
  /** Nothing follows that belongs to what waits. */
  end(): Read[]
}

/** Kinds whose texts go on from one event to the next. */
const streamed = ['message', 'thought']
/** What agents tell of themselves in the middle of a word. */
const between = ['usage', 'session_info', 'commands', 'mode']

/** Most pieces that wait: an agent that never ends its word is not waited for without an end. */
const MOST = 2_000

interface Piece {
  event: NewEvent
  text: string
}

export function createChunks(redactor: Redactor | undefined): Chunks {
  if (redactor === undefined) return { add: (read) => [read], end: () => [] }
  let waiting: Read[] = []
  let kind: string | null = null

  function end(): Read[] {
    return release(waiting.length)
  }

  /** The first so many, with the values that are in them hidden. */
  function release(count: number): Read[] {
    const ready = waiting.slice(0, count)
    waiting = waiting.slice(count)
    if (waiting.length === 0) kind = null
    if (redactor === undefined) return ready
    const pieces = piecesOf(ready)
    const spans = redactor.spans(pieces.map(({ text }) => text).join(''))
    if (spans.length === 0) return ready
    const texts = new Map<NewEvent, string>()
    let begin = 0
    for (const { event, text } of pieces) {
      texts.set(event, cleaned(text, begin, spans))
      begin += text.length
    }
    const stored: Read[] = []
    let at = 0
    for (const read of ready) {
      const events = read.events.map((event) => {
        const text = texts.get(event)
        return text === undefined ? event : { ...event, data: { ...event.data, text } }
      })
      // What a value goes across is stored at once: its second half, read again by itself, would not be known.
      const before = spans.some(([from, to]) => from < at && at < to) ? stored.pop() : undefined
      stored.push({ readTo: read.readTo, events: [...(before?.events ?? []), ...events] })
      at += lengthOf(read)
    }
    return stored
  }

  /** How many of what waits can go: none of their values goes on in what stays. */
  function settled(): number {
    if (redactor === undefined || waiting.length > MOST) return waiting.length
    const text = piecesOf(waiting)
      .map((piece) => piece.text)
      .join('')
    const spans = redactor.spans(text)
    let most = redactor.opens(text)
    for (const [from, to] of spans) if (to > most && from < most) most = from
    let count = 0
    let at = 0
    for (const [index, read] of waiting.entries()) {
      at += lengthOf(read)
      if (at > most) break
      const splits = spans.some(([from, to]) => from < at && at < to)
      if (!splits) count = index + 1
    }
    return count
  }

  return {
    end,
    add(read) {
      const last = read.events.at(-1)
      const isStream = last !== undefined && read.events.every((event) => streamed.includes(event.kind))
      // A line that says nothing, or nothing of the text, is read with what waits before it.
      if (waiting.length > 0 && read.events.every((event) => between.includes(event.kind))) {
        waiting.push(read)
        return []
      }
      const before = kind !== null && (!isStream || last?.kind !== kind) ? end() : []
      if (!isStream || last === undefined) return [...before, read]
      kind = last.kind
      waiting.push(read)
      return [...before, ...release(settled())]
    },
  }
}

const piecesOf = (reads: readonly Read[]): Piece[] =>
  reads.flatMap(({ events }) =>
    events.flatMap((event) => {
      const isText = streamed.includes(event.kind) && typeof event.data.text === 'string'
      return isText ? [{ event, text: String(event.data.text) }] : []
    }),
  )

const lengthOf = (read: Read): number => piecesOf([read]).reduce((sum, { text }) => sum + text.length, 0)

/** The part of a text from `begin` on, without the values that reach into it. Each is marked where it begins. */
function cleaned(text: string, begin: number, spans: readonly (readonly [number, number])[]): string {
  const end = begin + text.length
  let result = ''
  let at = begin
  for (const [from, to] of spans) {
    if (to <= begin || from >= end) continue
    result += text.slice(at - begin, Math.max(at, from) - begin)
    if (from >= begin) result += REDACTED
    at = Math.min(to, end)
  }
  return result + text.slice(at - begin)
}
