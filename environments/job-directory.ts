// The files of one job. The sandbox's user writes some of them, so the host reads them with distrust.
import { randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, readdir, rename, rm, rmdir, unlink, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isErrno } from './errno.ts'
import { within } from './inside-directory.ts'
import { openDirectory, openRegular, UntrustedFileError } from './no-links.ts'
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
export async function createJobDirectory(paths: JobPaths, stdin: string, owner: Owner): Promise<void> {
  // What is said there is of a job that was removed: a new directory is a new job.
  if (!(await exists(paths.root))) await rm(paths.gate, { recursive: true, force: true })
  await mkdir(dirname(paths.root), { recursive: true, mode: 0o755 })
  await using jobs = await openDirectory(dirname(paths.root))
  await mkdir(within(jobs, basename(paths.root)), { mode: 0o755 }).catch(ignoreExisting)
  await using root = await openDirectory(paths.root)
  await createFile(root, paths.stdin, stdin, owner)
  await createFile(root, paths.output, '', owner)
  await mkdir(within(root, basename(paths.own)), { mode: 0o700 }).catch(ignoreExisting)
  await using own = await openDirectory(paths.own)
  await giveTo(`/proc/self/fd/${own.fd}`, owner)
}

/**
 * Puts a file into the job's own directory, before the job is started; what was
 * there is replaced. The caller writes and closes it.
 */
export async function createJobFile(paths: JobPaths, name: string, owner: Owner): Promise<FileHandle> {
  await createJobDirectory(paths, '', owner)
  const own = await openDirectory(paths.own)
  try {
    const path = `/proc/self/fd/${own.fd}/${name}`
    await rm(path, { force: true })
    const file = await open(path, 'wx', 0o600)
    await giveTo(`/proc/self/fd/${file.fd}`, owner)
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
async function createFile(directory: FileHandle, path: string, content: string, owner: Owner): Promise<void> {
  await writeFile(within(directory, basename(path)), content, { flag: 'wx', mode: 0o600 }).catch(ignoreExisting)
  await using file = await openRegular(path)
  await giveTo(`/proc/self/fd/${file.fd}`, owner)
}

function ignoreExisting(error: unknown): void {
  if (!isErrno(error, 'EEXIST')) throw error
}

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

/** The first line of a small file that a gate writes; null while it is missing or not whole, or was replaced by something else. */
export async function readMark(own: string, name: 'started' | 'exit'): Promise<string | null> {
  const content = await readBounded(join(own, name), 1024).catch((error: unknown) => {
    if (error instanceof UntrustedFileError) return null
    throw error
  })
  if (content === null || content === 'too large') return null
  const text = content.toString('utf8')
  const end = text.indexOf('\n')
  return end < 0 ? null : text.slice(0, end)
}

/** What the gate says of the program's end; null while it has said nothing. */
export async function readExit(own: string): Promise<{ code: number; outOfMemory: boolean } | null> {
  const match = /^(\d{1,3})( oom)?$/.exec((await readMark(own, 'exit')) ?? '')
  return match === null ? null : { code: Number(match[1]), outOfMemory: match[2] !== undefined }
}
