// Reads a journal line by line, and can stop waiting without losing its place.
import type { Journal, JournalLine } from '../../domain/journal.ts'

/** Why reading stopped: what was waited for is `done`, the process `ended`, time was up (`late`), or a signal aborted (`woken`). */
export type Reading = 'done' | 'ended' | 'late' | 'woken'

export interface ReadOptions {
  /** Longest wait, in milliseconds. Absent: for ever. */
  within?: number
  /** An abort of one of these ends the wait. */
  wakenBy: readonly AbortSignal[]
}

export interface JournalReader {
  /** The last line that was handed out. */
  readonly line: number
  /** Hands out lines of stdout, one after another, until `done` says so; no line after that one. */
  until(done: () => boolean, options: ReadOptions): Promise<Reading>
  close(): Promise<void>
}

export function createReader(
  journal: Journal,
  after: number,
  onLine: (line: JournalLine) => void | Promise<void>,
): JournalReader {
  const closing = new AbortController()
  const batches = journal.read(after, closing.signal)[Symbol.asyncIterator]()
  let next: Promise<IteratorResult<JournalLine[]>> | null = null
  let ahead: JournalLine[] = []
  let aheadAt = 0
  let at = after

  return {
    get line() {
      return at
    },
    async until(done, { within, wakenBy }) {
      const deadline = within === undefined ? null : Date.now() + within
      for (;;) {
        if (done()) return 'done'
        const line = ahead[aheadAt]
        if (line !== undefined) {
          aheadAt += 1
          if (line.stream === 'stdout') await onLine(line)
          at = line.line
          continue
        }
        if (wakenBy.some((signal) => signal.aborted)) return 'woken'
        next ??= batches.next()
        const read = await firstOf(next, deadline, wakenBy)
        if (read === 'late' || read === 'woken') return read
        next = null
        if (read.done) return 'ended'
        ahead = read.value
        aheadAt = 0
      }
    },
    async close() {
      closing.abort()
      // Whoever waits on the journal is let go by the abort; an error of a reading nobody wants is of no use.
      await next?.catch(() => {})
      await batches.return?.()
    },
  }
}

async function firstOf<T>(
  wanted: Promise<T>,
  deadline: number | null,
  signals: readonly AbortSignal[],
): Promise<T | 'late' | 'woken'> {
  let timer: NodeJS.Timeout | undefined
  const { promise, resolve } = Promise.withResolvers<'late' | 'woken'>()
  const wake = () => resolve('woken')
  if (deadline !== null) timer = setTimeout(() => resolve('late'), Math.max(0, deadline - Date.now()))
  for (const signal of signals) signal.addEventListener('abort', wake, { once: true })
  try {
    return await Promise.race([wanted, promise])
  } finally {
    clearTimeout(timer)
    for (const signal of signals) signal.removeEventListener('abort', wake)
  }
}
