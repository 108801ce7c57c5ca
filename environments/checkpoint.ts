// A checkpoint: one file that holds what another host needs to go on with a run.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { logTail } from '../domain/failure.ts'
import { ArchiveTooLargeError, writeArchive } from './archive.ts'
import { TAKE_SCRIPT } from './checkpoint-scripts.ts'
import type { Sandbox } from './host.ts'
import { jobPaths, removeJob } from './job-directory.ts'
import { openRegular } from './no-links.ts'
import { parseRepositoryFacts, RepositoryFacts } from './repository-facts.ts'
import { isErrno, type RunPaths } from './run-directory.ts'
import { keyOfTrees, type Tree, TreeTooLargeError, walk } from './tree.ts'
import { look, NO_GIT, RepositoryStart, readStart, readText } from './work-product.ts'

/** Git has this long to say what has changed: hostile settings can keep it busy for ever. In seconds. */
const GIT_SECONDS = 300
const FACTS_BYTES = 8 * 1024 * 1024
/** So often a checkpoint is taken again because files changed meanwhile. */
const TRIES = 3

/** By which it is known that nothing has changed since a checkpoint. */
export const CheckpointMark = z.object({
  /** Of the files of the workspace and the home. */
  trees: z.string(),
  /** Of what git says; null without repositories. */
  facts: z.string().nullable(),
  /** The repositories that git keeps, and directories in them that it does not: they tell which files are looked at. */
  kept: z.array(z.string()),
  plain: z.array(z.string()),
})
export type CheckpointMark = z.infer<typeof CheckpointMark>

/** The archive's first entry. */
export const Manifest = z.object({
  version: z.literal(1),
  taken_at: z.iso.datetime(),
  execution: z.number().int().min(1),
  /** As the sandbox saw them. */
  workspace: z.string(),
  home: z.string(),
  start: z.array(RepositoryStart).nullable(),
  repositories: z.array(RepositoryFacts),
  /** The files beside the repositories are in it. */
  beside: z.boolean(),
  /** How many paths of the home are in it, by their numbers. */
  state_paths: z.number().int().min(0),
  /** What the caller wants to know again. */
  record: z.unknown(),
})
export type Manifest = z.infer<typeof Manifest>

export const entryNames = {
  manifest: 'manifest.json',
  pack: (repository: number) => `repositories/${repository}.pack`,
  state: (path: number) => `home/${path}`,
  workspace: 'workspace',
} as const

export interface TakeOptions {
  paths: RunPaths
  /** As the sandbox sees them. */
  workspace: string
  home: string
  /** In the workspace, each with the commit it was cloned at. */
  repositories: readonly { path: string; cloned: string | null }[]
  /** Paths in the home that hold the agent's sessions. */
  statePaths: readonly string[]
  execution: number
  record: unknown
  /** Of the checkpoint that is stored already. */
  known: CheckpointMark | null
  maxBytes: number
  /** Called when git has to be asked. */
  sandbox(): Promise<Sandbox>
  /** Of the job that asks git, within one sandbox: another one for each checkpoint. */
  id: string
  signal: AbortSignal
}

export type Taken =
  | { kind: 'unchanged' }
  | { kind: 'too_large' }
  | {
      kind: 'taken'
      file: string
      mark: CheckpointMark
      /** The files beside the repositories are too large, and are not in it. */
      withoutBeside: boolean
      /** Files that could not be read. */
      lost: string[]
    }

/** The checkpoint could not be taken; the run itself is as well as it was. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError'
}

/**
 * Takes a checkpoint into a file of the host's own, which the caller removes.
 * @throws {CheckpointError}
 */
export async function takeCheckpoint(options: TakeOptions): Promise<Taken> {
  const { known, repositories, signal } = options
  const isSame = known !== null && (await keyOf(treesOf(options, known), signal)) === known.trees
  if (repositories.length === 0) {
    return isSame ? { kind: 'unchanged' } : archive(options, { name: null, facts: [], directory: '' })
  }
  const sandbox = await options.sandbox()
  const id = `${options.id}-${sandbox.generation}`
  try {
    const said = await askGit(options, sandbox, id, isSame ? known.facts : null)
    return said === 'unchanged' ? { kind: 'unchanged' } : await archive(options, said)
  } finally {
    await removeJob(options.paths.jobs, id)
  }
}

interface GitSays {
  /** What stands for all of it. */
  name: string | null
  facts: RepositoryFacts[]
  /** Where the packs are. */
  directory: string
}

async function askGit(
  options: TakeOptions,
  sandbox: Sandbox,
  id: string,
  known: string | null,
): Promise<GitSays | 'unchanged'> {
  const { paths, workspace, repositories, maxBytes } = options
  const start = (await readStart(paths)) ?? []
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
  const { own } = jobPaths(paths.jobs, id)
  const facts: RepositoryFacts[] = []
  for (const [number, repository] of repositories.entries()) {
    const text = await readText(join(own, `${number}.facts`), FACTS_BYTES)
    facts.push(await withNested(paths, understood(repository, text)))
  }
  const failed = lines.filter((line) => line.startsWith('failed '))
  // A pack that is too large breaks off, too, and is told by its size.
  for (const line of failed) {
    const size = await sizeOf(join(own, `${line.slice('failed '.length)}.pack`))
    if (size <= maxBytes) throw new CheckpointError(`git could not pack: ${logTail(lines.join('\n'))}`)
  }
  return { name: name ?? null, facts, directory: own }
}

