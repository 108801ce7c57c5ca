// One bare mirror of each repository that runs ask for, so that its history comes over the network once.
//
// A mirror belongs to a team and a URL. Before it serves anybody the server is
// asked, with the run's own credentials, what the repository has: who may not
// see it gets nothing from here, and what has come meanwhile is fetched. Programs
// on one machine share it under a lock, which git holds too: when a process is
// killed, its git goes on holding the lock until it has ended.
import { createHash, randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isPassingTrouble } from '../passing-trouble.ts'
import { exists } from '../run-directory.ts'
import { type GitAccess, gitOptions, type Remote } from './access.ts'
import { isDenied, isTooMuch, unreachable } from './failures.ts'
import { lockFile } from './file-lock.ts'
import { type GitOptions, type GitResult, git } from './git.ts'
import { listRemote, type RemoteRefs } from './remote-refs.ts'

/** What git says of each ref that it fetches, of which there may be thousands. */
const REF_LINE = /^(From |\s.* -> )/

export interface Mirror {
  /** A bare repository with the server's branches and tags. Not to be changed. */
  directory: string
  refs: RemoteRefs
  /** It has objects that the server no longer gives to anybody: copies of it are to be made of what its refs reach. */
  hasMore: boolean
  /** For git in the mirror: it holds the mirror's lock. */
  git: GitOptions
  /** It is of no use after all: the next one to come makes it again. */
  distrust(): Promise<void>
}

export interface MirrorOptions {
  remote: Remote
  team: string
  access: GitAccess
  signal: AbortSignal
  onProgress?: ((line: string) => void) | undefined
}

export interface MirrorPlace {
  root: string
  lock: string
  repository: string
  /** There while the repository is changed: one that a dead process has left is of no use. */
  torn: string
  /** There when the repository has objects that no ref reaches. */
  rewritten: string
  /** For people, and for the log of what is removed. */
  name: string
}

export function mirrorPlace(root: string): MirrorPlace {
  const at = (name: string) => join(root, name)
  return {
    root,
    lock: at('lock'),
    repository: at('repository.git'),
    torn: at('torn'),
    rewritten: at('rewritten'),
    name: at('url'),
  }
}

const placeOf = (mirrors: string, team: string, url: string) =>
  mirrorPlace(join(mirrors, createHash('sha256').update(`${team}\0${url}`).digest('hex').slice(0, 40)))

/**
 * Lets `work` read the mirror as the server has the repository at this moment.
 * Null, and no work, where there is nothing to mirror: mirrors are turned off,
 * or the repository is empty.
 * @throws {RunFailureError} repository_unreachable, repository_unavailable
 */
export async function withMirror<T>(options: MirrorOptions, work: (mirror: Mirror) => Promise<T>): Promise<T | null> {
  const { remote, team, access, signal } = options
  if (access.mirrors === null) return null
  const place = placeOf(access.mirrors, team, remote.url)
  await mkdir(place.root, { recursive: true, mode: 0o700 })
  const plain = gitOptions(remote, access, { cwd: place.root, signal, onLine: options.onProgress })
  const { onLine: _, ...quiet } = plain
  const refs = await listRemote(remote, access, quiet)
  if (refs.refs.size === 0) return null
  for (const kind of ['shared', 'exclusive'] as const) {
    const lock = await lockPlace(place, kind, signal)
    try {
      const isFresh = await isUpToDate(place, refs, { ...quiet, lock })
      if (kind === 'shared' && !isFresh) continue
      // The lock is kept for the work: no other one is to come between.
      if (!isFresh) await bringUpToDate(place, refs, options, { ...plain, lock })
      await noteUse(place)
      const hasMore = exists(place.rewritten)
      return await work({
        directory: place.repository,
        refs,
        hasMore,
        git: { ...quiet, cwd: place.repository, lock },
        distrust: () => writeFile(place.torn, '', { mode: 0o600 }),
      })
    } finally {
      await lock.close()
    }
  }
  throw new Error('a mirror is brought up to date under an exclusive lock')
}

async function lockPlace(place: MirrorPlace, kind: 'shared' | 'exclusive', signal: AbortSignal): Promise<FileHandle> {
  for (;;) {
    // The tidying may remove it at any time but this.
    await mkdir(place.root, { recursive: true, mode: 0o700 })
    const lock = await lockFile(place.lock, { kind, signal, wait: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null
      throw error
    })
    if (lock !== null) return lock
  }
}

