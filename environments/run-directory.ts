// What a run has on its host's disk. What is small is not read through promises: they cost ten times what the kernel needs.
import { execFile } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import {
  chownSync,
  closeSync,
  fsync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { chmod, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { isErrno } from './errno.ts'
import { ensureMounted, unmountAll } from './prepared/overlay.ts'

const run = promisify(execFile)
const sync = promisify(fsync)

/** Whom the files belong to that programs in the sandbox write. */
export interface Owner {
  uid: number
  gid: number
}

/**
 * The files of one run. `workspace`, `home` and `tmp` belong to the sandbox's
 * user; the rest is the host's, and what the agent may write below `jobs` is
 * opened with distrust (see job-directory.ts).
 */
export interface RunPaths {
  root: string
  workspace: string
  home: string
  tmp: string
  jobs: string
  agents: string
  claims: string
  /** Where clones are made before they appear in the workspace in one step. */
  staging: string
}

const RunId = z.uuid()

export const isRunId = (name: string): boolean => RunId.safeParse(name).success

/** @throws when the id is not a UUID: ids become paths. */
export function runPaths(runsDirectory: string, runId: string): RunPaths {
  const root = join(runsDirectory, RunId.parse(runId))
  return {
    root,
    workspace: join(root, 'workspace'),
    home: join(root, 'home'),
    tmp: join(root, 'tmp'),
    jobs: join(root, 'jobs'),
    agents: join(root, 'agents'),
    claims: join(root, 'claims'),
    staging: join(root, 'staging'),
  }
}

/** Makes the run's directories where they are missing, and lays them over its snapshot where it has one. Idempotent. */
export async function createRunDirectory(runsDirectory: string, runId: string, owner: Owner): Promise<RunPaths> {
  const paths = runPaths(runsDirectory, runId)
  for (const path of [paths.root, paths.agents, paths.claims]) mkdirSync(path, { recursive: true, mode: 0o700 })
  // The sandbox's user passes through it, and may not write in it.
  mkdirSync(paths.jobs, { recursive: true, mode: 0o755 })
  // A run that began from a snapshot has nothing in its own directories but where they are mounted.
  await ensureMounted(paths.root)
  for (const path of [paths.workspace, paths.home, paths.tmp]) {
    const made = mkdirSync(path, { recursive: true, mode: 0o755 })
    if (made !== undefined) giveTo(path, owner)
    else await passOn(path, owner)
  }
  return paths
}

/** Where the other kind of host has worked on the run before, its files are another user's. The directory itself goes last: it tells. */
async function passOn(path: string, owner: Owner): Promise<void> {
  if (process.getuid?.() !== 0 || lstatSync(path).uid === owner.uid) return
  const inside = (await readdir(path)).map((name) => join(path, name))
  if (inside.length > 0) await run('chown', ['-R', '-h', `${owner.uid}:${owner.gid}`, '--', ...inside])
  giveTo(path, owner)
}

/** Changes the owner where this process may: it is then the only case in which the owner differs from its own user. */
export function giveTo(path: string, owner: Owner): void {
  if (process.getuid?.() === 0) chownSync(path, owner.uid, owner.gid)
}

/** Removes everything of the run. Idempotent. */
export async function removeRunDirectory(runsDirectory: string, runId: string): Promise<void> {
  const { root } = runPaths(runsDirectory, runId)
  await unmountAll(root)
  await removeTree(root)
}

/** Idempotent. Nothing may be mounted below it. */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3 })
  } catch (error) {
    if (!isErrno(error, 'EACCES', 'EPERM')) throw error
    // Directories that their owner made read-only (package caches do) stop even the owner.
    await makeWritable(path)
    await rm(path, { recursive: true, force: true, maxRetries: 3 })
  }
}

async function makeWritable(directory: string): Promise<void> {
  await chmod(directory, 0o700)
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeWritable(join(directory, entry.name))
  }
}

/** The ids of the runs that have a directory here. */
export async function listRunDirectories(runsDirectory: string): Promise<string[]> {
  const names = await readdir(runsDirectory).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  })
  return names.filter(isRunId)
}

/** What a claim is about. */
export const ClaimNote = z.object({ afterLine: z.number().int().min(0) })
export type ClaimNote = z.infer<typeof ClaimNote>

/**
 * The run's lasting claims, as files: `<id>` holds the note, `<id>.settled`
 * says that the effect has happened. The caller has created the run's directory.
 */
export function claims(paths: Pick<RunPaths, 'claims'>) {
  const file = (id: string) => join(paths.claims, fileName(id))
  return {
    async make(id: string, note: ClaimNote): Promise<{ isNew: boolean; settled: boolean; note: ClaimNote }> {
      const isNew = await createWhole(file(id), JSON.stringify(note))
      if (isNew) return { isNew, settled: false, note }
      const there = ClaimNote.parse(JSON.parse(readFileSync(file(id), 'utf8')))
      return { isNew, settled: exists(`${file(id)}.settled`), note: there }
    },
    async settle(id: string): Promise<void> {
      await createWhole(`${file(id)}.settled`, '')
    },
  }
}

/**
 * Creates a file with its content in one step: a process killed in between
 * leaves nothing, where an exclusive open would leave an empty file.
 * @returns false when it was there.
 */
async function createWhole(path: string, content: string): Promise<boolean> {
  const draft = `${path}.${randomUUID()}.draft`
  await writeDurably(draft, content)
  try {
    linkSync(draft, path)
    return true
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false
    throw error
  } finally {
    unlinkSync(draft)
  }
}

/** Ids are free text; names of files are not. Long ones are told apart by their hash. */
function fileName(id: string): string {
  const name = encodeURIComponent(id).replaceAll('.', '%2E')
  return name.length <= 150 ? name : `${name.slice(0, 100)}-${createHash('sha256').update(id).digest('hex')}`
}

/** The run's small state on this host, written whole or not at all. Null before the first write. */
export function readState<T>(paths: Pick<RunPaths, 'root'>, schema: z.ZodType<T>, name = 'state'): T | null {
  try {
    return schema.parse(JSON.parse(readFileSync(join(paths.root, `${name}.json`), 'utf8')))
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
}

export async function writeState<T>(
  paths: Pick<RunPaths, 'root'>,
  schema: z.ZodType<T>,
  state: T,
  name = 'state',
): Promise<void> {
  const draft = join(paths.root, `${name}.${randomUUID()}.draft`)
  await writeDurably(draft, JSON.stringify(schema.parse(state)))
  renameSync(draft, join(paths.root, `${name}.json`))
}

/** Only the disk is waited for. */
async function writeDurably(path: string, content: string): Promise<void> {
  const file = openSync(path, 'wx', 0o600)
  try {
    writeFileSync(file, content)
    await sync(file)
  } finally {
    closeSync(file)
  }
}

export const exists = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined
