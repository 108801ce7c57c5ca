// Knowing a process again: a pid alone is used anew by the kernel, a pid with its start time is not.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

export interface ProcessIdentity {
  pid: number
  startTime: string
}

/** Null when there is no such process, or only its zombie. */
export function identify(pid: number): ProcessIdentity | null {
  const startTime = process.platform === 'linux' ? startTimeFromProc(pid) : startTimeFromPs(pid)
  return startTime === null ? null : { pid, startTime }
}

export const isRunning = (known: ProcessIdentity): boolean => identify(known.pid)?.startTime === known.startTime

/** Ends a process that need not be a child of ours: asks, waits, then kills. Returns once it is gone. */
export async function endProcess(known: ProcessIdentity, signal: NodeJS.Signals, graceMs: number): Promise<void> {
  const killAt = Date.now() + graceMs
  send(known, signal)
  let killed = false
  while (isRunning(known)) {
    if (!killed && Date.now() >= killAt) {
      send(known, 'SIGKILL')
      killed = true
    }
    await delay(20)
  }
}

function send(known: ProcessIdentity, signal: NodeJS.Signals): void {
  if (!isRunning(known)) return
  try {
    process.kill(known.pid, signal)
  } catch (error) {
    // It ended in between. Anything else, such as a missing right, must be heard.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function startTimeFromProc(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The command, in brackets, may hold spaces and brackets itself.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null)
  } catch {
    return null // No such process.
  }
}

function startTimeFromPs(pid: number): string | null {
  try {
    const [state = '', ...start] = execFileSync('ps', ['-o', 'state=,lstart=', '-p', String(pid)], { encoding: 'utf8' })
      .trim()
      .split(/\s+/)
    return state === '' || state.startsWith('Z') ? null : start.join(' ')
  } catch {
    return null // ps exits with 1 when there is no such process.
  }
}
