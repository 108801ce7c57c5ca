// Puts archived files into a directory of the sandbox, and never anywhere else: an archive holds what an agent made.
import { constants } from 'node:fs'
import { type FileHandle, lchown, open, symlink, unlink } from 'node:fs/promises'
import { isErrno } from '../errno.ts'
import { openBelow, within } from '../inside-directory.ts'
import { giveTo, type Owner } from '../run-directory.ts'
import type { ArchiveEntry } from './archive.ts'

/** An entry that would not be where it says, or is nothing that a checkpoint holds. */
export class UnsafeEntryError extends Error {
  override readonly name = 'UnsafeEntryError'
}

export interface UnpackOptions {
  /** Below this and nowhere else. */
  root: string
  owner: Owner
  /** Changes the content of files on their way. */
  transform?: ((content: AsyncIterable<Buffer>) => AsyncIterable<Buffer>) | undefined
}

/**
 * Unpacks entries one after the other; `finish` gives directories their modes,
 * which may forbid to write into them. A file or link that is in the way is
 * replaced. No symbolic link is followed, wherever it came from.
 * @throws {UnsafeEntryError}
 */
export function createUnpacker({ root, owner, transform = (content) => content }: UnpackOptions) {
  const directories: { path: string; mode: number }[] = []

  async function inParent<T>(path: string, work: (parent: FileHandle, name: string) => Promise<T>): Promise<T> {
    const cut = path.lastIndexOf('/')
    const parent = await openSafely(root, path.slice(0, cut + 1), owner)
    try {
      return await work(parent, path.slice(cut + 1))
    } finally {
      await parent.close()
    }
  }

  return {
    /** @param path below the root; empty for the root itself. */
    async put(path: string, { headers, content }: Pick<ArchiveEntry, 'headers' | 'content'>): Promise<void> {
      const mode = headers.mode & 0o777
      if (path !== '') checkPath(path)
      switch (headers.type) {
        case 'directory': {
          const made = await openSafely(root, path, owner)
          await made.close()
          if (path !== '') directories.push({ path, mode })
          return
        }
        case 'file':
          if (path === '') break
          return await inParent(path, async (parent, name) => {
            await makeRoom(within(parent, name))
            await writeFile(within(parent, name), { mode, modified: headers.mtime, owner }, transform(content))
          })
        case 'symlink':
          if (path === '') break
          return await inParent(path, async (parent, name) => {
            await makeRoom(within(parent, name))
            await symlink(headers.linkname, within(parent, name))
            if (process.getuid?.() === 0) await lchown(within(parent, name), owner.uid, owner.gid)
          })
      }
      throw new UnsafeEntryError(`not to be unpacked: ${headers.type} ${headers.name}`)
    },

    async finish(): Promise<void> {
      // From the inside out: one that may not be entered closes what is below it.
      for (const { path, mode } of directories.reverse()) {
        const directory = await openSafely(root, path, owner)
        await directory.chmod(mode).finally(() => directory.close())
      }
    },
  }
}

function checkPath(path: string): void {
  const isSafe = !path.includes('\0') && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
  if (!isSafe) throw new UnsafeEntryError(`not a path below the directory: ${path}`)
}

/** As `openBelow`; something that is no directory on the way is refused. */
async function openSafely(root: string, path: string, owner: Owner): Promise<FileHandle> {
  try {
    return await openBelow(root, path, owner)
  } catch (error) {
    if (!isErrno(error, 'ELOOP', 'ENOTDIR')) throw error
    throw new UnsafeEntryError(`something else is in the place of the directory ${path}`, { cause: error })
  }
}

async function makeRoom(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return
    if (!isErrno(error, 'EISDIR', 'EPERM')) throw error
    throw new UnsafeEntryError(`a directory is in the place of the file ${path}`, { cause: error })
  }
}

async function writeFile(
  path: string,
  about: { mode: number; modified: Date; owner: Owner },
  content: AsyncIterable<Buffer>,
): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  const file = await open(path, flags, 0o600)
  try {
    await file.writeFile(content)
    giveTo(`/proc/self/fd/${file.fd}`, about.owner)
    await file.chmod(about.mode)
    await file.utimes(about.modified, about.modified)
  } finally {
    await file.close()
  }
}
