// Brings a run's work into a repository on this machine: as a branch, or as a patch.
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { typed } from '../config.ts'
import type { Api, ResultItem } from './api/client.ts'
import { usageError } from './exit.ts'
import { git, gitOrNull } from './git.ts'
import { currentRepository, repositoryAt } from './repositories.ts'

export interface BranchWish {
  name: string
  /** The repository to bring it to; null: the one the run was made from, or the current directory's. */
  into: string | null
  /** Replace a branch of that name that has other commits. */
  force: boolean
}

export type BroughtHome =
  | { path: string; branch: string; repository: string; commit: string; note: string | null }
  | { path: string; branch: null; reason: string }

/** What a bundle of a run's result is to hold. Other names in it are the sandbox's, and never become an argument. */
const RESULT_REF = 'refs/ambient/result'

/** Refused before a run starts, rather than after it. `isPrompt`: there is no other prompt, so this may be it. */
export async function checkBranchName(name: string, { isPrompt }: { isPrompt: boolean }): Promise<void> {
  if ((await gitOrNull(['check-ref-format', '--branch', name], { cwd: '/' })) === name) return
  throw usageError(
    `"${name}" cannot be the name of a branch.`,
    isPrompt
      ? 'Put the prompt before --branch, or write --branch=name, so that the prompt is not taken for the name.'
      : 'Git allows no spaces and none of ~ ^ : ? * [ \\ and .. in one, and no - at its beginning.',
  )
}

/**
 * Refuses a branch that is checked out: bringing commits to it would leave its
 * files behind, so git does not do it, forced or not.
 */
export async function refuseCheckedOut(name: string, repository: string): Promise<void> {
  const trees = (await gitOrNull(['worktree', 'list', '--porcelain'], { cwd: repository })) ?? ''
  const tree = trees.split('\n\n').find((each) => each.split('\n').includes(`branch refs/heads/${name}`))
  if (tree === undefined) return
  const place = /^worktree (.*)$/m.exec(tree)?.[1] ?? repository
  throw usageError(
    `The branch ${name} is checked out in ${place}, and what is checked out is not touched.`,
    `Take another name, and merge it there: git -C ${place} merge <name>`,
  )
}

/** Fetches the result of each repository of the run as a branch. Nothing that is checked out is touched. */
export async function bringBranch(api: Api, runId: string, wish: BranchWish): Promise<BroughtHome[]> {
  const results = await api.result(runId)
  const home: BroughtHome[] = []
  for (const result of results) home.push(await bringOne(api, runId, result, wish))
  return home
}

async function bringOne(api: Api, runId: string, result: ResultItem, wish: BranchWish): Promise<BroughtHome> {
  const { path } = result
  if (result.files_changed === 0 && result.commits.length === 0) {
    return { path, branch: null, reason: result.note ?? 'nothing was changed' }
  }
  if (result.bundle_bytes === null)
    return { path, branch: null, reason: result.note?.replace(/\.$/, '') ?? 'its commits are not kept' }
  const repository = await homeOf(result, wish.into)
  await refuseCheckedOut(wish.name, repository)
  const directory = await mkdtemp(join(tmpdir(), 'ambient-bundle-'))
  try {
    const bundle = join(directory, 'result.bundle')
    await writeFile(bundle, await api.bundle(runId, path))
    await git(
      [
        // What comes from a sandbox is checked object by object, and runs no hook here.
        ...['-c', 'fetch.fsckObjects=true', '-c', 'core.hooksPath=/dev/null'],
        ...['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', '--no-recurse-submodules', bundle],
        `${wish.force ? '+' : ''}${RESULT_REF}:refs/heads/${wish.name}`,
      ],
      { cwd: repository },
    ).catch(async (error: unknown) => {
      const exists = await gitOrNull(['rev-parse', '--verify', '--quiet', `refs/heads/${wish.name}`], {
        cwd: repository,
      })
      if (exists === null || wish.force) throw error
      throw usageError(
        `The branch ${wish.name} is already in ${repository} and has other commits.`,
        `Take another name, or replace it: ${typed} apply ${runId.slice(0, 8)} --branch ${wish.name} --force`,
      )
    })
    const commit = await git(['rev-parse', `refs/heads/${wish.name}`], { cwd: repository })
    return { path, branch: wish.name, repository, commit, note: result.note }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** Where a result belongs: only a repository that has the commit it begins from can take it. */
async function homeOf(result: ResultItem, into: string | null): Promise<string> {
  const tried: string[] = []
  for (const place of [
    into && (await repositoryAt(into)),
    into ? null : localPath(result.url),
    into ? null : await currentRepository(),
  ]) {
    if (!place || tried.includes(place)) continue
    const base = result.base_commit
    if (base === null || (await gitOrNull(['cat-file', '-e', `${base}^{commit}`], { cwd: place })) !== null)
      return place
    tried.push(place)
  }
  throw usageError(
    tried.length === 0
      ? `There is no repository here to bring the changes of ${result.url} to.`
      : `${tried.join(' and ')} lacks the commit ${result.base_commit?.slice(0, 10)} that the changes of ${result.url} begin from.`,
    'Go to a clone of it (git fetch there, where it is old), or name one with --into.',
  )
}

function localPath(url: string): string | null {
  if (!url.startsWith('file://')) return null
  const path = fileURLToPath(url)
  return existsSync(path) ? path : null
}
