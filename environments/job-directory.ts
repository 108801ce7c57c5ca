// The files of one job. The sandbox's user writes some of them, so the host reads them with distrust.
import { randomUUID } from 'node:crypto'
import { closeSync, mkdirSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { type FileHandle, open, readdir, rename, rm, rmdir, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isErrno } from './errno.ts'
import { within } from './inside-directory.ts'
import { openDirectory, openDirectorySync, openRegular, openRegularSync, UntrustedFileError } from './no-links.ts'
import { exists, giveTo, type Owner, type RunPaths } from './run-directory.ts'

/**
 * `stdin` is the host's, `output` and the directory `own` are written from
 * inside. `own` holds the gate's `started` and `exit`, and whatever the job
 * leaves for the host (AMBIENT_JOB_FILES names it).
 */
export interface JobPaths {
  root: string
  stdin: string
  output: string
  own: string
  /** What the gate says on the bare machine: where no program of the run can write. */
  gate: string
}

/** Most of a job's output that is read, in bytes: it may be a file of terabytes that takes no room on the disk. */
export const JOB_OUTPUT_BYTES = 64 * 1024 * 1024

/** @throws when the id cannot be the name of a directory. */
export function jobPaths(paths: Pick<RunPaths, 'jobs' | 'agents'>, id: string): JobPaths {
  if (!/^[\w-][\w.-]{0,99}$/.test(id)) throw new TypeError(`not a job id: ${id}`)
  const root = join(paths.jobs, id)
  const gate = join(paths.agents, 'jobs', id)
  return { root, stdin: join(root, 'stdin'), output: join(root, 'output'), own: join(root, 'own'), gate }
}

/** Idempotent; a second call leaves what the job has written. The sandbox's user may be the host's own, and have put anything here. */
export function createJobDirectory(paths: JobPaths, stdin: string, owner: Owner): void {
  // What is said there is of a job that was removed: a new directory is a new job.
  if (!exists(paths.root)) rmSync(paths.gate, { recursive: true, force: true })
  mkdirSync(dirname(paths.root), { recursive: true, mode: 0o755 })
  using jobs = closing(openDirectorySync(dirname(paths.root)))
  unlessThere(() => mkdirSync(within(jobs, basename(paths.root)), { mode: 0o755 }))
  using root = closing(openDirectorySync(paths.root))
  createFile(root, paths.stdin, stdin, owner)
  createFile(root, paths.output, '', owner)
  unlessThere(() => mkdirSync(within(root, basename(paths.own)), { mode: 0o700 }))
  using own = closing(openDirectorySync(paths.own))
  giveTo(`/proc/self/fd/${own.fd}`, owner)
}

/**
 * Puts a file into the job's own directory, before the job is started; what was
 * there is replaced. The caller writes and closes it.
 */
export async function createJobFile(paths: JobPaths, name: string, owner: Owner): Promise<FileHandle> {
  createJobDirectory(paths, '', owner)
  const own = await openDirectory(paths.own)
  try {
    const path = `/proc/self/fd/${own.fd}/${name}`
    await rm(path, { force: true })
    const file = await open(path, 'wx', 0o600)
    giveTo(`/proc/self/fd/${file.fd}`, owner)
    return file
  } finally {
    await own.close()
  }
}

/**
 * Removes the files of a job that has ended. It is gone at once or, with the
 * process that removes it, not at all: whoever asks for a job of this id starts
 * a new one. Directories that it made stay: nothing is followed into them while
 * the sandbox lives. Never throws for what cannot be removed.
 */
export async function removeJob(paths: Pick<RunPaths, 'jobs' | 'agents'>, id: string): Promise<void> {
  // No id begins so.
  const gone = join(paths.jobs, `.removed-${randomUUID()}`)
  try {
    await using directory = await openDirectory(paths.jobs)
    await rename(within(directory, basename(jobPaths(paths, id).root)), within(directory, basename(gone)))
  } catch {
    return // Not there, or the sandbox's user has put something in its place.
  }
  for (const path of [join(gone, 'own'), gone]) {
    try {
      const directory = await openDirectory(path)
      try {
        const inside = `/proc/self/fd/${directory.fd}`
        await Promise.allSettled((await readdir(inside)).map((name) => unlink(join(inside, name))))
      } finally {
        await directory.close()
      }
      await rmdir(path)
    } catch {
      // Not empty: it goes with the run's directory.
    }
  }
}

/** In the open directory that the path says. */
function createFile(directory: { fd: number }, path: string, content: string, owner: Owner): void {
  unlessThere(() => writeFileSync(within(directory, basename(path)), content, { flag: 'wx', mode: 0o600 }))
  using file = closing(openRegularSync(path))
  giveTo(`/proc/self/fd/${file.fd}`, owner)
}

function unlessThere(make: () => void): void {
  try {
    make()
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
  }
}

/** A descriptor, until the end of its block. */
const closing = (fd: number) => ({ fd, [Symbol.dispose]: () => closeSync(fd) })

/** A file that a job left, or null when there is none; `'too large'` beyond the limit, without reading it. */
export async function readBounded(path: string, limit: number): Promise<Buffer | 'too large' | null> {
  let file: FileHandle
  try {
    file = await openRegular(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
  try {
    // One byte more than the limit tells, whatever the file's size claims to be meanwhile.
    const buffer = Buffer.alloc(Math.min((await file.stat()).size, limit) + 1)
    let length = 0
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, length)
      if (bytesRead === 0) break
      length += bytesRead
    }
    return length > limit ? 'too large' : buffer.subarray(0, length)
  } finally {
    await file.close()
  }
}

/** A gate's marks are shorter. */
const MARK = Buffer.alloc(1024)

/**
 * The first line of a small file that a gate writes; null while it is missing or
 * not whole, or was replaced by something else. Not through promises: it is asked
 * for often, and they cost ten times what the kernel needs.
 */
export function readMark(own: string, name: 'started' | 'exit'): string | null {
  try {
    using file = closing(openRegularSync(join(own, name)))
    const content = MARK.subarray(0, readSync(file.fd, MARK, 0, MARK.length, 0))
    const end = content.indexOf('\n')
    return end < 0 ? null : content.toString('utf8', 0, end)
  } catch (error) {
    if (error instanceof UntrustedFileError || isErrno(error, 'ENOENT')) return null
    throw error
  }
}

/** What the gate says of the program's end; null while it has said nothing. */
export function readExit(own: string): { code: number; outOfMemory: boolean } | null {
  const match = /^(\d{1,3})( oom)?$/.exec(readMark(own, 'exit') ?? '')
  return match === null ? null : { code: Number(match[1]), outOfMemory: match[2] !== undefined }
}
