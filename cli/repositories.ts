// What `--repo` means: a URL, or a repository on this machine.
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Repository } from '../domain/run.ts'
import { usageError } from './exit.ts'
import { git, gitOrNull } from './git.ts'
import { plural } from './render/text.ts'

export interface NamedRepository {
  repository: Repository
  /** The repository's directory, where it is on this machine. */
  local: string | null
  /** What the person should know before the run begins. */
  warning: string | null
}

const URL_SHAPE = /^([a-z][a-z+]*:\/\/|[\w.-]+@[\w.-]+:)/i

/** @throws {CliError} when a local path is not a repository, or has no commit yet. */
export async function nameRepository(text: string, ref?: string): Promise<NamedRepository> {
  const hash = text.lastIndexOf('#')
  // A directory may have a `#` in its name.
  const split = hash > 0 && (URL_SHAPE.test(text) || !existsSync(expand(text)))
  const place = split ? text.slice(0, hash) : text
  const wanted = (split ? text.slice(hash + 1) : '') || ref
  if (URL_SHAPE.test(place)) {
    return { repository: { url: place, ...(wanted && { ref: wanted }) }, local: null, warning: null }
  }
  return nameLocal(place, wanted)
}

async function nameLocal(place: string, wanted: string | undefined): Promise<NamedRepository> {
  const path = expand(place)
  if (!existsSync(path))
    throw usageError(
      `There is no directory ${path}.`,
      '--repo takes a path or a git URL such as https://… or git@host:path.',
    )
  const top = (await gitOrNull(['rev-parse', '--show-toplevel'], { cwd: path })) ?? (await bareRoot(path))
  if (top === null)
    throw usageError(`${path} is not in a git repository.`, 'Make it one: git init && git add -A && git commit')

  const head = await gitOrNull(['rev-parse', '--verify', '--quiet', 'HEAD^{commit}'], { cwd: top })
  if (head === null && !wanted)
    throw usageError(
      `The repository ${top} has no commit yet.`,
      'An agent gets what is committed: git add -A && git commit',
    )
  if (
    wanted &&
    (await gitOrNull(['rev-parse', '--verify', '--quiet', '--end-of-options', `${wanted}^{commit}`], { cwd: top })) ===
      null
  ) {
    throw usageError(`The repository ${top} has no branch, tag or commit ${wanted}.`)
  }
  // Named, so that the run means this branch even when another one is checked out before the host clones.
  const branch = await gitOrNull(['symbolic-ref', '--quiet', '--short', 'HEAD'], { cwd: top })
  const ref = wanted ?? branch ?? head
  return {
    repository: { url: pathToFileURL(top).href, ...(ref && { ref }) },
    local: top,
    warning: await uncommitted(top),
  }
}

const expand = (path: string) => resolve(path.replace(/^~(?=\/|$)/, homedir()))

async function bareRoot(path: string): Promise<string | null> {
  const bare = await gitOrNull(['rev-parse', '--is-bare-repository'], { cwd: path })
  return bare === 'true' ? git(['rev-parse', '--absolute-git-dir'], { cwd: path }) : null
}

async function uncommitted(top: string): Promise<string | null> {
  const status = await gitOrNull(['status', '--porcelain', '--untracked-files=normal'], { cwd: top })
  if (!status) return null
  const names = status.split('\n').map((line) => line.slice(3))
  const some = names.slice(0, 3).join(', ') + (names.length > 3 ? ', …' : '')
  return `${plural(names.length, 'path')} in ${top} with changes that are not committed (${some}): the agent does not get them. Commit first where it should.`
}

/** The repository that the current directory is in. */
export async function currentRepository(directory = process.cwd()): Promise<string | null> {
  const top = await gitOrNull(['rev-parse', '--show-toplevel'], { cwd: directory })
  return top ?? bareRoot(directory)
}

/** A directory's repository, when the person names one. */
export async function repositoryAt(path: string): Promise<string> {
  const top = existsSync(path) ? await currentRepository(join(expand(path))) : null
  if (top === null) throw usageError(`${expand(path)} is not in a git repository.`)
  return top
}
