// The processes below one: whose they are, the memory they hold, and the processor's time they have had.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno } from '../environments/run-directory.ts'
import { lockHolder } from '../workers/start/lock.ts'

export interface ProcessMemory {
  pid: number
  command: string
  /** Proportional set size in MiB: what it shares with others counts by its share. */
  mib: number
}

/** The process and everything it has started, in the order of their numbers. */
export async function memoryOfTree(root: number): Promise<ProcessMemory[]> {
  const processes = await Promise.all(
    (await treeBelow(root)).map((pid) =>
      memoryOf(pid).catch((error: unknown) => {
        // It ended while it was looked at.
        if (isErrno(error, 'ENOENT', 'ESRCH')) return null
        throw error
      }),
    ),
  )
  return processes.filter((process) => process !== null)
}

async function treeBelow(root: number): Promise<number[]> {
  const parents = await parentsOfAll()
  const isBelow = (pid: number): boolean => {
    for (let at: number | undefined = pid; at !== undefined; at = parents.get(at)) if (at === root) return true
    return false
  }
  return [...parents.keys()].filter(isBelow).sort((a, b) => a - b)
}

/** The numbers of every process of this machine. */
export async function allProcesses(): Promise<number[]> {
  return (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
}

async function parentsOfAll(): Promise<Map<number, number>> {
  const parents = new Map<number, number>()
  for (const pid of await allProcesses()) {
    // A process may end while it is looked at.
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
    const parent = /^PPid:\s+(\d+)$/m.exec(status)?.[1]
    if (parent !== undefined) parents.set(pid, Number(parent))
  }
  return parents
}

export async function memoryOf(pid: number): Promise<ProcessMemory> {
  const [rollup, commandLine] = await Promise.all([
    readFile(`/proc/${pid}/smaps_rollup`, 'utf8'),
    readFile(`/proc/${pid}/cmdline`, 'utf8'),
  ])
  const kib = /^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1]
  if (kib === undefined) throw new Error(`the kernel does not tell the memory of process ${pid}`)
  return { pid, command: commandLine.replaceAll('\0', ' ').trim(), mib: Number(kib) / 1024 }
}

/** The parts of a running Ambient as the supervisor remembers them, and the supervisor, by name. */
export async function partsOf(data: string): Promise<Map<string, number>> {
  const directory = join(data, 'parts')
  const parts = new Map<string, number>()
  for (const file of await readdir(directory)) {
    const { pid } = JSON.parse(await readFile(join(directory, file), 'utf8')) as { pid: number }
    parts.set(file.replace('.json', ''), pid)
  }
  const supervisor = lockHolder(data)?.pid
  if (supervisor !== undefined) parts.set('supervisor', supervisor)
  return parts
}

/** Temporal and Postgres beside the parts: the other programs that the supervisor has started. */
export async function enginesOf(data: string): Promise<Map<string, number>> {
  const parts = await partsOf(data)
  const supervisor = parts.get('supervisor')
  const ours = new Set(parts.values())
  const engines = new Map<string, number>()
  for (const [pid, parent] of await parentsOfAll()) {
    if (parent !== supervisor || ours.has(pid)) continue
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    const name = ['temporal', 'postgres'].find((each) => commandLine.split('\0')[0]?.endsWith(each))
    if (name !== undefined) engines.set(name, pid)
  }
  return engines
}

/** The kernel counts a process's time in hundredths of a second. */
const TICK_MS = 10

/** Of the processor: what the process has had, and its children that have ended. In milliseconds. */
export async function processorTimeOf(pid: number): Promise<number> {
  // It may end while it is looked at: its time is its parent's then.
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // User and system, its own and of the children it has waited for.
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) * TICK_MS
}

/** As {@link processorTimeOf}, with all that is below the process. */
export async function processorTimeOfTree(root: number): Promise<number> {
  const times = await Promise.all((await treeBelow(root)).map(processorTimeOf))
  return times.reduce((sum, time) => sum + time, 0)
}
