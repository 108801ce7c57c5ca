// One repository from its server into a directory, checked out, before any program of a sandbox has touched it.
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Repository } from '../../domain/run.ts'
import { type GitAccess, gitOptions, type Remote, remoteOf } from './access.ts'
import { checkOut, goBackTo } from './check-out.ts'
import { failure, refNotFound, unreachable } from './failures.ts'
import { type GitOptions, git } from './git.ts'
import { type Mirror, withMirror } from './mirror.ts'
import { branchRef, listRemote, tagRef } from './remote-refs.ts'

export interface CloneContext {
  access: GitAccess
  team: string
  signal: AbortSignal
  onProgress?: ((line: string) => void) | undefined
  /** The repository that this one is a submodule of. */
  parent?: Remote
}

/** What git is told besides where it comes from. */
export type Wanted = Pick<Repository, 'ref' | 'depth' | 'push_branch'> & {
  /** The commit to begin at, whatever has become of the branch since. */
  commit?: string | undefined
}

/**
 * Clones into `directory`, which is not there yet. It has the branches and tags
 * of the server, and `origin` is the server.
 * @throws {RunFailureError} repository_unreachable, repository_unavailable, ref_not_found
 */
export async function cloneInto(
  directory: string,
  url: string,
  wanted: Wanted,
  context: CloneContext,
): Promise<{ remote: Remote; git: GitOptions }> {
  const { access, onProgress } = context
  const remote = await remoteOf(url, access, context.parent)
  const deadline = AbortSignal.timeout(access.cloneMinutes * 60_000)
  const signal = AbortSignal.any([context.signal, deadline])
  const within = { ...context, signal }
  // The directory's own parent: this is where git is when it makes it.
  const options = gitOptions(remote, access, { cwd: join(directory, '..'), signal, onLine: onProgress })
  const inClone = { ...options, cwd: directory }
  try {
    onProgress?.(`git clone ${remote.url}`)
    if (wanted.depth !== undefined) await cloneShallow(directory, remote, wanted, within, options)
    else if (!(await cloneFromMirror(directory, remote, within)))
      await cloneDirectly(directory, remote, access, options)
    // The template is left out for the hooks in it; people and tools count on its directories.
    for (const name of ['info', 'hooks']) await mkdir(join(directory, '.git', name), { recursive: true })
    await checkOut(wanted, remote.url, access, inClone)
    if (wanted.commit !== undefined) await goBackTo(wanted.commit, remote.url, access, inClone, wanted.depth)
    const { onLine: _, ...quietly } = gitOptions(remote, access, { cwd: directory, signal: context.signal })
    return { remote, git: quietly }
  } catch (error) {
    if (deadline.aborted && !context.signal.aborted) throw tooSlow(remote.url, access)
    throw error
  }
}

const CLONE = ['clone', '--progress', '--no-checkout', '--template=']

async function cloneDirectly(directory: string, remote: Remote, access: GitAccess, options: GitOptions): Promise<void> {
  const cloned = await git([...CLONE, '--no-hardlinks', '--', remote.url, directory], options)
  if (cloned.code !== 0) throw unreachable(remote.url, cloned, access)
}

/** @returns false where there is no mirror to clone from. */
async function cloneFromMirror(
  directory: string,
  remote: Remote,
  { access, team, signal, onProgress }: CloneContext,
): Promise<boolean> {
  const made = await withMirror({ remote, team, access, signal, onProgress }, async (mirror) => {
    if (await copyOf(mirror, directory)) return true
    await mirror.distrust()
    await rm(directory, { recursive: true, force: true })
    return false
  })
  if (made !== true) return false
  const quietly = gitOptions(remote, access, { cwd: directory, signal })
  const renamed = await git(['remote', 'set-url', 'origin', remote.url], quietly)
  if (renamed.code !== 0) throw unreachable(remote.url, renamed, access)
  // It would say that the clone came from a path of this machine.
  await rm(join(directory, '.git', 'logs'), { recursive: true, force: true })
  return true
}

/**
 * Copies the mirror's packs as they are, which takes a tenth of a second where
 * making a pack and its index anew takes two. Never by links: what an agent
 * writes over in its clone must be nobody else's.
 */
async function copyOf(mirror: Mirror, directory: string): Promise<boolean> {
  const how = mirror.hasMore ? '--no-local' : '--no-hardlinks'
  const cloned = await git([...CLONE, how, '--', mirror.directory, directory], {
    ...mirror.git,
    cwd: join(directory, '..'),
    credentials: null,
  })
  return cloned.code === 0
}

/** Of one branch or tag, as git does it, or of the default branch with a commit beside it. */
async function cloneShallow(
  directory: string,
  remote: Remote,
  { ref, depth = 1 }: Wanted,
  { access }: CloneContext,
  options: GitOptions,
): Promise<void> {
  const { onLine: _, ...quietly } = options
  const listed = await listRemote(remote, access, quietly)
  const name = ref === undefined ? undefined : [branchRef(ref), tagRef(ref)].find((one) => listed.refs.has(one))
  const branch = name === undefined ? [] : ['--branch', name.replace(/^refs\/(heads|tags)\//, '')]
  const args = [...CLONE, '--no-hardlinks', '--depth', String(depth), ...branch, '--', remote.url, directory]
  const cloned = await git(args, options)
  if (cloned.code !== 0) throw unreachable(remote.url, cloned, access)
  if (ref === undefined || name !== undefined) return
  const fetched = await git(['fetch', '--quiet', '--no-tags', '--depth', String(depth), 'origin', ref], {
    ...quietly,
    cwd: directory,
  })
  if (fetched.code !== 0) throw refNotFound(ref, remote.url, [...listed.refs.keys()].slice(0, 30).join('\n'), true)
}

const tooSlow = (url: string, { cloneMinutes }: GitAccess) =>
  failure('repository_unavailable', `Cloning ${url} took longer than ${cloneMinutes} minutes.`, {
    nextStep:
      'Check the connection of this host, use a smaller repository, or raise the limit of the host (AMBIENT_CLONE_MINUTES).',
  })
