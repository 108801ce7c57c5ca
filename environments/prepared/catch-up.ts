// From the commits of a snapshot to those of today: what is new comes from the host's mirror, and the sandbox's git puts
// it into the repository. The set-up's commands have worked there, so the host's own git does not go near it.
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { logTail, RunFailureError } from '../../domain/failure.ts'
import type { Repository } from '../../domain/run.ts'
import { type GitAccess, gitOptions, remoteOf } from '../git/access.ts'
import { type GitOptions, git } from '../git/git.ts'
import { withMirror } from '../git/mirror.ts'
import { commitIn, listRemote } from '../git/remote-refs.ts'
import { planRepositories } from '../git/repositories.ts'
import { createJobFile, jobPaths, removeJob } from '../job-directory.ts'
import { openRegular } from '../no-links.ts'
import type { Owner, RunPaths } from '../run-directory.ts'
import { type LookOptions, look, NO_GIT } from '../work-product/work-product.ts'
import { MOVE_SCRIPT } from './catch-up-script.ts'
import type { PreparedRepository } from './snapshots.ts'

/** What a repository has to be given to come to another commit. */
export const Move = z.object({
  path: z.string(),
  from: z.string(),
  to: z.string(),
  /** What HEAD stands for in the workspace; null where it is at no branch. */
  branch: z.string().nullable(),
  /** The server's branch that is at the commit now; null where the commit was asked for in another way. */
  upstream: z.string().nullable(),
  commits: z.number().int(),
  /** Of the files that differ; below the repository. */
  files: z.array(z.string()),
  /** Objects for it, in the run's own directory. */
  pack: z.string(),
})
export type Move = z.infer<typeof Move>

/** The repositories cannot be brought to their commits in this way; with the reason, for people. */
export class CannotCatchUpError extends Error {
  override readonly name = 'CannotCatchUpError'
}

export interface NewsOptions {
  repositories: readonly Repository[]
  prepared: readonly PreparedRepository[]
  /** Commits to come to, by the repositories' paths; absent, what the ref stands for now. */
  at: Readonly<Record<string, string>>
  team: string
  access: GitAccess
  signal: AbortSignal
  /** Where packs are put. */
  directory: string
}

/**
 * What has changed since. Asks each server, and fetches into the mirror what is new.
 * @throws {CannotCatchUpError}
 * @throws {RunFailureError} repository_unreachable, repository_unavailable
 */
export async function whatIsNew(options: NewsOptions): Promise<Move[]> {
  await rm(options.directory, { recursive: true, force: true })
  await mkdir(options.directory, { recursive: true, mode: 0o700 })
  const plan = planRepositories(options.repositories)
  const found = await Promise.allSettled(
    plan.map(({ repository, path }, number) => newsOf(repository, { path, number, options })),
  )
  // Only when all are over: none is to write beside the next attempt.
  for (const each of found) if (each.status === 'rejected') throw each.reason
  return found.flatMap((each) => (each.status === 'fulfilled' && each.value !== null ? [each.value] : []))
}

interface Place {
  path: string
  number: number
  options: NewsOptions
}

async function newsOf(repository: Repository, { path, number, options }: Place): Promise<Move | null> {
  const { team, access, signal, directory } = options
  const prepared = options.prepared.find((each) => each.path === path)
  const from = prepared?.commit ?? null
  const wanted = options.at[path]
  if (from !== null && wanted === from) return null
  const remote = await remoteOf(repository.url, access)
  const quiet = gitOptions(remote, access, { cwd: directory, signal })
  const names = repository.ref?.startsWith('refs/') ? [repository.ref] : []
  const listed = await listRemote(remote, access, quiet, names)
  const now = wanted === undefined ? commitIn(listed, repository.ref) : { commit: wanted, branch: null }
  if (now === null && from === null && listed.refs.size === 0) return null
  // An abbreviated commit is still the same one.
  if (
    now === null &&
    from !== null &&
    /^[0-9a-f]{7,}$/.test(repository.ref ?? '') &&
    from.startsWith(`${repository.ref}`)
  )
    return null
  if (now === null) throw new CannotCatchUpError(`only a clone can tell what ${repository.ref ?? 'HEAD'} of ${path} is`)
  if (now.commit === from) return null
  if (from === null || prepared === undefined) throw new CannotCatchUpError(`${path} had no commit`)
  const move = await withMirror({ remote, team, access, signal }, async (mirror) => {
    await checkCanMove(mirror.git, { path, from, to: now.commit, isShallow: repository.depth !== undefined })
    const { commits, files } = await difference(mirror.git, from, now.commit)
    const pack = await packOf(mirror.git, { from, to: now.commit, prefix: join(directory, String(number)) })
    const { branch } = prepared
    return { path, from, to: now.commit, branch, upstream: now.branch, commits, files, pack }
  })
  if (move === null) throw new CannotCatchUpError('this host keeps no mirrors of repositories')
  return move
}

