// Whether set-up has left values in files that later runs would find.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { relative } from 'node:path'
import { text } from 'node:stream/consumers'

/** Shorter lines are in half of all files. In characters. */
const LEAST_CHARS = 8

/** The files below a directory that have one of these values, or a line of one, in them; by their paths below it. */
export async function filesWithValues(
  directory: string,
  values: readonly string[],
  signal: AbortSignal,
): Promise<string[]> {
  const lines = values.flatMap((value) => value.split(/\r?\n/)).filter((line) => line.trim().length >= LEAST_CHARS)
  if (lines.length === 0) return []
  // By its stdin: an argument could be read by others.
  const grep = spawn('grep', ['-rlaF', '-f', '-', '--', directory], { signal, stdio: ['pipe', 'pipe', 'ignore'] })
  grep.stdin.end(`${lines.join('\n')}\n`)
  const [found, [code]] = await Promise.all([text(grep.stdout), once(grep, 'close')])
  // 1: none. 2: a file could not be read, as one that is gone meanwhile.
  if (code > 2) throw new Error(`grep ended with exit code ${code}`)
  return found
    .split('\n')
    .filter((path) => path !== '')
    .map((path) => relative(directory, path))
}
