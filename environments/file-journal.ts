// A journal over files: the agent's on the bare machine, and every job's on both kinds of host.
import { type FSWatcher, watch } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import type { Journal, JournalLine, ProcessExit } from '../domain/journal.ts'
import { ProcessEndedError } from '../domain/journal.ts'
import { openRegular } from './job-directory.ts'
import { type Line, LineSplitter } from './lines.ts'

const CHUNK_BYTES = 256 * 1024
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
  const changes = watchFor([options.output, options.own], signal)
  let line = 0
  let position = 0
  const numbered = (lines: Line[]): JournalLine[] =>
    lines.map((found) => ({ line: ++line, stream: 'stdout' as const, ...found })).filter((found) => found.line > after)
  try {
    while (!signal.aborted) {
      // Asked before reading: what was written before the end is then read for sure.
      const ended = (await options.exit()) !== null
      for (let chunk = await readAt(file, position); chunk.length > 0; chunk = await readAt(file, position)) {
        position += chunk.length
        const lines = numbered(splitter.push(chunk))
        if (lines.length > 0) yield lines
        if (signal.aborted) return
      }
      if (ended) {
        const last = numbered(splitter.end())
        if (last.length > 0) yield last
        return
      }
      await changes.next()
    }
  } finally {
    changes.close()
    await file.close()
  }
}

async function readAt(file: FileHandle, position: number): Promise<Buffer> {
  const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, position)
  const read = buffer.subarray(0, bytesRead)
  // A copy, so that a few bytes of a long line (a progress bar) do not keep the whole chunk in memory.
  return bytesRead < CHUNK_BYTES / 2 ? Buffer.from(read) : read
}

/** Tells of changes to any of the paths: at once where the kernel says so, else at the next poll. */
function watchFor(paths: string[], signal: AbortSignal) {
  let changed = false
  let wake = () => {}
  const notice = () => {
    changed = true
    wake()
  }
  const watchers: FSWatcher[] = []
  for (const path of paths) {
    try {
      const watcher = watch(path, notice)
      // A watch that breaks leaves the poll.
      watcher.on('error', () => watcher.close())
      watchers.push(watcher)
    } catch {
      // No watch to be had (the kernel's limit of them is reached): the poll is slower and as sure.
    }
  }
  signal.addEventListener('abort', notice, { once: true })
  return {
    async next(): Promise<void> {
      if (!changed) {
        let timer: NodeJS.Timeout | undefined
        await new Promise<void>((resolve) => {
          wake = resolve
          timer = setTimeout(resolve, POLL_MS)
        })
        clearTimeout(timer)
      }
      changed = false
    },
    close(): void {
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
