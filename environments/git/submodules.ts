// The repositories that a repository names as its parts.
//
// What .gitmodules says comes from strangers, and the host's git may be root. So
// git's own `submodule update` is not used: names, paths and URLs are checked
// here, each part is cloned like any repository, and is put in its place without
// a link being followed.
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { RunFailureError } from '../../domain/failure.ts'
import { Repository, withoutCredentials } from '../../domain/run.ts'
import { isErrno } from '../errno.ts'
import { openBelow, within } from '../inside-directory.ts'
import type { Owner } from '../run-directory.ts'
import type { Remote } from './access.ts'
import { type CloneContext, cloneInto } from './clone.ts'
import { failure } from './failures.ts'
import { type GitOptions, git } from './git.ts'

/** A repository may name itself as its part: there must be an end. Large projects have some hundred, and three levels. */
const MOST = 500
const DEEPEST = 10

export interface Submodule {
  name: string
  path: string
  url: string
  commit: string
}

export interface SubmoduleOptions extends CloneContext {
  /** A directory of the host's own, for clones on their way. */
  staging: string
  owner: Owner
  depth: number | undefined
  /** False: what cannot be had is told, and left out. */
  required: boolean
  onMissing(path: string, reason: string, nextStep: string | undefined): void
  /** Called for each one when it is in its place. */
  onPlaced(part: Place): Promise<void>
}

/** A repository as it lies in a clone. */
export interface Place {
  /** Where its files are, in the clone. */
  worktree: string
  /** Where its history is. */
  gitDir: string
  remote: Remote
  git: GitOptions
  /** As the person knows it, from the top of the clone; empty for the top itself. */
  path: string
}

/** Fills the places of submodules in a clone, and of theirs. */
export async function cloneSubmodules(top: Place, options: SubmoduleOptions): Promise<void> {
  let count = 0
  const waiting = [{ place: top, level: 1 }]
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const { place, level } = next
    for (const found of await submodulesOf(place)) {
      const path = place.path === '' ? found.path : `${place.path}/${found.path}`
      try {
        if ('trouble' in found) throw refused(path, found.trouble)
        count += 1
        if (count > MOST || level > DEEPEST) {
          throw refused(path, `there are more than ${MOST} of them, or more than ${DEEPEST} levels`)
        }
        const part = await fill(place, found, path, join(options.staging, `submodule-${count}`), options)
        await options.onPlaced(part)
        waiting.push({ place: part, level: level + 1 })
      } catch (error) {
        if (options.required || !(error instanceof RunFailureError)) throw error
        options.onMissing(path, error.message, error.failure.nextStep)
      }
    }
  }
}

const refused = (path: string, why: string) =>
  failure('repository_unreachable', `The submodule ${path} is left out: ${why}.`, {
    nextStep: 'Mend .gitmodules, or do without it: `submodules: false`.',
  })

type Found = Submodule | { path: string; trouble: string }

/** What the commit that is checked out has for submodules, each with its URL or with what is wrong. */
async function submodulesOf({ git: options, remote }: Place): Promise<Found[]> {
  const said = await git(['config', '--blob', 'HEAD:.gitmodules', '-z', '--get-regexp', '^submodule\\.'], options)
  if (said.code !== 0) return []
  const tree = await git(['ls-tree', '-r', '-z', '--full-tree', 'HEAD'], options)
  const links = new Map<string, string>()
  for (const entry of tree.stdout.split('\0')) {
    const match = /^160000 commit ([0-9a-f]+)\t(.*)$/s.exec(entry)
    if (match?.[1] && match[2] !== undefined) links.set(match[2], match[1])
  }
  return readSubmodules(said.stdout, links, remote.url)
}

