// The one directory for all data: made where it is missing, and refused with the setting's name where it cannot be.
import { accessSync, constants, existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** @throws an error that names AMBIENT_DATA and what to do. */
export function makeDataDirectory(path: string): void {
  try {
    make(path)
    if (!statSync(path).isDirectory()) throw new Refusal('it is a file')
    accessSync(path, constants.W_OK | constants.X_OK)
  } catch (error) {
    throw new Error(
      `AMBIENT_DATA is ${path}, which cannot be used as a directory for data: ${reasonOf(error)}. ` +
        'Set it to a directory that this user may write to, or to one that can be made.',
      { cause: error },
    )
  }
}

class Refusal extends Error {}

/** One directory after the other: asked for all of them at once, Node tries for ever where one of them cannot be. */
function make(path: string): void {
  if (existsSync(path)) return
  make(dirname(path))
  try {
    // Others may pass, as Postgres's own user must, but not look around.
    mkdirSync(path, { mode: 0o711 })
  } catch (error) {
    // Made by somebody else in between.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

const words: Record<string, string> = {
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a part of the path is a file',
  ENOENT: 'nothing can be made there',
  EEXIST: 'a part of the path is a file',
}

function reasonOf(error: unknown): string {
  if (error instanceof Refusal) return error.message
  const { code = '', message } = error as NodeJS.ErrnoException
  return words[code] ?? message
}