function understood(repository: TakeOptions['repositories'][number], text: string): RepositoryFacts {
  try {
    return parseRepositoryFacts(repository, text)
  } catch (error) {
    throw new CheckpointError(`what git says of ${repository.path} is not understood`, { cause: error })
  }
}

async function sizeOf(path: string): Promise<number> {
  await using file = await openRegular(path)
  return (await file.stat()).size
}

/** Git keeps only the name of the commit of a repository in a repository. */
async function withNested(paths: RunPaths, facts: RepositoryFacts): Promise<RepositoryFacts> {
  const plain = [...facts.plain]
  const links: string[] = []
  for (const path of facts.links) {
    const kind = await kindOf({ root: paths.workspace, path: `${facts.path}/${path}/.git` })
    if (kind === 'directory') plain.push(path)
    else if (kind !== null) links.push(path)
  }
  return { ...facts, plain, links }
}

async function kindOf(tree: Tree): Promise<string | null> {
  for await (const { kind } of walk(tree, new AbortController().signal)) return kind
  return null
}

interface Trees {
  state: Tree[]
  beside: Tree
  plain: Tree[]
}

/** The agent's state, and everything in the workspace that git does not keep. */
function treesOf({ paths, statePaths }: TakeOptions, { kept, plain }: Pick<CheckpointMark, 'kept' | 'plain'>): Trees {
  return {
    state: statePaths.map((path) => ({ root: paths.home, path })),
    beside: { root: paths.workspace, path: '', skip: new Set(kept) },
    plain: plain.map((path) => ({ root: paths.workspace, path })),
  }
}

/** Null where there are too many files to say. */
async function keyOf({ state, beside, plain }: Trees, signal: AbortSignal): Promise<string | null> {
  try {
    return await keyOfTrees([...state, beside, ...plain], signal)
  } catch (error) {
    if (error instanceof TreeTooLargeError) return null
    throw error
  }
}

async function archive(options: TakeOptions, { name, facts, directory }: GitSays): Promise<Taken> {
  const { signal } = options
  const sets = {
    kept: facts.filter(({ is_plain }) => !is_plain).map(({ path }) => path),
    plain: facts.flatMap((each) => each.plain.map((path) => `${each.path}/${path}`)),
  }
  const trees = treesOf(options, sets)
  // A workspace that is nothing but such files is not worth keeping without them.
  const canDoWithout = facts.length > 0 && facts.every(({ is_plain }) => !is_plain)
  let withoutBeside = false
  for (let attempt = 1; ; attempt++) {
    const before = await keyOf(trees, signal)
    const written = await write(options, { facts, directory, trees, withoutBeside })
    if (written === null) {
      if (withoutBeside || !canDoWithout) return { kind: 'too_large' }
      withoutBeside = true
      continue
    }
    // What was read while it was being written may be torn: a database, say.
    const isTorn = before !== null && before !== (await keyOf(trees, signal))
    if (isTorn && attempt < TRIES) continue
    const mark = { ...sets, facts: name, trees: before ?? 'too many files' }
    return { kind: 'taken', mark, withoutBeside, ...written }
  }
}

interface Contents {
  facts: RepositoryFacts[]
  directory: string
  trees: Trees
  withoutBeside: boolean
}

/** Null when it is too large. */
async function write(
  options: TakeOptions,
  { facts, directory, trees, withoutBeside }: Contents,
): Promise<{ file: string; lost: string[] } | null> {
  const { paths, signal, maxBytes } = options
  const file = join(paths.root, 'checkpoint.archive')
  const lost = facts.flatMap((each) => each.lost)
  const manifest: Manifest = {
    version: 1,
    taken_at: new Date().toISOString(),
    execution: options.execution,
    workspace: options.workspace,
    home: options.home,
    start: await readStart(paths),
    repositories: facts,
    beside: !withoutBeside,
    state_paths: trees.state.length,
    record: options.record,
  }
  try {
    await writeArchive(file, { maxBytes, signal }, async (archive) => {
      const onLost = (path: string) => lost.push(path)
      await archive.text(entryNames.manifest, JSON.stringify(manifest))
      for (const [number, tree] of trees.state.entries()) await archive.tree(entryNames.state(number), tree, onLost)
      for (const [number, { is_plain }] of facts.entries()) {
        if (is_plain) continue
        await using pack = await openRegular(join(directory, `${number}.pack`))
        await archive.file(entryNames.pack(number), pack)
      }
      const { workspace } = entryNames
      if (!withoutBeside) await archive.tree(workspace, trees.beside, onLost)
      for (const tree of trees.plain) await archive.tree(`${workspace}/${tree.path}`, tree, onLost)
    })
    return { file, lost }
  } catch (error) {
    await rm(file, { force: true })
    if (error instanceof ArchiveTooLargeError || error instanceof TreeTooLargeError) return null
    if (isErrno(error, 'ENOENT')) throw new CheckpointError('what git packed is gone', { cause: error })
    throw error
  }
}
