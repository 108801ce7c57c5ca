// Runs on the worker that holds the sandbox.
import type { Journal } from '../../domain/journal.ts'

/**
 * The same journal, for a reader that may have to leave while the process goes
 * on: reading throws the signal's reason, which no one can mistake for the
 * process's end.
 */
export function detachable(journal: Journal, detach: AbortSignal): Journal {
  return {
    name: journal.name,
    async *read(after, signal) {
      const either = AbortSignal.any([signal, detach])
      for await (const lines of journal.read(after, either)) {
        detach.throwIfAborted()
        yield lines
      }
      detach.throwIfAborted()
    },
    async write(text) {
      detach.throwIfAborted()
      await journal.write(text)
    },
    stderrTail: () => journal.stderrTail(),
    exit: () => journal.exit(),
  }
}
