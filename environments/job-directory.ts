// The files of one job. The sandbox's user writes some of them, so the host reads them with distrust.
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { giveTo, isErrno, type Owner } from './run-directory.ts'

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
}

/** @throws when the id cannot be the name of a directory. */
export function jobPaths(jobs: string, id: string): JobPaths {
  if (!/^[\w-][\w.-]{0,99}$/.test(id)) throw new TypeError(`not a job id: ${id}`)
  const root = join(jobs, id)
  return { root, stdin: join(root, 'stdin'), output: join(root, 'output'), own: join(root, 'own') }
}

/** Idempotent; a second call leaves what the job has written. */
export async function createJobDirectory(paths: JobPaths, stdin: string, owner: Owner): Promise<void> {
  await mkdir(paths.root, { recursive: true, mode: 0o755 })
  await createFile(paths.stdin, stdin, owner)
  await createFile(paths.output, '', owner)
  await mkdir(paths.own, { mode: 0o700 }).catch(ignoreExisting)
  const own = await openDirectory(paths.own)
  // Through the handle, so that it is the directory itself and never what a link points to.
  await giveTo(`/proc/self/fd/${own.fd}`, owner).finally(() => own.close())
}

async function createFile(path: string, content: string, owner: Owner): Promise<void> {
  try {
    await writeFile(path, content, { flag: 'wx', mode: 0o600 })
  } catch (error) {
    ignoreExisting(error)
  }
  const file = await openRegular(path)
  await giveTo(`/proc/self/fd/${file.fd}`, owner).finally(() => file.close())
}

function ignoreExisting(error: unknown): void {
  if (!isErrno(error, 'EEXIST')) throw error
}

const openDirectory = (path: string) => open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)

/**
 * Opens a regular file for reading and nothing else: a link, a pipe or a device
 * in its place is refused, and so is a link in place of its directory.
 * @throws {UntrustedFileError}
 */
export async function openRegular(path: string): Promise<FileHandle> {
  const cut = path.lastIndexOf('/')
  let directory: FileHandle | undefined
  try {
    directory = await openDirectory(path.slice(0, cut))
    const file = await open(
      `/proc/self/fd/${directory.fd}/${path.slice(cut + 1)}`,
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    )
    if ((await file.stat()).isFile()) return file
    await file.close()
  } catch (error) {
    if (!isErrno(error, 'ELOOP', 'ENOTDIR', 'ENXIO')) throw error
  } finally {
    await directory?.close()
  }
  throw new UntrustedFileError(`${path} is not the regular file that was put there`)
}

/** Something else stands where the host expects its file. */
export class UntrustedFileError extends Error {
  override readonly name = 'UntrustedFileError'
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
