// A checkpoint: one file that holds what another host needs to go on with a run.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { isErrno } from '../errno.ts'
import type { Sandbox } from '../host.ts'
import { removeJob } from '../job-directory.ts'
import { openRegular } from '../no-links.ts'
import type { RunPaths } from '../run-directory.ts'
import { lookAtTrees, sizeOfTree, type Tree, TreeTooLargeError } from '../tree.ts'
import { RepositoryStart, readStart } from '../work-product/work-product.ts'
import { ArchiveTooLargeError, writeArchive } from './archive.ts'
import { askGit, CheckpointError, type GitSays, sizeOf } from './facts.ts'
import { RepositoryFacts } from './repository-facts.ts'

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
  /** What of the workspace is not in it, each said for people. */
  left_out: z.array(z.string()).default([]),
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
      manifest: Manifest
      /** The files beside the repositories are too large, and are not in it. */
      withoutBeside: boolean
    }

/**
 * Takes a checkpoint into a file of the host's own, which the caller removes.
 * @throws {CheckpointError}
 */
export async function takeCheckpoint(options: TakeOptions): Promise<Taken> {
  const { known, repositories, signal } = options
  const isSame = known !== null && (await keyOf(treesOf(options, known), signal))?.key === known.trees
  if (repositories.length === 0) {
    return isSame ? { kind: 'unchanged' } : archive(options, { name: null, facts: [], directory: '' })
  }
  const sandbox = await options.sandbox()
  const id = `${options.id}-${sandbox.generation}`
  try {
    const said = await askGit(options, sandbox, id, isSame ? known.facts : null)
    return said === 'unchanged' ? { kind: 'unchanged' } : await archive(options, said)
  } finally {
    await removeJob(options.paths, id)
  }
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
async function keyOf(
  { state, beside, plain }: Trees,
  signal: AbortSignal,
): Promise<{ key: string; bytes: number } | null> {
  try {
    return await lookAtTrees([...state, beside, ...plain], signal)
  } catch (error) {
    if (error instanceof TreeTooLargeError) return null
    throw error
  }
}

async function archive(options: TakeOptions, { name, facts, directory }: GitSays): Promise<Taken> {
  const { signal } = options
  const kept = facts.filter(({ is_plain, is_submodule }) => !is_plain && !is_submodule).map(({ path }) => path)
  const plain = facts.flatMap((each) => each.plain.map((path) => `${each.path}/${path}`))
  let { chosen, tooLarge } = await chooseIgnored(options, { kept, plain }, { facts, directory })
  // A workspace that is nothing but such files is not worth keeping without them.
  const canDoWithout = facts.length > 0 && facts.every(({ is_plain, is_submodule }) => !is_plain || is_submodule)
  let withoutBeside = false
  for (let attempt = 1; ; attempt++) {
    const sets = { kept, plain: [...plain, ...chosen] }
    const trees = treesOf(options, sets)
    const before = await keyOf(trees, signal)
    const leftOut = leftOutOf(facts, tooLarge, withoutBeside)
    const written = await write(options, { facts, directory, trees, chosen, withoutBeside, leftOut })
    if (written === null) {
      if (chosen.length > 0) {
        tooLarge = [...chosen, ...tooLarge]
        chosen = []
        continue
      }
      if (withoutBeside || !canDoWithout) return { kind: 'too_large' }
      withoutBeside = true
      continue
    }
    // What was read while it was being written may be torn: a database, say.
    const isTorn = before !== null && before.key !== (await keyOf(trees, signal))?.key
    if (isTorn && attempt < TRIES) continue
    const mark = { ...sets, facts: name, trees: before?.key ?? 'too many files' }
    return { kind: 'taken', mark, withoutBeside, ...written }
  }
}

/** What git ignores and the agent has made: the smallest first, as long as there is room beside everything else. */
async function chooseIgnored(
  options: TakeOptions,
  sets: Pick<CheckpointMark, 'kept' | 'plain'>,
  { facts, directory }: Pick<GitSays, 'facts' | 'directory'>,
): Promise<{ chosen: string[]; tooLarge: string[] }> {
  const { paths, signal, maxBytes } = options
  const found = facts.flatMap((each) => each.ignored.map((path) => `${each.path}/${path}`))
  if (found.length === 0) return { chosen: [], tooLarge: [] }
  let room = maxBytes - ROOM_FOR_MANIFEST - ((await keyOf(treesOf(options, sets), signal))?.bytes ?? maxBytes)
  for (const [number, { is_plain }] of facts.entries()) {
    if (!is_plain) room -= await sizeOf(join(directory, `${number}.pack`))
  }
  const sizes: { path: string; bytes: number | null }[] = []
  for (const path of found) sizes.push({ path, bytes: await sizeOfTree({ root: paths.workspace, path }, room, signal) })
  const chosen: string[] = []
  const tooLarge: string[] = []
  for (const { path, bytes } of sizes.toSorted((a, b) => (a.bytes ?? Infinity) - (b.bytes ?? Infinity))) {
    if (bytes !== null && bytes <= room) {
      room -= bytes
      chosen.push(path)
    } else tooLarge.push(path)
  }
  return { chosen, tooLarge }
}

/** Its facts name what is in it. */
const ROOM_FOR_MANIFEST = 256 * 1024

function leftOutOf(facts: readonly RepositoryFacts[], tooLarge: readonly string[], withoutBeside: boolean): string[] {
  return [
    ...tooLarge.map((path) => `${path}, which git ignores: too large`),
    ...(withoutBeside ? ['files beside the repositories: too large'] : []),
    ...facts.flatMap(({ path, links }) => links.map((link) => `${path}/${link}: what git has of it is elsewhere`)),
    ...facts.flatMap(({ path, lost }) => lost.map((name) => `${path}: ${name}`)),
  ]
}

interface Contents {
  facts: RepositoryFacts[]
  directory: string
  trees: Trees
  /** Of what git ignores. */
  chosen: readonly string[]
  withoutBeside: boolean
  leftOut: readonly string[]
}

/** Null when it is too large. */
async function write(
  options: TakeOptions,
  { facts, directory, trees, chosen, withoutBeside, leftOut }: Contents,
): Promise<{ file: string; manifest: Manifest } | null> {
  const { paths, signal, maxBytes } = options
  const file = join(paths.root, 'checkpoint.archive')
  const lost: string[] = []
  const isChosen = new Set(chosen)
  const manifest: Manifest = {
    version: 1,
    taken_at: new Date().toISOString(),
    execution: options.execution,
    workspace: options.workspace,
    home: options.home,
    start: await readStart(paths),
    repositories: facts.map((each) => ({
      ...each,
      ignored: each.ignored.filter((path) => isChosen.has(`${each.path}/${path}`)),
    })),
    beside: !withoutBeside,
    left_out: [...leftOut],
    state_paths: trees.state.length,
    record: options.record,
  }
  try {
    await writeArchive(file, { maxBytes, signal }, async (archive) => {
      const onLost = (path: string) => lost.push(`${path}: could not be read`)
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
    // What could not be read is known only now: whoever restores it finds that it is not there.
    return { file, manifest: { ...manifest, left_out: [...manifest.left_out, ...lost] } }
  } catch (error) {
    await rm(file, { force: true })
    if (error instanceof ArchiveTooLargeError || error instanceof TreeTooLargeError) return null
    if (isErrno(error, 'ENOENT')) throw new CheckpointError('what git packed is gone', { cause: error })
    throw error
  }
}
