// What a checkpoint holds, put into the directories of a run on this host.

import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { logTail } from '../../domain/failure.ts'
import type { Sandbox } from '../host.ts'
import { createJobFile, jobPaths, removeJob } from '../job-directory.ts'
import type { Owner, RunPaths } from '../run-directory.ts'
import { look, writeStart } from '../work-product/work-product.ts'
import { readArchive } from './archive.ts'
import { keepBaseline } from './baseline.ts'
import { entryNames, Manifest } from './checkpoint.ts'
import { CheckpointError } from './facts.ts'
import { type Replacement, replacePaths } from './replace-paths.ts'
import type { RepositoryFacts } from './repository-facts.ts'
import { CLEAR_SCRIPT, RELINK_SCRIPT, RESTORE_SCRIPT } from './scripts.ts'
import { createUnpacker } from './unpack.ts'

const MANIFEST_BYTES = 64 * 1024 * 1024
/** Git writes tens of thousands of files in a minute. In seconds. */
const GIT_SECONDS = 1_200

export async function readManifest(file: string, signal: AbortSignal): Promise<Manifest> {
  for await (const { name, headers, content } of readArchive(file, signal)) {
    if (name !== entryNames.manifest || headers.size > MANIFEST_BYTES) break
    return Manifest.parse(JSON.parse(await text(Readable.from(content))))
  }
  throw new CheckpointError('it has no list of what is in it')
}

export interface RestoreOptions {
  file: string
  manifest: Manifest
  paths: RunPaths
  owner: Owner
  signal: AbortSignal
}

interface WorkOptions extends RestoreOptions {
  sandbox: Sandbox
  /** As the sandbox sees it. */
  workspace: string
  id: string
}

/**
 * The agent's own state, into a home that no agent has worked in yet. Where it
 * works at another place now, its notes are changed to name that one.
 * @param statePaths as when the checkpoint was taken, each with its number.
 */
export async function restoreHome(
  options: RestoreOptions & { statePaths: readonly string[]; moved: readonly Replacement[] },
): Promise<void> {
  const { file, paths, owner, signal, statePaths } = options
  const moved = options.moved.filter(({ from, to }) => from !== to)
  const unpacker = createUnpacker({
    root: paths.home,
    owner,
    transform: moved.length === 0 ? undefined : (content) => replacePaths(content, moved),
  })
  for await (const entry of readArchive(file, signal)) {
    const [, number, below = ''] = /^home\/(\d+)(\/.*)?$/s.exec(entry.name) ?? []
    const path = number === undefined ? undefined : statePaths[Number(number)]
    if (path !== undefined) await unpacker.put(`${path}${below}`, entry)
  }
  await unpacker.finish()
}

/**
 * The repositories as they were, and the files beside them, over a workspace
 * that has been cloned and set up anew.
 * @throws {CheckpointError}
 */
export async function restoreWork(options: WorkOptions): Promise<void> {
  const { file, manifest, paths, owner, signal, sandbox } = options
  // Of each sandbox one: a job that went down with its sandbox cannot be run again under its id.
  const id = `${options.id}-${sandbox.generation}`
  const begun = Date.now()
  if (!(await sandbox.hasJob(id))) await putPacks(options, id)
  const { code, lines } = await look(
    { sandbox, paths, workspace: options.workspace, signal },
    {
      id,
      script: manifest.repositories.length > 0 ? RESTORE_SCRIPT : CLEAR_SCRIPT,
      args: [
        '0',
        manifest.beside ? 'clear' : 'leave',
        ...manifest.repositories.flatMap((facts) => [
          facts.path,
          facts.branch ?? facts.head ?? '-',
          facts.worktree ?? (facts.is_submodule ? 'gone' : '-'),
          facts.staged ?? '-',
          facts.unmerged ?? '-',
          facts.going ?? '-',
        ]),
      ],
      seconds: GIT_SECONDS,
    },
  )
  if (code !== 0) throw new CheckpointError(`exit code ${code}: ${logTail(lines.join('\n'))}`)
  await keepBaseline(paths, jobPaths(paths, id), begun)
  await removeJob(paths, id)
  const unpacker = createUnpacker({ root: paths.workspace, owner })
  const { workspace } = entryNames
  for await (const entry of readArchive(file, signal)) {
    if (entry.name === workspace) await unpacker.put('', entry)
    else if (entry.name.startsWith(`${workspace}/`)) await unpacker.put(entry.name.slice(workspace.length + 1), entry)
  }
  await unpacker.finish()
  await relink(options, `relink-${id}`)
  if (manifest.start !== null) await writeStart(paths, manifest.start)
}

/** Linked worktrees and their repositories know each other by their paths. */
async function relink({ manifest, paths, signal, sandbox, workspace }: WorkOptions, id: string): Promise<void> {
  const linked = manifest.repositories.filter(({ is_linked }) => is_linked).map(({ path }) => path)
  if (linked.length === 0) return
  const { code, lines } = await look(
    { sandbox, paths, workspace, signal },
    { id, script: RELINK_SCRIPT, args: ['0', manifest.workspace, ...linked], seconds: GIT_SECONDS },
  )
  if (code !== 0) throw new CheckpointError(`exit code ${code}: ${logTail(lines.join('\n'))}`)
  await removeJob(paths, id)
}

/** What is not to be where the set-up has put it: it comes as files, or not at all. */
const othersOf = ({ plain, ignored, vanished }: RepositoryFacts): string =>
  [...plain, ...ignored, ...vanished].map((path) => `${path}\n`).join('')

/** What the job reads, before it is started. */
async function putPacks({ file, manifest, paths, owner, signal }: RestoreOptions, id: string): Promise<void> {
  const job = jobPaths(paths, id)
  const put = async (name: string, content: AsyncIterable<Buffer> | string) => {
    await using file = await createJobFile(job, name, owner)
    await file.writeFile(content)
  }
  const packs = new Set<string>()
  for (const [number, facts] of manifest.repositories.entries()) {
    packs.add(entryNames.pack(number))
    await put(
      `${number}.refs`,
      [
        ...facts.branches.map(({ name, commit }) => `create ${name} ${commit}\n`),
        ...facts.refs.map(({ name, object }) => (object === null ? `delete ${name}\n` : `update ${name} ${object}\n`)),
      ].join(''),
    )
    if (facts.is_submodule) await put(`${number}.submodule`, '')
    await put(
      `${number}.stash`,
      facts.stash
        .toReversed()
        .map((commit) => `${commit}\n`)
        .join(''),
    )
    await put(`${number}.other`, othersOf(facts))
  }
  for await (const { name, content } of readArchive(file, signal)) {
    if (packs.has(name)) await put(name.slice(name.lastIndexOf('/') + 1), content)
  }
}
