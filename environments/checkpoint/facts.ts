// What the sandbox's git says of the repositories for a checkpoint, and what it packs of them.
import { join } from 'node:path'
import { logTail } from '../../domain/failure.ts'
import type { Sandbox } from '../host.ts'
import { jobPaths, readBounded } from '../job-directory.ts'
import { openRegular, UntrustedFileError } from '../no-links.ts'
import type { RunPaths } from '../run-directory.ts'
import { type Tree, walk } from '../tree.ts'
import { look, NO_GIT, readStart, readText } from '../work-product/work-product.ts'
import { openIfFile } from './archive.ts'
import { putBaseline } from './baseline.ts'
import type { TakeOptions } from './checkpoint.ts'
import { parseRepositoryFacts, type RepositoryFacts } from './repository-facts.ts'
import { TAKE_SCRIPT } from './scripts.ts'

/** Git has this long to say what has changed: hostile settings can keep it busy for ever. In seconds. */
const GIT_SECONDS = 300
const FACTS_BYTES = 8 * 1024 * 1024
/** With those in submodules. */
const SUBMODULES = 1_000

/** The checkpoint could not be taken; the run itself is as well as it was. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError'
}

const notUnderstood = (cause?: Error) => new CheckpointError('what git says is not understood', { cause })

export interface GitSays {
  /** What stands for all of it. */
  name: string | null
  facts: RepositoryFacts[]
  /** Where the packs are. */
  directory: string
}

export async function askGit(
  options: TakeOptions,
  sandbox: Sandbox,
  id: string,
  known: string | null,
): Promise<GitSays | 'unchanged'> {
  const { paths, workspace, repositories, maxBytes } = options
  const start = (await readStart(paths)) ?? []
  if (!(await sandbox.hasJob(id))) await putBaseline(paths, jobPaths(paths, id), sandbox.owner)
  const late = AbortSignal.timeout((GIT_SECONDS + 30) * 1000)
  const signal = AbortSignal.any([options.signal, late])
  const { code, lines } = await look(
    { sandbox, paths, workspace, signal },
    {
      id,
      script: TAKE_SCRIPT,
      // One byte more than may be kept, so that what is too large is known for it.
      args: [
        String(maxBytes + 1),
        known ?? '-',
        ...repositories.flatMap(({ path, cloned }) => {
          const { base = null, tree = null } = start.find((each) => each.path === path) ?? {}
          return [path, cloned ?? '-', base ?? '-', tree ?? '-']
        }),
      ],
      seconds: GIT_SECONDS,
    },
  ).catch((error: unknown) => {
    if (late.aborted && !options.signal.aborted) throw new CheckpointError(`git took longer than ${GIT_SECONDS} s`)
    throw error
  })
  if (code === NO_GIT) throw new CheckpointError('the image has no git to ask')
  if (code !== 0) throw new CheckpointError(`git could not be asked (exit code ${code}): ${logTail(lines.join('\n'))}`)
  const name = lines.map((line) => /^facts ([0-9a-f]+)$/.exec(line)?.[1]).find((found) => found !== undefined)
  if (name !== undefined && name === known) return 'unchanged'
  const { own } = jobPaths(paths, id)
  const facts: RepositoryFacts[] = []
  for (const [number, repository] of repositories.entries()) {
    facts.push(understood(repository, await readText(join(own, `${number}.facts`), FACTS_BYTES)))
  }
  facts.push(...(await submodulesOf(own, facts)))
  const failed = lines.filter((line) => line.startsWith('failed '))
  // A pack that is too large breaks off, too, and is told by its size.
  for (const line of failed) {
    const size = await sizeOf(join(own, `${line.slice('failed '.length)}.pack`))
    if (size <= maxBytes) throw new CheckpointError(`git could not pack: ${logTail(lines.join('\n'))}`)
  }
  const nested = await Promise.all(facts.map((each) => withNested(paths, each, facts)))
  return { name: name ?? null, facts: nested, directory: own }
}

/** They come after the repositories. */
async function submodulesOf(own: string, repositories: readonly RepositoryFacts[]): Promise<RepositoryFacts[]> {
  const submodules: RepositoryFacts[] = []
  for (;;) {
    const file = join(own, `${repositories.length + submodules.length}.facts`)
    const content = await readBounded(file, FACTS_BYTES).catch((error: unknown) => {
      throw error instanceof UntrustedFileError ? notUnderstood(error) : error
    })
    if (content === null) return submodules
    const facts = understood(null, content === 'too large' ? '' : content.toString('utf8').replaceAll('\0', ''))
    const isInside = repositories.some(({ path }) => facts.path.startsWith(`${path}/`))
    if (!isInside || submodules.length === SUBMODULES) throw notUnderstood()
    submodules.push(facts)
  }
}

/** Null for a submodule. */
function understood(repository: TakeOptions['repositories'][number] | null, text: string): RepositoryFacts {
  try {
    return parseRepositoryFacts(repository, text)
  } catch (error) {
    throw new CheckpointError(`what git says of ${repository?.path ?? 'a submodule'} is not understood`, {
      cause: error,
    })
  }
}

export async function sizeOf(path: string): Promise<number> {
  await using file = await openRegular(path)
  return (await file.stat()).size
}

/**
 * Git keeps only the name of the commit of a repository in a repository. One
 * that the agent made is kept as files, with the directory where git has what
 * belongs to it.
 */
async function withNested(
  paths: RunPaths,
  facts: RepositoryFacts,
  all: readonly RepositoryFacts[],
): Promise<RepositoryFacts> {
  const plain = new Set(facts.plain)
  const links: string[] = []
  for (const path of facts.links) {
    const whole = `${facts.path}/${path}`
    if (all.some((each) => each.path === whole)) continue
    const git = { root: paths.workspace, path: `${whole}/.git` }
    const kind = await kindOf(git)
    if (kind === null) continue
    plain.add(path)
    if (kind !== 'file') continue
    const module = await moduleOf(paths, git.path)
    if (module === 'a worktree') continue
    if (module === null) links.push(path)
    else plain.add(module)
  }
  return { ...facts, plain: [...plain], links }
}

const GIT_FILE_BYTES = 8_192

/** Where the repository above keeps what is a submodule's, below it; null where that is somewhere else. */
async function moduleOf(paths: RunPaths, gitFile: string): Promise<string | 'a worktree' | null> {
  const tree = { root: paths.workspace, path: gitFile }
  for await (const { at, kind } of walk(tree, new AbortController().signal)) {
    await using file = kind === 'file' ? await openIfFile(at) : null
    if (file === null) return null
    const { buffer, bytesRead } = await file.read(Buffer.alloc(GIT_FILE_BYTES), 0, GIT_FILE_BYTES, 0)
    const text = buffer.subarray(0, bytesRead).toString('utf8')
    const [, place = ''] = /^gitdir: (.*)\n?$/.exec(text) ?? []
    if (/\/\.git\/worktrees\/[^/]+$/.test(place)) return 'a worktree'
    const [, name] = /^(?:\.\.\/)+\.git\/modules\/(.+)$/.exec(place) ?? []
    if (name === undefined) return null
    return name.split('/').every((part) => part !== '' && part !== '.' && part !== '..') ? `.git/modules/${name}` : null
  }
  return null
}

async function kindOf(tree: Tree): Promise<string | null> {
  for await (const { kind } of walk(tree, new AbortController().signal)) return kind
  return null
}
