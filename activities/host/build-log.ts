// Runs on the worker that holds the sandbox. The log of a build, written by what writes the transcript of a run.
import type { NewEvent } from '../../domain/event.ts'
import type { Redactor } from '../../domain/vault/redaction.ts'
import type { HostServer } from './server.ts'
import { hidden, notesBy, type Transcript } from './transcript.ts'

/** Most lines that one request carries. */
const BATCH = 500

/**
 * Takes events of a set-up, and keeps their text as lines of the build's log.
 * Each line is stored once by its source and number, so nothing needs to be
 * asked of what is stored already.
 */
export function createBuildLog(
  server: Pick<HostServer, 'buildLog'>,
  buildId: string,
  redactor: Redactor,
  signal: AbortSignal,
): Transcript {
  async function record(journal: string, said: NewEvent[]): Promise<void> {
    const events = said.map((event) => hidden(redactor, event))
    const sources = new Map<string, { line: number; text: string }[]>()
    for (const { line, part, kind, data } of events) {
      const text = textOf(kind, data)
      if (text === null) continue
      const source = part === 0 ? journal : `${journal}:${part}`
      sources.set(source, [...(sources.get(source) ?? []), { line, text }])
    }
    for (const [source, lines] of sources) {
      for (let at = 0; at < lines.length; at += BATCH) {
        await server.buildLog(buildId, { source, lines: lines.slice(at, at + BATCH) }, signal)
      }
    }
  }

  return { storedLine: async () => 0, record, notes: notesBy(record) }
}

function textOf(kind: string, data: Record<string, unknown>): string | null {
  if (typeof data.text === 'string') return data.text
  if (typeof data.command === 'string') return `$ ${data.command}`
  if (data.exit_code !== undefined) return `exit code ${data.exit_code ?? 'unknown'}`
  return kind === 'warning' && typeof data.message === 'string' ? `Warning: ${data.message}` : null
}
