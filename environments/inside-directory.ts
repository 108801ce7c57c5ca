// Puts files into directories that a sandbox writes to, and never anywhere else.
import { randomUUID } from 'node:crypto'
import { constants, fstatSync } from 'node:fs'
import { type FileHandle, mkdir, open, rename } from 'node:fs/promises'
import { isErrno } from './errno.ts'
import { giveTo, type Owner, type RunPaths } from './run-directory.ts'

/**
 * Opens a directory below `root`, making what is missing. No symbolic link is
 * followed on the way: the sandbox may have put one there, and the host may be
 * root. The caller closes it.
 */
export async function openBelow(root: string, path: string, owner: Owner): Promise<FileHandle> {
  let directory = await openDirectory(root)
  for (const name of path.split('/').filter((part) => part !== '')) {
    if (name === '.' || name === '..') throw new TypeError(`not a path below a directory: ${path}`)
    const parent = directory
    try {
      directory = await makeAndOpen(within(parent, name), owner)
    } finally {
      await parent.close()
    }
  }
  return directory
}

/** The path of a name in an open directory, whatever happens to the directory's own path. */
export const within = (directory: Pick<FileHandle, 'fd'>, name: string) => `/proc/self/fd/${directory.fd}/${name}`

export const openDirectory = (path: string): Promise<FileHandle> =>
  open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)

async function makeAndOpen(path: string, owner: Owner): Promise<FileHandle> {
  await mkdir(path, { mode: 0o755 }).catch((error: unknown) => {
    if (!isErrno(error, 'EEXIST')) throw error
  })
  const directory = await openDirectory(path)
  // One that is the host's own is new, or was made by a worker that died before it gave it away.
  const { uid } = fstatSync(directory.fd)
  if (uid !== owner.uid && uid === process.getuid?.()) giveTo(`/proc/self/fd/${directory.fd}`, owner)
  return directory
}

/** Writes files into the sandbox's home; paths are relative to it. What is there is replaced. */
export const writeHomeFiles = (
  paths: Pick<RunPaths, 'home'>,
  files: readonly { path: string; content: string }[],
  owner: Owner,
): Promise<void> => writeFilesBelow(paths.home, files, owner)

/** Writes files by paths that are relative to a directory. What is there is replaced. */
export async function writeFilesBelow(
  root: string,
  files: readonly { path: string; content: string | Uint8Array; mode?: number }[],
  owner: Owner,
): Promise<void> {
  for (const { path, content, mode = 0o600 } of files) {
    const cut = path.lastIndexOf('/')
    const directory = await openBelow(root, path.slice(0, cut + 1), owner)
    try {
      const draft = within(directory, `.${randomUUID()}.draft`)
      const file = await open(draft, 'wx', mode)
      try {
        await file.writeFile(content)
        giveTo(`/proc/self/fd/${file.fd}`, owner)
      } finally {
        await file.close()
      }
      await rename(draft, within(directory, path.slice(cut + 1)))
    } finally {
      await directory.close()
    }
  }
}
