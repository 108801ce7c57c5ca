// The journal: the lasting output of one process in a sandbox, and the way to its stdin.

/** One line of a process's output. Lines count from 1 and never change. */
export interface JournalLine {
  line: number
  stream: 'stdout' | 'stderr'
  /** Without its newline; invalid UTF-8 is replaced by U+FFFD. */
  text: string
  /** Bytes left out where the line was longer than the journal keeps in memory; 0 for a whole line. */
  truncatedBytes: number
}

/** How a process ended. */
export interface ProcessExit {
  code: number
  /** True when the kernel killed it for its memory. */
  outOfMemory: boolean
  /** True when it went down with its sandbox: its code says nothing of it. */
  lost?: true
}

/**
 * What a process in a sandbox has said, readable again from the start by
 * anyone at any time: it belongs to the sandbox, not to the reader, so a reader
 * may die and another one goes on at the same line.
 */
export interface Journal {
  /** Unique within the run: `agent-1`, `setup-3`, `command-2`. */
  readonly name: string
  /**
   * Lines after `after`, as they come, in the batches they were read in. Ends
   * when the process has ended and everything it wrote was read, or when the
   * signal aborts (without throwing).
   */
  read(after: number, signal: AbortSignal): AsyncIterable<JournalLine[]>
  /**
   * Appends to the process's stdin. One writer at a time; the first write of a
   * writer is preceded by a newline, which closes a line that a dead
   * predecessor may have left torn.
   * @throws {ProcessEndedError} when the process has ended.
   */
  write(text: string): Promise<void>
  /** The end of its stderr, for people; at most a few KiB. */
  stderrTail(): Promise<string>
  /** How it ended; null while it runs. */
  exit(): Promise<ProcessExit | null>
}

/** The process is gone, so nothing can be written to it any more. */
export class ProcessEndedError extends Error {
  override readonly name = 'ProcessEndedError'
}
