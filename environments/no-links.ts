// Opens files below a run's directory by paths in which the sandbox may have put links, and refuses whatever a link led to.
import { closeSync, constants, fstatSync, openSync, readlinkSync, realpathSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
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
  return await onlyRegular(await openAsNamed(path, constants.O_NONBLOCK), path)
}

/** What was opened at a path, where that is a regular file; else it is closed. @throws {UntrustedFileError} */
export async function onlyRegular(file: FileHandle, path: string): Promise<FileHandle> {
  if (fstatSync(file.fd).isFile()) return file
  await file.close()
  throw untrusted(path)
}

/** As {@link openDirectory}. The caller closes the descriptor. */
export const openDirectorySync = (path: string): number => openAsNamedSync(path, constants.O_DIRECTORY)

/** As {@link openRegular}, for what is small and often read. The caller closes the descriptor. */
export function openRegularSync(path: string): number {
  const fd = openAsNamedSync(path, constants.O_NONBLOCK)
  if (fstatSync(fd).isFile()) return fd
  closeSync(fd)
  throw untrusted(path)
}

const AS_NAMED = constants.O_RDONLY | constants.O_NOFOLLOW

async function openAsNamed(path: string, flags: number): Promise<FileHandle> {
  const file = await open(path, AS_NAMED | flags).catch((error: unknown) => {
    throw refusal(error, path)
  })
  try {
    if (isAsNamed(file.fd, path)) return file
    throw untrusted(path)
  } catch (error) {
    await file.close()
    throw error
  }
}

function openAsNamedSync(path: string, flags: number): number {
  let fd: number
  try {
    fd = openSync(path, AS_NAMED | flags)
  } catch (error) {
    throw refusal(error, path)
  }
  try {
    if (isAsNamed(fd, path)) return fd
    throw untrusted(path)
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** The kernel knows where the opened file is, whatever stood on the way to it and has been changed since. */
const isAsNamed = (fd: number, path: string) => readlinkSync(`/proc/self/fd/${fd}`) === realName(path)

const refusal = (error: unknown, path: string) =>
  isErrno(error, 'ELOOP', 'ENOTDIR', 'ENXIO') ? untrusted(path) : error
const untrusted = (path: string) => new UntrustedFileError(`${path} is not what was put there`)

/** A run's directory is named by a UUID. What is above it is the machine's own, links and all. */
const BELOW_RUN = /^(.*?)(\/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\/.*)$/
const realDirectories = new Map<string, string>()

function realName(path: string): string {
  const [, directory = dirname(path), rest = `/${basename(path)}`] = BELOW_RUN.exec(path) ?? []
  let real = realDirectories.get(directory)
  if (real === undefined) {
    real = realpathSync(directory)
    realDirectories.set(directory, real)
  }
  return `${real}${rest}`
}
