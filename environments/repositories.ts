// Repositories into the workspace, by the host's git, before anything in the sandbox has touched them.
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type FailureCode, logTail, RunFailureError } from '../domain/failure.ts'
import { type Repository, withoutCredentials } from '../domain/run.ts'
import { type GitOptions, type GitResult, git, globalConfig } from './git.ts'
import { openBelow, within } from './inside-directory.ts'
import { isPassingTrouble } from './passing-trouble.ts'
import { exists, type Owner, type RunPaths } from './run-directory.ts'

const run = promisify(execFile)

/** A full clone of 50,000 files and 5,000 commits took under a minute; the largest known take some ten times that. */
const CLONE_MS = 30 * 60_000

/** A repository in the workspace; its URL without credentials. */
export interface ClonedRepository {
  path: string
  url: string
}

export interface CloneOptions {
  repositories: readonly Repository[]
  /** Commits to begin at, by the repositories' paths, whatever has become of their branches since. */
  at?: Readonly<Record<string, string>>
  paths: RunPaths
  owner: Owner
  signal: AbortSignal
  onProgress?(line: string): void
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
        if (await exists(target)) continue
        const clone = join(attempt, String(index))
        await cloneInto(clone, repository, attempt, { ...options, commit: options.at?.[path] })
        if (process.getuid?.() === 0) await run('chown', ['-R', '-h', `${owner.uid}:${owner.gid}`, clone])
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

/** The commits of repositories that nobody has worked in yet; one without a commit is left out. */
export async function clonedCommits(
  paths: RunPaths,
  repositories: readonly ClonedRepository[],
  signal: AbortSignal,
): Promise<Record<string, string>> {
  if (repositories.length === 0) return {}
  const config = join(paths.staging, 'gitconfig')
  await mkdir(paths.staging, { recursive: true, mode: 0o700 })
  await writeFile(config, globalConfig(), { mode: 0o600 })
  const commits: Record<string, string> = {}
  for (const { path } of repositories) {
    const commit = await commitOf('HEAD', { cwd: join(paths.workspace, path), config, credentials: null, signal })
    if (commit !== null) commits[path] = commit
  }
  return commits
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

function credentialsOf(url: string): GitOptions['credentials'] {
  const match = /^https?:\/\/([^/?#:]*)(?::([^/?#]*))?@([^/?#@]+)/.exec(url)
  if (match === null) return null
  return { username: decode(match[1] ?? ''), password: decode(match[2] ?? ''), host: match[3] ?? '' }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // Not percent-encoded, then: as it stands.
    return text
  }
}

async function cloneInto(
  clone: string,
  repository: Repository,
  attempt: string,
  options: CloneOptions & { commit: string | undefined },
): Promise<void> {
  const url = withoutCredentials(repository.url)
  const config = join(attempt, 'gitconfig')
  await writeFile(config, globalConfig(), { mode: 0o600 })
  const deadline = AbortSignal.timeout(CLONE_MS)
  const gitOptions: GitOptions = {
    cwd: attempt,
    config,
    credentials: credentialsOf(repository.url),
    signal: AbortSignal.any([options.signal, deadline]),
    ...(options.onProgress && { onLine: options.onProgress }),
  }
  const inClone: GitOptions = { ...gitOptions, cwd: clone }
  try {
    options.onProgress?.(`git clone ${url}`)
    const cloned = await git(
      ['clone', '--progress', '--no-checkout', '--no-hardlinks', '--template=', '--', url, clone],
      gitOptions,
    )
    if (cloned.code !== 0) throw unreachable(url, cloned)
    // The template is left out for the hooks in it; people and tools count on its directories.
    for (const name of ['info', 'hooks']) await mkdir(join(clone, '.git', name), { recursive: true })
    const checkedOut = await checkOut(repository, url, inClone)
    if (checkedOut.code !== 0) throw unreachable(url, checkedOut)
    if (options.commit !== undefined) await goBackTo(options.commit, url, inClone)
  } catch (error) {
    if (deadline.aborted && !options.signal.aborted) throw tooSlow(url)
    throw error
  }
}

async function checkOut({ ref }: Repository, url: string, options: GitOptions): Promise<GitResult> {
  if (ref === undefined) {
    const head = await commitOf('HEAD', options)
    // An empty repository has nothing to check out.
    return head === null ? { code: 0, stdout: '', stderr: '' } : git(['reset', '--hard', '--quiet'], options)
  }
  const branch = ref.replace(/^refs\/heads\//, '')
  if ((await commitOf(`refs/remotes/origin/${branch}`, options)) !== null) {
    return git(['checkout', '--quiet', '--force', '-B', branch, '--track', `origin/${branch}`], options)
  }
  const commit =
    (await commitOf(`refs/tags/${ref.replace(/^refs\/tags\//, '')}`, options)) ??
    (/^[0-9a-f]{4,64}$/i.test(ref) ? await commitOf(ref, options) : null) ??
    (await fetchedCommit(ref, options))
  if (commit === null) throw refNotFound(ref, url, await refsOf(options))
  return git(['checkout', '--quiet', '--force', '--detach', commit], options)
}

/** The branch that is checked out may have moved on; what the run has done begins at this commit. */
async function goBackTo(commit: string, url: string, options: GitOptions): Promise<void> {
  if ((await commitOf('HEAD', options)) === commit) return
  const there = (await commitOf(commit, options)) ?? (await fetchedCommit(commit, options))
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
  if (reset.code !== 0) throw unreachable(url, reset)
}

async function commitOf(name: string, options: GitOptions): Promise<string | null> {
  const found = await git(['rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`], options)
  return found.code === 0 ? found.stdout.trim() : null
}

/** Commits and refs that a clone does not bring: of pull requests, or not reachable from any branch. */
async function fetchedCommit(ref: string, options: GitOptions): Promise<string | null> {
  const { onLine: _, ...quietly } = options
  const fetched = await git(['fetch', '--quiet', '--no-tags', 'origin', ref], quietly)
  return fetched.code === 0 ? commitOf('FETCH_HEAD', options) : null
}

async function refsOf(options: GitOptions): Promise<string> {
  const refs = await git(
    ['for-each-ref', '--count=30', '--format=%(refname:lstrip=2)', 'refs/remotes', 'refs/tags'],
    options,
  )
  return refs.stdout
}

function unreachable(url: string, result: GitResult): RunFailureError {
  const isDenied = /authentication failed|could not read username|permission denied|access denied|\b40[13]\b/i.test(
    result.stderr,
  )
  const isPassing = !isDenied && isPassingTrouble(result.stderr)
  return failure(
    isPassing ? 'repository_unavailable' : 'repository_unreachable',
    `The repository ${url} could not be cloned.`,
    {
      command: `git clone ${url}`,
      exitCode: result.code,
      logTail: logTail(result.stderr),
      nextStep: isPassing
        ? 'Start the run again when its server answers.'
        : isDenied
          ? 'Give the host access to it: a token in the URL, or a key or credential helper of the user that runs the host.'
          : 'Check the URL, and that this host reaches it.',
    },
  )
}

function refNotFound(ref: string, url: string, refs: string): RunFailureError {
  return failure('ref_not_found', `The repository ${url} has no branch, tag or commit ${ref}.`, {
    logTail: refs.trim() === '' ? undefined : logTail(`It has:\n${refs}`),
    nextStep: 'Check `ref`; without it the default branch is taken.',
  })
}

const tooSlow = (url: string) =>
  failure('repository_unavailable', `Cloning ${url} took longer than ${CLONE_MS / 60_000} minutes.`, {
    nextStep: 'Check the connection of this host, or use a smaller repository.',
  })

function failure(
  code: FailureCode,
  message: string,
  details: Omit<RunFailureError['failure'], 'code' | 'phase' | 'message'>,
): RunFailureError {
  return new RunFailureError({ code, phase: 'workspace', message, ...details })
}

/** Who commits where the user has said nothing of it: git refuses to commit without a name. */
export const commitIdentity = (): Record<string, string> => ({
  GIT_AUTHOR_NAME: 'Ambient',
  GIT_AUTHOR_EMAIL: 'ambient@localhost',
  GIT_COMMITTER_NAME: 'Ambient',
  GIT_COMMITTER_EMAIL: 'ambient@localhost',
})
