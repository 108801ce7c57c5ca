// For tests: a process of this machine as a journal, its output in files. Its descendants are known by a mark in their environment.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { open, readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Journal, type JournalLine, ProcessEndedError, type ProcessExit } from '../../../domain/journal.ts'

const MARK = 'AMBIENT_TEST_PROCESS'
const POLL_MS = 10

export interface LocalProcess {
  journal: Journal
  /** Command lines of the process and everything it started that is still running. */
  running(): Promise<string[]>
  /** Ends the process and everything it started, at once. */
  kill(): Promise<void>
}

export function startProcess(options: {
  name: string
  /** Where its output goes. */
  directory: string
  command: readonly string[]
  env: Readonly<Record<string, string>>
  cwd: string
}): LocalProcess {
  const stdout = join(options.directory, `${options.name}.stdout`)
  const stderr = join(options.directory, `${options.name}.stderr`)
  const mark = randomUUID()
  const [program = '', ...args] = options.command
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: { ...options.env, [MARK]: mark },
    stdio: ['pipe', openSync(stdout, 'a'), openSync(stderr, 'a')],
    detached: true,
  })
  let exit: ProcessExit | null = null
  child.on('exit', (code, signal) => {
    exit = { code: code ?? (signal === 'SIGKILL' ? 137 : 143), outOfMemory: false }
  })
  // A write to a process that has just ended is told by `exit`.
  child.stdin?.on('error', () => {})

  const journal: Journal = {
    name: options.name,
    async *read(after, signal) {
      const file = await open(stdout)
      try {
        let at = 0
        let line = 0
        let rest = Buffer.alloc(0)
        while (!signal.aborted) {
          const hasEnded = exit !== null
          const { buffer, bytesRead } = await file.read(Buffer.alloc(1 << 20), 0, 1 << 20, at)
          at += bytesRead
          rest = Buffer.concat([rest, buffer.subarray(0, bytesRead)])
          const lines: JournalLine[] = []
          for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
            line += 1
            const text = rest.subarray(0, end).toString('utf8')
            if (line > after) lines.push({ line, stream: 'stdout', text, truncatedBytes: 0 })
            rest = rest.subarray(end + 1)
          }
          if (lines.length > 0) yield lines
          else if (bytesRead === 0 && hasEnded) return
          else if (bytesRead === 0) await pause(POLL_MS)
        }
      } finally {
        await file.close()
      }
    },
    async write(text) {
      if (exit !== null) throw new ProcessEndedError(`${options.name} has ended`)
      child.stdin?.write(text)
    },
    async stderrTail() {
      return (await readFile(stderr, 'utf8')).slice(-2_000)
    },
    exit: async () => exit,
  }
  return { journal, running: () => running(mark), kill: () => kill(child, mark) }
}

async function kill(child: ChildProcess, mark: string): Promise<void> {
  const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : null
  // What is started meanwhile is found in the next round.
  for (let left = await marked(mark); left.length > 0; left = await marked(mark)) {
    for (const pid of left) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It has ended by itself since it was listed.
      }
    }
    await pause(POLL_MS)
  }
  await ended
}

async function running(mark: string): Promise<string[]> {
  const lines = await Promise.all(
    (await marked(mark)).map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  )
  return lines.map((line) => line.replaceAll('\0', ' ').trim()).filter((line) => line !== '')
}

async function marked(mark: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const found = await Promise.all(
    pids.map(async (pid) => {
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '')
      // A zombie has no program any more.
      const isAlive = await readlink(`/proc/${pid}/exe`).then(
        () => true,
        () => false,
      )
      return isAlive && environment.includes(`${MARK}=${mark}`) ? [Number(pid)] : []
    }),
  )
  return found.flat()
}
