// Runs the real command as a process of its own, for tests.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CODE_CACHE } from '../../test/support/caches.ts'
import { KEY } from './server.ts'

const program = fileURLToPath(new URL('../../bin/ambient', import.meta.url))

export interface Finished {
  code: number | null
  stdout: string
  stderr: string
}

export interface Command {
  readonly pid: number
  readonly finished: Promise<Finished>
  /** Resolves once the output so far fits; rejects when the command ends before. */
  output(pattern: RegExp): Promise<void>
  type(text: string): void
  signal(signal: NodeJS.Signals): void
}

export interface CommandOptions {
  url?: string
  cwd?: string
  stdin?: string
  env?: Record<string, string>
  /** Give it a terminal (of `script`), which joins stderr to stdout. */
  terminal?: boolean
}

export function command(args: readonly string[], options: CommandOptions = {}): Command {
  const words = [program, ...args]
  const [file, ...rest] = options.terminal
    ? ['script', '--quiet', '--return', '--command', words.map(quote).join(' '), '/dev/null']
    : words
  const child = spawn(file as string, rest, {
    cwd: options.cwd ?? tmpdir(),
    env: {
      // As where it is installed: hints name the bare command.
      PATH: `${dirname(program)}:${process.env.PATH}`,
      HOME: tmpdir(),
      TERM: 'xterm',
      NODE_COMPILE_CACHE: join(CODE_CACHE, 'node'),
      AMBIENT_API_KEY: KEY,
      AMBIENT_DATA: join(tmpdir(), 'ambient-test-no-data'),
      ...(options.url && { AMBIENT_URL: options.url }),
      ...options.env,
    },
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    child.emit('output')
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    child.emit('output')
  })
  if (!options.terminal) child.stdin.end(options.stdin ?? '')
  const finished = once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr }))
  return {
    pid: child.pid ?? 0,
    finished,
    output: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (!pattern.test(stdout + stderr)) return
          child.off('output', look)
          resolve()
        }
        child.on('output', look)
        child.once('close', () => reject(new Error(`ended before ${pattern}:\n${stdout}\n${stderr}`)))
        look()
      }),
    type: (text) => child.stdin.write(text),
    signal: (signal) => child.kill(signal),
  }
}

export const ambient = (args: readonly string[], options: CommandOptions = {}): Promise<Finished> =>
  command(args, options).finished

const quote = (word: string) => `'${word.replaceAll("'", "'\\''")}'`
