// What Linux knows of processes: whether one still runs, and which belong to a run. Not through promises: they cost ten
// times what the kernel needs.
import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { setTimeout as delay, setImmediate as pause } from 'node:timers/promises'

/** A process, safe against the kernel giving its number to another one. */
export interface ProcessRef {
  pid: number
  /** In clock ticks since the machine's start, as in /proc/<pid>/stat. */
  since: string
}

/** Reads what a gate wrote: `<pid> <since>`. */
export function parseProcessRef(text: string | null): ProcessRef | null {
  const match = /^([1-9]\d{0,9}) (\d+)$/.exec(text ?? '')
  return match?.[1] === undefined || match[2] === undefined ? null : { pid: Number(match[1]), since: match[2] }
}

/** A zombie has ended, whether or not its parent has noticed. */
export function isAlive({ pid, since }: ProcessRef): boolean {
  const stat = processStat(pid)
  return stat !== null && stat.since === since && stat.state !== 'Z' && stat.state !== 'X'
}

export function processStat(pid: number): { state: string; parent: number; since: string } | null {
  const stat = told(pid, 'stat')
  if (stat === null) return null
  // The name comes in parentheses and may hold anything, so fields are counted from the last one.
  const [state, parent, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const since = rest[17]
  return state === undefined || since === undefined ? null : { state, parent: Number(parent), since }
}

/** Processes looked at in one go, about a millisecond. */
const AT_ONCE = 100

/** Every process of this machine by its mark: the value of this variable in its environment. */
export async function markedProcesses(variable = 'AMBIENT_RUN'): Promise<Map<string, number[]>> {
  const mention = new RegExp(`(?:^|\\0)${variable}=([^\\0]*)`)
  const found = new Map<string, number[]>()
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  for (const [index, pid] of pids.entries()) {
    if (index % AT_ONCE === AT_ONCE - 1) await pause()
    if (pid === process.pid) continue
    const mark = markOf(pid, mention)
    if (mark === null) continue
    const others = found.get(mark)
    if (others === undefined) found.set(mark, [pid])
    else others.push(pid)
  }
  return found
}

const markOf = (pid: number, mention: RegExp): string | null =>
  mention.exec(told(pid, 'environ', 'latin1') ?? '')?.[1] ?? null

/** Null for a process that has ended meanwhile, or is another user's and not to be looked into: not one of ours either way. */
function told(pid: number, name: string, encoding: 'utf8' | 'latin1' = 'utf8'): string | null {
  try {
    return readFileSync(`/proc/${pid}/${name}`, encoding)
  } catch {
    return null
  }
}

export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // Ended meanwhile, which is what was wanted.
  }
}

/** Waits until the condition holds, asking often. @returns false when the deadline passed first. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  deadlineMs: number,
  everyMs = 10,
): Promise<boolean> {
  const deadline = Date.now() + deadlineMs
  for (;;) {
    if (await condition()) return true
    if (Date.now() >= deadline) return false
    await delay(everyMs)
  }
}

/** The program that a gate runs: its child, or its child's child where that one only enters a namespace. */
export function programOf(gate: number): number | null {
  const child = childOf(gate)
  if (child === null) return null
  return nameOf(child) === 'nsenter' ? childOf(child) : child
}

/** The program's name, as the kernel cuts it; empty when it has ended. */
export const nameOf = (pid: number): string => (told(pid, 'comm') ?? '').trim()

/** The first child of a process; null when it has none. */
export function childOf(pid: number): number | null {
  const child = Number((told(pid, `task/${pid}/children`) ?? '').split(' ')[0])
  return Number.isInteger(child) && child > 0 ? child : null
}
