// Repositories into the workspace, by the host's git, before anything in the sandbox has touched them.
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { RunFailureError } from '../../domain/failure.ts'
import { type CommitIdentity, type Repository, withoutCredentials } from '../../domain/run.ts'
import { openBelow, within } from '../inside-directory.ts'
import { exists, type Owner, type RunPaths } from '../run-directory.ts'
import type { GitAccess } from './access.ts'
import { commitOf } from './check-out.ts'
import { cloneInto } from './clone.ts'
import { fetchLargeFiles, noteLargeFiles } from './large-files.ts'
import { cloneSubmodules, type Place } from './submodules.ts'

const run = promisify(execFile)

/** A repository in the workspace; its URL without credentials. */
export interface ClonedRepository {
  path: string
  url: string
}

/** What of a repository is not there, although the run may go on without. */
export interface CloneWarning {
  code: 'submodule_missing' | 'large_files_missing'
  message: string
}

export interface CloneOptions {
  repositories: readonly Repository[]
  /** Commits to begin at, by the repositories' paths, whatever has become of their branches since. */
  at?: Readonly<Record<string, string>>
  paths: RunPaths
  owner: Owner
  access: GitAccess
  /** Whose copies of repositories it uses. */
  team: string
  signal: AbortSignal
  onProgress?(line: string): void
  onWarning?(warning: CloneWarning): void
}

/**
 * Clones what is not there yet. A clone is made beside the workspace and moved
 * into it when it is whole, so a repeated call goes on where the last one ended.
 * @throws {RunFailureError} repository_unreachable, repository_unavailable, ref_not_found, invalid_run
 */
export async function cloneRepositories(options: CloneOptions): Promise<ClonedRepository[]> {
  const plan = planRepositories(options.repositories)
  if (plan.length === 0) return []
  const { paths, owner } = options
  const attempt = join(paths.staging, randomUUID())
  // What a dead predecessor began is of no use: only whole clones are moved out of here.
  await rm(paths.staging, { recursive: true, force: true, maxRetries: 3 })
  await mkdir(attempt, { recursive: true, mode: 0o700 })
  try {
    for (const [index, { repository, path }] of plan.entries()) {
      const parent = await openBelow(paths.workspace, path.split('/').slice(0, -1).join('/'), owner)
      try {
        const target = within(parent, path.split('/').at(-1) ?? path)
        if (exists(target)) continue
        const staging = join(attempt, String(index))
        await mkdir(staging)
        const clone = await cloneWhole(staging, repository, path, options)
        await rename(clone, target)
      } finally {
        await parent.close()
      }
    }
  } finally {
    await rm(attempt, { recursive: true, force: true, maxRetries: 3 })
  }
  return plan.map(({ repository, path }) => ({ path, url: withoutCredentials(repository.url) }))
}

/** With its submodules and large files, the sandbox's own. @returns where it is. */
async function cloneWhole(
  staging: string,
  repository: Repository,
  path: string,
  options: CloneOptions,
): Promise<string> {
  const { owner, access, team, signal, onProgress, onWarning } = options
  const context = { access, team, signal, onProgress }
  const clone = join(staging, 'clone')
  const { url, submodules, lfs } = repository
  const { remote, git } = await cloneInto(clone, url, { ...repository, commit: options.at?.[path] }, context)
  const top: Place = { worktree: clone, gitDir: join(clone, '.git'), remote, git, path: '' }
  const warn = (code: CloneWarning['code']) => (_part: string, reason: string, nextStep: string | undefined) =>
    onWarning?.({ code, message: nextStep === undefined ? reason : `${reason} ${nextStep}` })
  const withLargeFiles: { place: Place; files: string[] }[] = []
  const addLargeFiles = async (place: Place) => {
    if (lfs === false) return
    const asked = { owner, required: lfs === true, onMissing: warn('large_files_missing') }
    const files = await fetchLargeFiles(place, asked)
    if (files.length > 0) withLargeFiles.push({ place, files })
  }
  await addLargeFiles(top)
  if (submodules !== false) {
    await cloneSubmodules(top, {
      ...context,
      staging,
      owner,
      depth: repository.depth,
      required: submodules === true,
      onMissing: warn('submodule_missing'),
      onPlaced: addLargeFiles,
    })
  }
  // The owner of a file is among what git goes by: its index comes after them, and is given away once more.
  await giveAway(clone, owner)
  for (const { place, files } of withLargeFiles) await noteLargeFiles(place, files)
  if (withLargeFiles.length > 0) await giveAway(top.gitDir, owner)
  return clone
}

