// How much of the disk a directory takes, and what processes keep of it that is in no directory.
import { execFile } from 'node:child_process'
import type { StatsFs } from 'node:fs'
import { readdir, stat, statfs } from 'node:fs/promises'
import { isErrno } from './errno.ts'

/**
 * In bytes as they are allocated: a file with holes counts for what it takes.
 * At the lowest priority, for it looks at every file. 0 for one that is not
 * there; what cannot be read, or vanishes meanwhile, is left out.
 */
export const directorySize = (path: string): Promise<number> => sumOf(path, '--block-size=1')

/**
 * The part of its disk that a directory uses up, in bytes: what its files take
 * or, where that is more, the part of the disk that has as many entries for
 * files. A disk without room for another file is as full as one without room for
 * another byte.
 */
export async function directoryShare(path: string): Promise<number> {
  const [bytes, files, disk] = await Promise.all([
    directorySize(path),
    sumOf(path, '--inodes'),
    statfs(path).catch(() => null),
  ])
  return Math.max(bytes, disk === null ? 0 : files * bytesPerFile(disk))
}

/** 0 where a file system makes entries as they are needed. */
const bytesPerFile = ({ blocks, bsize, files }: StatsFs): number => (files > 0 ? (blocks * bsize) / files : 0)

/** What is free of a disk, in bytes: of its room, and of its entries for files. Not numbers where there is no such directory. */
export async function freeShares(path: string): Promise<{ room: number; entries: number }> {
  const disk = await statfs(path).catch(() => null)
  if (disk === null) return { room: Number.NaN, entries: Number.NaN }
  return { room: disk.bavail * disk.bsize, entries: disk.ffree * bytesPerFile(disk) }
}

/** `what`: an option of `du`. */
async function sumOf(path: string, what: string): Promise<number> {
  const said = await new Promise<string>((resolve, reject) => {
    const args = ['-n', '19', 'du', '--summarize', '--one-file-system', what, '--', path]
    execFile('nice', args, { env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' } }, (error, stdout) => {
      // It ends with 1 when there was something that it could not read, and has the total all the same.
      if (error !== null && isErrno(error, 'ENOENT', 'EACCES')) reject(error)
      else resolve(stdout)
    })
  })
  return Number(/^\d+/.exec(said)?.[0] ?? 0)
}

const IN_MEMORY = 0x01021994

/**
 * In bytes: files that these processes have open and that were removed
 * meanwhile, which the disk keeps until they are closed. Each counts once. What
 * this user may not look at is left out.
 */
export async function removedButOpen(pids: readonly number[]): Promise<number> {
  const sizes = new Map<string, number>()
  for (const pid of pids) {
    for (const name of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const path = `/proc/${pid}/fd/${name}`
      try {
        const file = await stat(path)
        if (!file.isFile() || file.nlink > 0) continue
        if ((await statfs(path)).type !== IN_MEMORY) sizes.set(`${file.dev}:${file.ino}`, file.blocks * 512)
      } catch {
        // Closed meanwhile.
      }
    }
  }
  return [...sizes.values()].reduce((sum, size) => sum + size, 0)
}
