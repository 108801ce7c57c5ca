// Files that Git LFS keeps beside a repository, fetched by the host: a sandbox has no credentials for it.
//
// git-lfs only fetches them. It would follow links that a stranger's repository
// holds when it writes them, and the host may be root: they are put in their
// places here.
import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, open, readdir, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { RunFailureError } from '../../domain/failure.ts'
import { isErrno } from '../errno.ts'
import { openBelow, within } from '../inside-directory.ts'
import { exists, type Owner } from '../run-directory.ts'
import { failure } from './failures.ts'
import { type GitOptions, git } from './git.ts'
import type { Place } from './submodules.ts'

const FILTERS = [
  ...['-c', 'filter.lfs.clean=git-lfs clean -- %f'],
  ...['-c', 'filter.lfs.smudge=git-lfs smudge -- %f'],
  ...['-c', 'filter.lfs.process=git-lfs filter-process'],
  ...['-c', 'filter.lfs.required=true'],
]

/** A pointer is a short text; git-lfs takes none for one that is longer. */
const POINTER_BYTES = 1_024
const POINTER = /^version https:\/\/git-lfs\.github\.com\/spec\/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n/

export interface LargeFileOptions {
  owner: Owner
  /** False: what cannot be had is told, and its pointers stay. */
  required: boolean
  onMissing(path: string, reason: string, nextStep: string | undefined): void
}

/** @returns the paths of such files: git must be told how they are now. */
export async function fetchLargeFiles(place: Place, options: LargeFileOptions): Promise<string[]> {
  const files = await largeFiles(place.git)
  if (files.length === 0) return []
  try {
    await fetchThem(place, files.length)
    const absent = await putThem(place, files, options.owner)
    if (absent > 0) {
      throw missing(place, absent, 'they were not among those that were fetched', {
        nextStep: 'Check that they are on the server, and not left out by `lfs.fetchexclude` in .lfsconfig.',
      })
    }
  } catch (error) {
    if (options.required || !(error instanceof RunFailureError)) throw error
    options.onMissing(place.path, error.message, error.failure.nextStep)
  }
  return files.map(({ path }) => path)
}

interface LargeFile {
  path: string
  mode: number
}

/** The regular files that its attributes hand to Git LFS. */
async function largeFiles(options: GitOptions): Promise<LargeFile[]> {
  const { stdout } = await git(['ls-files', '--stage', '-z', '--', ':(attr:filter=lfs)'], options)
  return stdout.split('\0').flatMap((entry) => {
    const [, mode, path] = /^100(644|755) [0-9a-f]+ 0\t(.*)$/s.exec(entry) ?? []
    return mode === undefined || path === undefined ? [] : [{ path, mode: Number.parseInt(mode, 8) }]
  })
}

const missing = ({ remote }: Place, count: number, why: string, details: { nextStep: string; logTail?: string }) =>
  failure('repository_unreachable', `${count} files of ${remote.url} are pointers of Git LFS: ${why}.`, details)

async function fetchThem(place: Place, count: number): Promise<void> {
  const { git: options } = place
  if ((await git(['lfs', 'version'], options)).code !== 0) {
    throw missing(place, count, 'git-lfs is not installed on the host', {
      nextStep: 'Have git-lfs installed on the host.',
    })
  }
  const strange = await strangeServer(options)
  if (strange !== null) {
    throw missing(place, count, `its .lfsconfig names ${strange}, which is no web address`, {
      nextStep: 'Mend .lfsconfig: its URLs begin with https://.',
    })
  }
  const fetched = await git([...FILTERS, 'lfs', 'fetch', 'origin', 'HEAD'], options)
  await unlinkCopies(join(place.gitDir, 'lfs'))
  if (fetched.code === 0) return
  throw missing(place, count, 'they could not be fetched', {
    logTail: fetched.stderr.slice(-1_000),
    nextStep: 'Check that the files are on the server, and that the host may read them with the same credentials.',
  })
}

/** From a repository of this machine git-lfs takes its very files, by links: what an agent writes over must be nobody else's. */
async function unlinkCopies(directory: string): Promise<void> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  })
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile() || (await stat(path)).nlink === 1) continue
    const draft = `${path}.${randomUUID()}.draft`
    await copyFile(path, draft, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
    await rename(draft, path)
  }
}

/** @returns how many of them are not there to be put in their places. */
async function putThem({ worktree, gitDir }: Place, files: readonly LargeFile[], owner: Owner): Promise<number> {
  let absent = 0
  const before = new Date(Date.now() - 10_000)
  for (const { path, mode } of files) {
    const directory = await openBelow(worktree, path.split('/').slice(0, -1).join('/'), owner)
    try {
      const place = within(directory, path.split('/').at(-1) ?? path)
      const object = await pointsTo(place)
      // A file that was committed as it is.
      if (object === null) continue
      const stored = join(gitDir, 'lfs', 'objects', object.slice(0, 2), object.slice(2, 4), object)
      if (!exists(stored)) {
        absent += 1
        continue
      }
      const draft = within(directory, `.${randomUUID()}.draft`)
      await copyFile(stored, draft, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
      const file = await open(draft, constants.O_RDONLY | constants.O_NOFOLLOW)
      try {
        await file.chmod(mode)
        // Git looks into a file that is as new as its index, whatever it has noted of it.
        await file.utimes(before, before)
      } finally {
        await file.close()
      }
      await rename(draft, place)
    } finally {
      await directory.close()
    }
  }
  return absent
}

async function pointsTo(path: string): Promise<string | null> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(POINTER_BYTES), 0, POINTER_BYTES, 0)
      return POINTER.exec(buffer.subarray(0, bytesRead).toString('utf8'))?.[1] ?? null
    } finally {
      await file.close()
    }
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ELOOP', 'EISDIR')) return null
    throw error
  }
}

/** The repository may name another server for them, but no place on this machine. */
async function strangeServer(options: GitOptions): Promise<string | null> {
  const said = await git(['config', '--blob', 'HEAD:.lfsconfig', '-z', '--get-regexp', 'url$'], options)
  const values = said.stdout.split('\0').flatMap((setting) => setting.split('\n').slice(1))
  return values.find((value) => !/^https?:\/\//i.test(value))?.slice(0, 300) ?? null
}

/**
 * Notes in the index how the files are on the disk now: by their size and their
 * owner git would take them for changed, and without git-lfs it could not tell.
 */
export async function noteLargeFiles({ git: options }: Pick<Place, 'git'>, paths: readonly string[]): Promise<void> {
  const input = paths.map((path) => `${path}\0`).join('')
  await git([...FILTERS, 'update-index', '-q', '--refresh', '-z', '--stdin'], { ...options, input })
}