async function checkCanMove(
  options: GitOptions,
  { path, from, to, isShallow }: { path: string; from: string; to: string; isShallow: boolean },
): Promise<void> {
  for (const commit of [from, to]) {
    const there = await git(['cat-file', '-e', `${commit}^{commit}`], options)
    if (there.code !== 0) throw new CannotCatchUpError(`the commit ${commit.slice(0, 12)} of ${path} is gone`)
  }
  if (isShallow) {
    const merges = await git(['rev-list', '--merges', '--max-count=1', `${from}..${to}`], options)
    const ancestor = await git(['merge-base', '--is-ancestor', from, to], options)
    if (ancestor.code !== 0 || merges.stdout.trim() !== '')
      throw new CannotCatchUpError(`what is new in ${path} needs more of its history than was cloned`)
  }
  // Submodules and large files are not in the pack.
  const raw = await git(['diff', '--raw', '-z', '--no-renames', from, to], options)
  if (/(?:^|\0):(?:160000 \d{6}|\d{6} 160000) /.test(raw.stdout))
    throw new CannotCatchUpError(`a submodule of ${path} has changed`)
  const large = await git(['grep', '-l', '-e', 'filter=lfs', to, '--', ':(glob)**/.gitattributes'], options)
  if (large.stdout.trim() !== '') throw new CannotCatchUpError(`${path} has large files, which only a clone brings`)
}

async function difference(
  options: GitOptions,
  from: string,
  to: string,
): Promise<{ commits: number; files: string[] }> {
  const counted = await git(['rev-list', '--count', `${from}..${to}`], options)
  const named = await git(['diff', '--name-only', '-z', '--no-renames', from, to], options)
  if (counted.code !== 0 || named.code !== 0) throw new Error(`git could not compare: ${logTail(named.stderr)}`)
  return { commits: Number(counted.stdout.trim()), files: named.stdout.split('\0').filter((file) => file !== '') }
}

/** @returns the file's path. */
async function packOf(options: GitOptions, { from, to, prefix }: { from: string; to: string; prefix: string }) {
  const args = ['pack-objects', '--quiet', '--revs', '--delta-base-offset', prefix]
  const packed = await git(args, { ...options, input: `${to}\n^${from}\n` })
  if (packed.code !== 0) throw new Error(`git could not pack: ${logTail(packed.stderr)}`)
  await rename(`${prefix}-${packed.stdout.trim()}.pack`, `${prefix}.pack`)
  return `${prefix}.pack`
}

/**
 * Has the sandbox's git move the repositories. Idempotent by `id` and the
 * sandbox's generation.
 * @returns those in which the set-up's own changes to the repository's files had to go.
 * @throws {CannotCatchUpError}
 */
export async function moveRepositories(
  options: LookOptions & { moves: readonly Move[]; id: string; owner: Owner; paths: RunPaths },
): Promise<string[]> {
  const { moves, paths, owner, sandbox } = options
  const id = `${options.id}-${sandbox.generation}`
  const job = jobPaths(paths, id)
  if (!(await sandbox.hasJob(id))) {
    for (const [number, { pack }] of moves.entries()) {
      await using source = await openRegular(pack)
      await using target = await createJobFile(job, `${number}.pack`, owner)
      await target.writeFile(source.createReadStream({ autoClose: false }))
    }
  }
  const args = moves.flatMap(({ path, from, to, branch, upstream }) => [path, from, to, branch ?? '-', upstream ?? '-'])
  const { code, lines } = await look(options, { id, script: MOVE_SCRIPT, args: ['0', ...args] })
  if (code === NO_GIT) throw new CannotCatchUpError('the image has no git to bring what is new into it')
  if (code === 137) {
    throw new RunFailureError({
      code: 'sandbox_lost',
      phase: 'workspace',
      message: 'The sandbox was lost while its repositories were brought up to date.',
    })
  }
  if (code !== 0) throw new CannotCatchUpError(`its repositories could not be moved: ${logTail(lines.join('\n'))}`)
  await removeJob(paths, id)
  return lines.flatMap((line) => {
    const number = /^again (\d+)$/.exec(line)?.[1]
    const move = number === undefined ? undefined : moves[Number(number)]
    return move === undefined ? [] : [move.path]
  })
}