async function giveAway(directory: string, { uid, gid }: Owner): Promise<void> {
  if (process.getuid?.() === 0) await run('chown', ['-R', '-h', `${uid}:${gid}`, directory])
}

/** The commits of repositories that nobody has worked in yet; one without a commit is left out. */
export async function clonedCommits(
  paths: RunPaths,
  repositories: readonly ClonedRepository[],
  { access: { config, ssh }, signal }: Pick<CloneOptions, 'access' | 'signal'>,
): Promise<Record<string, string>> {
  const commits: Record<string, string> = {}
  for (const { path } of repositories) {
    const commit = await commitOf('HEAD', { cwd: join(paths.workspace, path), config, ssh, credentials: null, signal })
    if (commit !== null) commits[path] = commit
  }
  return commits
}

/** The branch that is checked out in each, as a whole ref; one at no branch is left out. For repositories that nobody has worked in yet. */
export async function headsOf(
  paths: Pick<RunPaths, 'workspace'>,
  repositories: readonly ClonedRepository[],
): Promise<Record<string, string>> {
  const heads: Record<string, string> = {}
  for (const { path } of repositories) {
    const head = await readFile(join(paths.workspace, path, '.git', 'HEAD'), 'utf8')
    const branch = /^ref: (refs\/heads\/\S+)$/.exec(head.trim())?.[1]
    if (branch !== undefined) heads[path] = branch
  }
  return heads
}

/** Where a repository is in the workspace: its path, or its name. */
export function repositoryPath({ url, path }: Repository): string {
  if (path !== undefined) return path
  const name = url
    .replace(/[?#].*$/, '')
    .replace(/\/+$/, '')
    .replace(/(\/|(?<=[^/:]))\.git$/, '')
    .split(/[/:]/)
    .at(-1)
  if (name !== undefined && /^[\w][\w.+~-]*$/.test(name)) return name
  throw invalid(
    `No name for the workspace follows from the URL ${withoutCredentials(url)}.`,
    "Give the repository's `path`.",
  )
}

/** @throws {RunFailureError} invalid_run when two repositories would share a place. */
export function planRepositories(repositories: readonly Repository[]): { repository: Repository; path: string }[] {
  const plan = repositories.map((repository) => ({ repository, path: repositoryPath(repository) }))
  for (const [index, { path }] of plan.entries()) {
    const other = plan.slice(0, index).find((one) => isWithin(one.path, path) || isWithin(path, one.path))
    if (other) {
      throw invalid(
        `Two repositories would be in the same place in the workspace: ${other.path} and ${path}.`,
        'Give each repository a `path` of its own, none inside another.',
      )
    }
  }
  return plan
}

const isWithin = (outer: string, path: string) => path === outer || path.startsWith(`${outer}/`)

const invalid = (message: string, nextStep: string) =>
  new RunFailureError({ code: 'invalid_run', phase: 'workspace', message, nextStep })

/** Who commits: the person who asked for the run, or nobody in particular. Git refuses to commit without a name. */
export function commitIdentity(identity: CommitIdentity | null): Record<string, string> {
  const { name, email } = identity ?? { name: 'Ambient', email: 'ambient@localhost' }
  return {
    GIT_AUTHOR_NAME: name,
    GIT_AUTHOR_EMAIL: email,
    GIT_COMMITTER_NAME: name,
    GIT_COMMITTER_EMAIL: email,
  }
}