async function isUpToDate(place: MirrorPlace, { head, refs }: RemoteRefs, options: GitOptions): Promise<boolean> {
  if (exists(place.torn) || !exists(place.repository)) return false
  const inMirror = { ...options, cwd: place.repository }
  const listed = await git(['for-each-ref', '--format=%(objectname)\t%(refname)', 'refs/heads', 'refs/tags'], inMirror)
  const lines = listed.stdout.split('\n').filter((line) => line !== '')
  if (listed.code !== 0 || lines.length !== refs.size) return false
  const isSame = lines.every((line) => {
    const [object, name = ''] = line.split('\t')
    return refs.get(name) === object
  })
  if (!isSame) return false
  const symbolic = await git(['symbolic-ref', '--quiet', 'HEAD'], inMirror)
  return (symbolic.stdout.trim() || null) === head
}

async function bringUpToDate(
  place: MirrorPlace,
  refs: RemoteRefs,
  { remote, access }: MirrorOptions,
  options: GitOptions,
): Promise<void> {
  if (exists(place.torn)) await throwAway(place)
  const isNew = !exists(place.repository)
  let fetched = await update(place, refs, remote, options)
  // With what has come of it.
  if (fetched.code !== 0 && isTooMuch(fetched.stderr)) {
    await throwAway(place)
    throw unreachable(remote.url, fetched, access)
  }
  // The server has just answered, so it may be the mirror that is at fault.
  if (fetched.code !== 0 && !isNew && !isDenied(fetched.stderr, access) && !isPassingTrouble(fetched.stderr)) {
    await throwAway(place)
    fetched = await update(place, refs, remote, options)
  }
  if (fetched.code !== 0) throw unreachable(remote.url, fetched, access)
}

async function update(place: MirrorPlace, refs: RemoteRefs, remote: Remote, options: GitOptions): Promise<GitResult> {
  const inMirror = { ...options, cwd: place.repository }
  const { onLine: _, ...quietly } = inMirror
  await writeFile(place.torn, '', { mode: 0o600 })
  await writeFile(place.name, remote.url, { mode: 0o600 })
  if (!exists(place.repository)) {
    const format = [...refs.refs.values()][0]?.length === 64 ? 'sha256' : 'sha1'
    const args = ['init', '--bare', '--quiet', '--template=', `--object-format=${format}`, place.repository]
    const made = await git(args, { ...quietly, cwd: place.root })
    if (made.code !== 0) return made
  }
  const before = await tipsOf(quietly)
  const fetched = await git(
    [
      // Packs are copied faster than thousands of files.
      ...['-c', 'transfer.unpackLimit=1'],
      ...['fetch', '--progress', '--prune', '--no-tags', '--update-shallow', '--no-write-fetch-head', '--'],
      ...[remote.url, '+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*'],
    ],
    { ...inMirror, onLine: (line) => (REF_LINE.test(line) ? undefined : options.onLine?.(line)) },
  )
  if (fetched.code === 0) {
    const { head, headCommit } = refs
    if (head !== null) await git(['symbolic-ref', 'HEAD', head], quietly)
    else if (headCommit !== null) await git(['update-ref', '--no-deref', 'HEAD', headCommit], quietly)
    await git(['pack-refs', '--all'], quietly)
    if (await hasLost(before, quietly)) await writeFile(place.rewritten, '', { mode: 0o600 })
  }
  // A git that ended by itself leaves what it had, or more. One that was killed does not come here.
  await rm(place.torn)
  return fetched
}

async function tipsOf(options: GitOptions): Promise<string[]> {
  const { stdout } = await git(['for-each-ref', '--format=%(objectname)'], options)
  return [...new Set(stdout.split('\n').filter((line) => line !== ''))]
}

/** Whether anything was reached before that is not reached any more. */
async function hasLost(before: readonly string[], options: GitOptions): Promise<boolean> {
  if (before.length === 0) return false
  const found = await git(['rev-list', '--objects', '--max-count=1', '--stdin'], {
    ...options,
    input: [...before, '--not', '--all', ''].join('\n'),
  })
  return found.code !== 0 || found.stdout.trim() !== ''
}

/** In one step, so that nobody takes for a mirror what is left of one. */
export async function throwAway(place: MirrorPlace): Promise<void> {
  if (exists(place.repository)) await rename(place.repository, join(place.root, `old-${randomUUID()}`))
  for (const name of await readdir(place.root)) {
    if (name.startsWith('old-')) await rm(join(place.root, name), { recursive: true, force: true, maxRetries: 3 })
  }
  await rm(place.rewritten, { force: true })
}

/** The age of its lock tells when a mirror was used last. */
async function noteUse({ lock }: MirrorPlace): Promise<void> {
  const now = new Date()
  await utimes(lock, now, now)
}
