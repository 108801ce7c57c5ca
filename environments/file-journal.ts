// A journal over files: the agent's on the bare machine, and every job's on both kinds of host.
import { type FSWatcher, watch } from 'node:fs'
import type { Journal, JournalLine, ProcessExit } from '../domain/journal.ts'
import { ProcessEndedError } from '../domain/journal.ts'
import { type Line, LineSplitter } from './lines.ts'
import { openRegular } from './no-links.ts'

const CHUNK_BYTES = 64 * 1024
/** A change that the kernel did not tell of is noticed after this long. */
const POLL_MS = 500
const TAIL_BYTES = 4 * 1024

export interface FileJournalOptions {
  name: string
  /** The file whose lines are the journal. */
  output: string
  /** The file whose end is told to people; the same one where both streams go there. */
  errors: string
  /** Its directory is watched too: the exit code appears there. */
  own: string
  /** Bytes that are read, at most; of what is beyond, the last line tells. Absent: all. */
  limit?: number
  exit(): Promise<ProcessExit | null>
  /** Absent: nothing more can be written to its stdin. */
  write?(text: string): Promise<void>
}

export function fileJournal(options: FileJournalOptions): Journal {
  return {
    name: options.name,
    read: (after, signal) => read(options, after, signal),
    write:
      options.write ?? (() => Promise.reject(new ProcessEndedError(`the stdin of ${options.name} has been closed`))),
    stderrTail: () => tail(options.errors),
    exit: options.exit,
  }
}

async function* read(options: FileJournalOptions, after: number, signal: AbortSignal): AsyncGenerator<JournalLine[]> {
  const splitter = new LineSplitter()
  const file = await openRegular(options.output)
  const changes = watchFor(options, signal)
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  const { limit = Number.POSITIVE_INFINITY } = options
  let line = 0
  let position = 0
  const numbered = (lines: Line[]): JournalLine[] =>
    lines.map((found) => ({ line: ++line, stream: 'stdout' as const, ...found })).filter((found) => found.line > after)
  try {
    for (let mayHaveEnded = true; !signal.aborted; mayHaveEnded = await changes.next()) {
      // Asked before reading: what was written before the end is then read for sure.
      const ended = mayHaveEnded && (await options.exit()) !== null
      for (let isFull = true; isFull; ) {
        const wanted = Math.min(CHUNK_BYTES, limit - position)
        const { bytesRead } = await file.read(chunk, 0, wanted, position)
        position += bytesRead
        isFull = bytesRead === wanted && wanted > 0
        // A copy: the splitter keeps the start of a line that is not whole yet.
        const lines = numbered(splitter.push(Buffer.from(chunk.subarray(0, bytesRead))))
        if (lines.length > 0) yield lines
        if (signal.aborted) return
      }
      if (ended) {
        const beyond = position < limit ? 0 : (await file.stat()).size - limit
        const last = numbered([...splitter.end(), ...(beyond > 0 ? [leftOut(beyond)] : [])])
        if (last.length > 0) yield last
        return
      }
    }
  } finally {
    changes.close()
    await file.close()
  }
}

const leftOut = (bytes: number): Line => ({
  text: `[There are ${bytes} bytes more, which are not read.]`,
  truncatedBytes: 0,
})

/** Tells of changes: at once where the kernel says so, else at the next poll. */
function watchFor({ output, own }: FileJournalOptions, signal: AbortSignal) {
  let changed = false
  let mayHaveEnded = false
  let wake = () => {}
  const notice = () => {
    changed = true
    wake()
  }
  const noticeEnd = () => {
    mayHaveEnded = true
    notice()
  }
  const watchers: FSWatcher[] = []
  for (const [path, onChange] of [[output, notice] as const, [own, noticeEnd] as const]) {
    try {
      const watcher = watch(path, onChange)
      // A watch that breaks leaves the poll.
      watcher.on('error', () => watcher.close())
      watchers.push(watcher)
    } catch {
      // No watch to be had (the kernel's limit of them is reached): the poll is slower and as sure.
    }
  }
  // One that always runs: output without a pause must not keep an unheard end from being noticed.
  const poll = setInterval(noticeEnd, POLL_MS)
  signal.addEventListener('abort', notice, { once: true })
  return {
    /** Waits for a change. True when the process may have ended. */
    async next(): Promise<boolean> {
      if (!changed) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      const end = mayHaveEnded
      changed = false
      mayHaveEnded = false
      return end
    },
    close(): void {
      clearInterval(poll)
      signal.removeEventListener('abort', notice)
      for (const watcher of watchers) watcher.close()
    },
  }
}

async function tail(path: string): Promise<string> {
  const file = await openRegular(path)
  try {
    const { size } = await file.stat()
    const { bytesRead, buffer } = await file.read(
      Buffer.alloc(TAIL_BYTES),
      0,
      TAIL_BYTES,
      Math.max(0, size - TAIL_BYTES),
    )
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}
