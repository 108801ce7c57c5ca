// Hands events over in batches: while one batch is on its way, the next one gathers.
import { setImmediate } from 'node:timers/promises'
import type { NewEvent } from '../../domain/event.ts'
import type { Redactor } from '../../domain/vault/redaction.ts'
import { createChunks } from './chunks.ts'

/** Stores events of a journal, and that it was read up to `readTo`. Safe to repeat. */
export type Record = (journal: string, events: NewEvent[], readTo: number) => Promise<void>

/** Most events of one call, and roughly the most characters. */
const BATCH_EVENTS = 500
const BATCH_CHARS = 4 * 1024 * 1024
/** Reading pauses while this much waits to be stored. */
const WAITING_CHARS = 16 * 1024 * 1024

interface Entry {
  readTo: number
  events: NewEvent[]
  chars: number
}

export interface Recorder {
  /** The journal was read up to `readTo`, which gave these events. Lines that are stored already are passed over. */
  add(readTo: number, events: NewEvent[]): void
  /** Events of our own at a line that may be stored already. */
  addNote(events: NewEvent[]): void
  /** Resolves when there is room for more. */
  room(): Promise<void>
  /** Resolves when everything is stored. */
  flush(): Promise<void>
  /** Aborts when a batch could not be stored; the reason is why. */
  readonly failed: AbortSignal
}

/** `redactor`: what streams in pieces is held back while it may be the beginning of a value. */
export function createRecorder(options: {
  journal: string
  storedLine: number
  record: Record
  redactor?: Redactor | undefined
}): Recorder {
  const failure = new AbortController()
  let readTo = options.storedLine
  let waiting: Entry[] = []
  let waitingChars = 0
  let pump: Promise<void> | null = null

  const chunks = createChunks(options.redactor)

  function enter({ readTo, events }: { readTo: number; events: NewEvent[] }): void {
    const chars = events.reduce((sum, event) => sum + JSON.stringify(event.data).length, 0)
    waiting.push({ readTo, events, chars })
    waitingChars += chars
    pump ??= store()
  }

  async function store(): Promise<void> {
    // Everything of the lines that were just read joins the first call.
    await setImmediate()
    while (waiting.length > 0 && !failure.signal.aborted) {
      const batch = takeBatch()
      try {
        await options.record(options.journal, batch.events, batch.readTo)
      } catch (error) {
        failure.abort(error)
      }
    }
    pump = null
  }

  function takeBatch(): { events: NewEvent[]; readTo: number } {
    const events: NewEvent[] = []
    let chars = 0
    let taken = 0
    for (const entry of waiting) {
      const isTooMuch = events.length + entry.events.length > BATCH_EVENTS || chars + entry.chars > BATCH_CHARS
      if (taken > 0 && isTooMuch) break
      events.push(...entry.events)
      chars += entry.chars
      taken += 1
    }
    const to = waiting[taken - 1]?.readTo ?? readTo
    waiting = waiting.slice(taken)
    waitingChars -= chars
    return { events, readTo: to }
  }

  return {
    failed: failure.signal,
    add(line, events) {
      if (line <= readTo) return
      readTo = line
      for (const entry of chunks.add({ readTo, events })) enter(entry)
    },
    addNote(events) {
      for (const entry of chunks.end()) enter(entry)
      enter({ readTo, events })
    },
    async room() {
      if (waitingChars > WAITING_CHARS) await pump
      failure.signal.throwIfAborted()
    },
    async flush() {
      for (const entry of chunks.end()) enter(entry)
      while (pump !== null) await pump
      failure.signal.throwIfAborted()
    },
  }
}
