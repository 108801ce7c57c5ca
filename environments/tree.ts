// Looks through directories that a sandbox writes to, without ever leaving them: no symbolic link is followed.
import { createHash } from 'node:crypto'
import { type FileHandle, lstat, readdir, readlink } from 'node:fs/promises'
import { isErrno } from './errno.ts'
import { openDirectory, within } from './inside-directory.ts'

/** A directory of this machine, or one path below it, and what of it is left out. */
export interface Tree {
  root: string
  /** Below the root; empty for all of it. */
  path: string
  /** Paths below the root that are left out, with everything in them. */
  skip?: Pick<ReadonlySet<string>, 'has'>
}

export interface TreeEntry {
  /** Relative to the tree's path; empty for that itself. */
  path: string
  kind: 'file' | 'directory' | 'symlink'
  mode: number
  size: number
  modified: Date
  /** Where a symbolic link points to. */
  target: string | null
  /** Another one after each change. */
  mark: string
  /** Its path through its open directory, good until the next entry is asked for. */
  at: string
}

/** More than a checkpoint can be cheap with. */
const ENTRIES = 200_000

export class TreeTooLargeError extends Error {
  override readonly name = 'TreeTooLargeError'
}

/**
 * Directories before what is in them, each in order of names. What vanishes
 * meanwhile is left out, and so is what is neither file, directory nor symbolic
 * link.
 * @param onLost is told of what may not be read, or has a name that is not UTF-8.
 * @throws {TreeTooLargeError}
 */
export async function* walk(
  tree: Tree,
  signal: AbortSignal,
  onLost: (path: string) => void = () => {},
): AsyncGenerator<TreeEntry> {
  const names = tree.path.split('/').filter((name) => name !== '')
  const last = names.pop()
  let directory = await opened(tree.root)
  try {
    for (const name of names) {
      const next: FileHandle | null = directory && (await opened(within(directory, name)))
      await directory?.close()
      directory = next
    }
    if (directory === null) return
    const context = { signal, onLost, left: ENTRIES }
    if (last === undefined) yield* below(directory, '', tree, context)
    else yield* entry(directory, last, '', tree, context)
  } finally {
    await directory?.close()
  }
}

interface Walk {
  signal: AbortSignal
  onLost: (path: string) => void
  left: number
}

async function* below(directory: FileHandle, prefix: string, tree: Tree, walk: Walk): AsyncGenerator<TreeEntry> {
  const names = await readdir(within(directory, '.')).catch(nothing)
  for (const name of names?.toSorted() ?? []) {
    const path = `${prefix}${name}`
    if (tree.skip?.has(path)) continue
    yield* entry(directory, name, path, tree, walk)
  }
}

async function* entry(
  parent: FileHandle,
  name: string,
  path: string,
  tree: Tree,
  walk: Walk,
): AsyncGenerator<TreeEntry> {
  walk.signal.throwIfAborted()
  walk.left -= 1
  if (walk.left < 0) throw new TreeTooLargeError(`more than ${ENTRIES} files`)
  const at = within(parent, name)
  const found = await lstat(at, { bigint: true }).catch(nothing)
  if (found === null && name.includes('\uFFFD')) walk.onLost(path)
  if (found === null) return
  const kind = found.isFile() ? 'file' : found.isDirectory() ? 'directory' : found.isSymbolicLink() ? 'symlink' : null
  if (kind === null) return
  const mode = Number(found.mode & 0o777n)
  const target = kind === 'symlink' ? await readlink(at).catch(nothing) : null
  if (kind === 'symlink' && target === null) return
  // A directory's own times change with what is in it, which is looked at anyway.
  const change = kind === 'directory' ? '' : `:${found.size}:${found.mtimeNs}:${found.ctimeNs}:${found.ino}`
  yield {
    path,
    kind,
    mode,
    size: Number(found.size),
    modified: new Date(Number(found.mtimeMs)),
    target,
    mark: `${kind}:${mode}${change}`,
    at,
  }
  if (kind !== 'directory') return
  const directory = await opened(at)
  if (directory === null) return walk.onLost(path)
  try {
    yield* below(directory, path === '' ? '' : `${path}/`, tree, walk)
  } finally {
    await directory.close()
  }
}

/** What an entry takes in an archive beside its content. */
export const HEAD_BYTES = 512

/** What stands for the state of all the trees, the same as long as nothing in them changes; and what they take in an archive. */
export async function lookAtTrees(
  trees: readonly Tree[],
  signal: AbortSignal,
): Promise<{ key: string; bytes: number }> {
  const hash = createHash('sha256')
  let bytes = 0
  for (const tree of trees) {
    hash.update(`${tree.path}\0\0`)
    for await (const { path, mark, kind, size } of walk(tree, signal)) {
      hash.update(`${path}\0${mark}\0`)
      bytes += HEAD_BYTES + (kind === 'file' ? size : 0)
    }
  }
  return { key: hash.digest('hex'), bytes }
}

/** What a tree takes in an archive; null where that is more than `most`, or where there are too many files to say. */
export async function sizeOfTree(tree: Tree, most: number, signal: AbortSignal): Promise<number | null> {
  let bytes = 0
  try {
    for await (const { kind, size } of walk(tree, signal)) {
      bytes += HEAD_BYTES + (kind === 'file' ? size : 0)
      if (bytes > most) return null
    }
  } catch (error) {
    if (error instanceof TreeTooLargeError) return null
    throw error
  }
  return bytes
}

/** Null where there is no directory: nothing, a link, a file, or one that may not be read. */
const opened = (path: string): Promise<FileHandle | null> => openDirectory(path).catch(nothing)

function nothing(error: unknown): null {
  if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'EINVAL')) return null
  throw error
}