/** @param settings of .gitmodules, as `git config -z` has them. */
export function readSubmodules(settings: string, links: ReadonlyMap<string, string>, parentUrl: string): Found[] {
  const named = new Map<string, { path?: string; url?: string }>()
  for (const setting of settings.split('\0')) {
    const [, name, key, value] = /^submodule\.(.*)\.(path|url)\n(.*)$/s.exec(setting) ?? []
    if (name === undefined || key === undefined) continue
    named.set(name, { ...named.get(name), [key]: value })
  }
  const found: Found[] = []
  for (const [name, { path = '', url }] of named) {
    const commit = links.get(path)
    // One that was removed is often still named.
    if (commit === undefined) continue
    const resolved = url === undefined ? null : resolveUrl(parentUrl, url)
    const others = [...named.keys()].filter((other) => other !== name)
    const trouble =
      (isSafeName(name) && !others.some((other) => other.startsWith(`${name}/`) || name.startsWith(`${other}/`))
        ? null
        : 'its name is not safe to use') ??
      (isSafePath(path) ? null : 'its path is not safe to use') ??
      (resolved === null ? 'its URL leads nowhere' : urlTrouble(resolved))
    if (trouble !== null || resolved === null)
      found.push({ path: printable(path), trouble: trouble ?? 'it has no URL' })
    else found.push({ name, path, url: resolved, commit })
  }
  return found
}

const printable = (path: string) => path.replace(/\p{Cc}/gu, '?').slice(0, 300)

const isSafePath = (path: string) =>
  path.length <= 1_000 &&
  !/[\p{Cc}\\]/u.test(path) &&
  !path.startsWith('-') &&
  path.split('/').every((part) => part !== '' && part !== '.' && part !== '..' && !/^\.?git~?\d*[. ]*$/i.test(part))

/** It becomes a path below `.git/modules`. */
const isSafeName = (name: string) => name.length <= 200 && isSafePath(name)

/** The same that holds for a repository of a request; and a stranger's repository names none of this machine's. */
function urlTrouble(url: string): string | null {
  if (!Repository.shape.url.safeParse(url).success) return 'its URL is none that a repository may have'
  if (/^file:/i.test(url)) return 'its URL is a path of this machine'
  return null
}

/** Relative URLs begin at their repository's own, as git has it. Null where they lead above its server. */
export function resolveUrl(parent: string, url: string): string | null {
  if (!/^\.\.?\//.test(url)) return url
  const [, server, slash, path] = /^([a-z+]+:\/\/[^/]*|[^/:]+:)(\/?)(.*)$/.exec(parent) ?? []
  if (server === undefined || path === undefined) return null
  const parts = path.split('/').filter((part) => part !== '')
  for (const part of url.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') parts.push(part)
    else if (parts.pop() === undefined) return null
  }
  return parts.length === 0 ? null : `${server}${slash}${parts.join('/')}`
}

async function fill(
  parent: Place,
  { name, path, url, commit }: Submodule,
  shownPath: string,
  clone: string,
  options: SubmoduleOptions,
): Promise<Place> {
  const { remote } = await cloneInto(
    clone,
    url,
    { ref: commit, depth: options.depth },
    { ...options, parent: parent.remote },
  ).catch((error) => {
    if (!(error instanceof RunFailureError)) throw error
    const { code, message, ...details } = error.failure
    throw failure(code, `The submodule ${shownPath} is missing. ${message}`, details)
  })
  // As git lays it out: the history with that of the repository, and a file that points to it.
  const gitDir = join(parent.gitDir, 'modules', name)
  const worktree = join(parent.worktree, path)
  await mkdir(dirname(gitDir), { recursive: true })
  await rename(join(clone, '.git'), gitDir)
  await writeFile(join(clone, '.git'), `gitdir: ${relative(worktree, gitDir)}\n`)
  const settings: [string, string[]][] = [
    [gitDir, ['core.worktree', relative(gitDir, worktree)]],
    [parent.gitDir, [`submodule.${name}.active`, 'true']],
    [parent.gitDir, [`submodule.${name}.url`, withoutCredentials(url)]],
  ]
  for (const [directory, setting] of settings) {
    const { code, stderr } = await git(['config', '--file', join(directory, 'config'), ...setting], parent.git)
    if (code !== 0) throw failure('internal_error', `git could not note the submodule ${shownPath}: ${stderr}`, {})
  }
  const directory = await openBelow(parent.worktree, path.split('/').slice(0, -1).join('/'), options.owner)
  try {
    // Over the empty directory that the checkout has left.
    await rename(clone, within(directory, path.split('/').at(-1) ?? path))
  } catch (error) {
    if (!isErrno(error, 'ENOTEMPTY', 'EEXIST', 'ENOTDIR')) throw error
    throw refused(shownPath, 'something else is in its place')
  } finally {
    await directory.close()
  }
  return {
    worktree,
    gitDir,
    remote,
    git: { ...parent.git, cwd: worktree, credentials: remote.credentials },
    path: shownPath,
  }
}
