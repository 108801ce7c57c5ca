// For tests: claims and a transcript that live as long as the test, whoever works with them.
import type { EventKind, NewEvent } from '../../../domain/event.ts'
import type { ClaimNote, Claims } from '../../claims.ts'

export function memoryClaims(): Claims & { ids(): string[] } {
  const made = new Map<string, { note: ClaimNote; settled: boolean }>()
  return {
    ids: () => [...made.keys()],
    async make(id, note) {
      const there = made.get(id)
      if (there) return { isNew: false, ...there }
      made.set(id, { note, settled: false })
      return { isNew: true, settled: false, note }
    },
    async settle(id) {
      const claim = made.get(id)
      if (!claim) throw new Error(`settled without a claim: ${id}`)
      claim.settled = true
    },
  }
}

export interface Transcript {
  record(journal: string, events: NewEvent[], readTo: number): Promise<void>
  storedLine(journal: string): number
  /** In the order they were stored, each key once. */
  readonly events: NewEvent[]
  of(kind: EventKind): Record<string, unknown>[]
  /** What the agent said, in one text. */
  text(): string
}

/** Keeps what is recorded as the store does: the same key stored twice is one event. */
export function memoryTranscript(): Transcript {
  const keys = new Set<string>()
  const positions = new Map<string, number>()
  const events: NewEvent[] = []
  const of = (kind: EventKind) => events.filter((event) => event.kind === kind).map((event) => event.data)
  return {
    events,
    of,
    storedLine: (journal) => positions.get(journal) ?? 0,
    text: () =>
      of('message')
        .map((data) => data.text)
        .join(''),
    async record(journal, batch, readTo) {
      for (const event of batch) {
        const key = `${journal}/${event.line}/${event.part}`
        if (keys.has(key)) continue
        keys.add(key)
        events.push(event)
      }
      positions.set(journal, Math.max(readTo, positions.get(journal) ?? 0))
    },
  }
}
