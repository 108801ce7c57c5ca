// Opens files below a run's directory by paths in which the sandbox may have put links, and refuses whatever a link led to.
import { constants } from 'node:fs'
import { type FileHandle, open, readlink, realpath } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { isErrno } from './errno.ts'

/** Something else stands where the host expects its file. */
export class UntrustedFileError extends Error {
  override readonly name = 'UntrustedFileError'
}

/** Opens a directory. @throws {UntrustedFileError} when it is none, or any part of its path below the run's directory is a link. */
export const openDirectory = (path: string): Promise<FileHandle> => openAsNamed(path, constants.O_DIRECTORY)

/**
 * Opens a regular file for reading and nothing else: a pipe or a device in its
 * place is refused, and so is a link anywhere below the run's directory.
 * @throws {UntrustedFileError}
 */
export async function openRegular(path: string): Promise<FileHandle> {
  // A pipe would otherwise hold up whoever opens it.
  const file = await openAsNamed(path, constants.O_NONBLOCK)
  if ((await file.stat()).isFile()) return file
  await file.close()
  throw untrusted(path)
}

async function openAsNamed(path: string, flags: number): Promise<FileHandle> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | flags).catch((error: unknown) => {
    throw isErrno(error, 'ELOOP', 'ENOTDIR', 'ENXIO') ? untrusted(path) : error
  })
  // The kernel knows where the opened file is, whatever stood on the way to it and has been changed since.
  if ((await readlink(`/proc/self/fd/${file.fd}`)) === (await realName(path))) return file
  await file.close()
  throw untrusted(path)
}

const untrusted = (path: string) => new UntrustedFileError(`${path} is not what was put there`)

/** A run's directory is named by a UUID. What is above it is the machine's own, links and all. */
const BELOW_RUN = /^(.*?)(\/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\/.*)$/
const realDirectories = new Map<string, string>()

async function realName(path: string): Promise<string> {
  const [, directory = dirname(path), rest = `/${basename(path)}`] = BELOW_RUN.exec(path) ?? []
  let real = realDirectories.get(directory)
  if (real === undefined) {
    real = await realpath(directory)
    realDirectories.set(directory, real)
  }
  return `${real}${rest}`
}
