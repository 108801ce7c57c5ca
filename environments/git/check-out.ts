// Which commit a fresh clone shows, and on which branch.
import { join } from 'node:path'
import type { Repository } from '../../domain/run.ts'
import { exists } from '../run-directory.ts'
import type { GitAccess } from './access.ts'
import { failure, refNotFound, unreachable } from './failures.ts'
import { type GitOptions, git } from './git.ts'

/** @throws {RunFailureError} ref_not_found, repository_unreachable */
export async function checkOut(
  { ref, push_branch: own, depth }: Pick<Repository, 'ref' | 'push_branch' | 'depth'>,
  url: string,
  access: GitAccess,
  options: GitOptions,
): Promise<void> {
  const run = async (args: string[]) => {
    const done = await git(args, options)
    if (done.code !== 0) throw unreachable(url, done, access, 'checkout')
  }
  const branch = ref?.replace(/^refs\/heads\//, '')
  if (ref === undefined || branch === undefined) {
    const head = await commitOf('HEAD', options)
    // An empty repository has nothing to check out, and its first commit makes the branch.
    if (head === null) return own === undefined ? undefined : run(['symbolic-ref', 'HEAD', `refs/heads/${own}`])
    if (own === undefined || own === (await currentBranch(options))) return run(['reset', '--hard', '--quiet'])
    return run(['checkout', '--quiet', '--force', '--no-track', '-B', own])
  }
  if ((await commitOf(`refs/remotes/origin/${branch}`, options)) !== null) {
    const from = `refs/remotes/origin/${branch}`
    if (own !== undefined && own !== branch) {
      return run(['checkout', '--quiet', '--force', '--no-track', '-B', own, from])
    }
    return run(['checkout', '--quiet', '--force', '-B', branch, '--track', `origin/${branch}`])
  }
  const commit =
    (await commitOf(`refs/tags/${ref.replace(/^refs\/tags\//, '')}`, options)) ??
    (/^[0-9a-f]{4,64}$/i.test(ref) ? await commitOf(ref, options) : null) ??
    (await fetchedCommit(ref, options, depth))
  if (commit === null) throw refNotFound(ref, url, await refsOf(options), depth !== undefined)
  return run([
    ...['checkout', '--quiet', '--force'],
    ...(own === undefined ? ['--detach', commit] : ['--no-track', '-B', own, commit]),
  ])
}

/** The branch that is checked out may have moved on; what the run has done begins at this commit. */
export async function goBackTo(
  commit: string,
  url: string,
  access: GitAccess,
  options: GitOptions,
  depth?: number,
): Promise<void> {
  if ((await commitOf('HEAD', options)) === commit) return
  const there = (await commitOf(commit, options)) ?? (await fetchedCommit(commit, options, depth))
  if (there === null) {
    throw failure(
      'ref_not_found',
      `The repository ${url} no longer has the commit ${commit} that the run began with.`,
      {
        nextStep: 'Bring the commit back on any branch or tag, and send a follow-up; or start another run.',
      },
    )
  }
  const reset = await git(['reset', '--hard', '--quiet', there], options)
  if (reset.code !== 0) throw unreachable(url, reset, access, 'reset')
}

export async function commitOf(name: string, options: GitOptions): Promise<string | null> {
  const found = await git(['rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`], options)
  return found.code === 0 ? found.stdout.trim() : null
}

async function currentBranch(options: GitOptions): Promise<string | null> {
  const { code, stdout } = await git(['symbolic-ref', '--quiet', '--short', 'HEAD'], options)
  return code === 0 ? stdout.trim() : null
}

/** Commits and refs that a clone does not bring: of pull requests, or not reachable from any branch. */
async function fetchedCommit(ref: string, options: GitOptions, depth?: number): Promise<string | null> {
  const { onLine: _, ...quietly } = options
  const isShallow = depth !== undefined && exists(join(options.cwd, '.git', 'shallow'))
  const args = isShallow ? ['--depth', String(depth)] : []
  const fetched = await git(['fetch', '--quiet', '--no-tags', ...args, 'origin', ref], quietly)
  return fetched.code === 0 ? commitOf('FETCH_HEAD', options) : null
}

async function refsOf(options: GitOptions): Promise<string> {
  const refs = await git(
    ['for-each-ref', '--count=30', '--format=%(refname:lstrip=2)', 'refs/remotes', 'refs/tags'],
    options,
  )
  return refs.stdout
}
