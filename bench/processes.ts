// The processes below one, and the memory they hold.
import { readdir, readFile } from 'node:fs/promises'

export interface ProcessMemory {
  pid: number
  command: string
  /** Proportional set size in MiB: what it shares with others counts by its share. */
  mib: number
}

/** The process and everything it has started, in the order of their numbers. */
export async function memoryOfTree(root: number): Promise<ProcessMemory[]> {
  const parents = await parentsOfAll()
  const isBelow = (pid: number): boolean => {
    for (let at: number | undefined = pid; at !== undefined; at = parents.get(at)) if (at === root) return true
    return false
  }
  const tree = [...parents.keys()].filter(isBelow).sort((a, b) => a - b)
  return Promise.all(tree.map(memoryOf))
}

async function parentsOfAll(): Promise<Map<number, number>> {
  const parents = new Map<number, number>()
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)) {
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
