// The processes below one: whose they are, the memory they hold, and the processor's time they have had.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno } from '../environments/errno.ts'
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
  const below = await Promise.all((await childrenOf(root)).map(treeBelow))
  return [root, ...below.flat()].sort((a, b) => a - b)
}

/** Of all its threads. None when it has ended. */
async function childrenOf(pid: number): Promise<number[]> {
  const tasks = `/proc/${pid}/task`
  const threads = await readdir(tasks).catch(() => [])
  const lists = await Promise.all(
    threads.map((thread) => readFile(`${tasks}/${thread}/children`, 'utf8').catch(() => '')),
  )
  return lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number))
}

/** The numbers of every process of this machine. */
export async function allProcesses(): Promise<number[]> {
  return (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
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

/** Temporal and Postgres, which the supervisor has started beside the parts. */
export async function enginesOf(data: string): Promise<Map<string, number>> {
  const supervisor = (await partsOf(data)).get('supervisor')
  const engines = new Map<string, number>()
  for (const pid of supervisor === undefined ? [] : await childrenOf(supervisor)) {
    const [program = ''] = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
    const name = ['temporal', 'postgres'].find((each) => program.endsWith(each))
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
