// A program that was started and is looked after.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { z } from 'zod'
import { openLog } from './log-file.ts'
import { endProcess, identify, isRunning } from './process-identity.ts'

export interface Running {
  pid: number
  /** Resolves with how it ended, in words. */
  exited: Promise<string>
  /** Ends it; resolves once it is gone. */
  stop(): Promise<void>
}

export interface ProgramOptions {
  command: readonly [program: string, ...args: string[]]
  env: Readonly<Record<string, string | undefined>>
  /** Its stdout and stderr are appended here. */
  logFile: string
  /** Remembers the process, so that a successor of this one can end it. */
  pidFile: string
  /** How long it has between SIGTERM and SIGKILL. */
  graceMs: number
}

/** @throws when there is no such program. */
export async function startProgram(options: ProgramOptions): Promise<Running> {
  const log = openLog(options.logFile)
  const [program, ...args] = options.command
  let child: ChildProcess
  try {
    // In a session of its own: Ctrl-C in the terminal is for the supervisor, which stops things in order.
    child = spawn(program, args, { env: { ...options.env }, stdio: ['ignore', log, log], detached: true })
  } finally {
    closeSync(log)
  }
  // At once: a process that is not remembered is never ended by a successor.
  if (child.pid) remember(options.pidFile, child.pid)
  const exited = once(child, 'exit').then(([code, signal]) => {
    rmSync(options.pidFile, { force: true })
    return signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`
  })
  exited.catch(() => {}) // A program that is not there is told by the line below.
  await once(child, 'spawn')
  return {
    pid: child.pid ?? 0,
    exited,
    async stop() {
      const kill = setTimeout(() => child.kill('SIGKILL'), options.graceMs)
      child.kill('SIGTERM')
      await exited
      clearTimeout(kill)
    },
  }
}

const Remembered = z.object({ pid: z.int().positive(), startTime: z.string() })

function remember(pidFile: string, pid: number): void {
  const identity = identify(pid)
  if (!identity) return // It has ended already.
  mkdirSync(dirname(pidFile), { recursive: true })
  writeFileSync(`${pidFile}.new`, JSON.stringify(identity))
  renameSync(`${pidFile}.new`, pidFile)
}

/** Ends the program that a killed predecessor left running, if it did. @returns whether it did. */
export async function endRemembered(pidFile: string, graceMs: number): Promise<boolean> {
  const known = readRemembered(pidFile)
  const running = known !== null && isRunning(known)
  if (running) await endProcess(known, 'SIGTERM', graceMs)
  rmSync(pidFile, { force: true })
  return running
}

function readRemembered(pidFile: string) {
  try {
    return Remembered.parse(JSON.parse(readFileSync(pidFile, 'utf8')))
  } catch {
    return null // None was left, or it died while it wrote.
  }
}
