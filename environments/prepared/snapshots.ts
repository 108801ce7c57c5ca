// Finished set-ups that runs of this host start from. What is here is whole, and never changes again.
import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { copyBaseline } from '../checkpoint/baseline.ts'
import { isErrno } from '../errno.ts'
import { exists, isRunId, listRunDirectories, type RunPaths, removeTree, runPaths } from '../run-directory.ts'
import { Hash, RepositoryStart } from '../work-product/work-product.ts'
import { layered, readLayers, unmountAll } from './overlay.ts'
import { Mentions } from './relocate.ts'

const run = promisify(execFile)

/** A repository as it was cloned, before the set-up. */
export const PreparedRepository = z.object({
  path: z.string(),
  /** Null for one without a commit. */
  commit: Hash.nullable(),
  /** What HEAD stood for; null where it was at no branch. */
  branch: z.string().nullable(),
})
export type PreparedRepository = z.infer<typeof PreparedRepository>

export const SnapshotMeta = z.object({
  version: z.literal(1),
  /** Of the build that made it. */
  id: z.uuid(),
  /** Stands for all that went into it. */
  key: z.string(),
  /** The same without the commits: snapshots of one family can stand in for one another. */
  family: z.string(),
  environment_id: z.string(),
  created_at: z.iso.datetime(),
  /** Of the disk. */
  bytes: z.number().int().min(0),
  image: z.object({ name: z.string(), id: z.string() }).nullable(),
  repositories: z.array(PreparedRepository),
  /** How the repositories were once they were set up. */
  start: z.array(RepositoryStart),
  /** What names the place that it was made at. */
  mentions: Mentions,
  /** What its maker wants to know again of the set-up. */
  record: z.unknown(),
})
export type SnapshotMeta = z.infer<typeof SnapshotMeta>

export interface Snapshot extends SnapshotMeta {
  /** Holds `workspace` and `home`. */
  directory: string
  usedAt: number
}

const MAKING = '.making-'
const REMOVING = '.removing-'
/** One that a run has just chosen may not be noted in the run's directory yet. In milliseconds. */
const FRESH_MS = 10 * 60_000

/** A directory for each, named by the build that made it: a build that is forced makes the same key anew beside the former one. */
export function openSnapshots(directory: string, runsDirectory: string) {
  /** Choosing one and removing one exclude each other. */
  let last: Promise<unknown> = Promise.resolve()
  function exclusively<T>(work: () => Promise<T>): Promise<T> {
    const mine = last.then(work)
    last = mine.catch(() => {}) // Told to whoever asked.
    return mine
  }

  /** Newest first. What cannot be read is none. */
  async function list(): Promise<Snapshot[]> {
    const found = await Promise.all((await namesIn(directory)).filter(isRunId).map((id) => read(join(directory, id))))
    return found.filter((snapshot) => snapshot !== null).sort((a, b) => (a.created_at < b.created_at ? 1 : -1))
  }

  return {
    list,

    /** Newest first. */
    ofFamily: async (family: string): Promise<Snapshot[]> =>
      (await list()).filter((snapshot) => snapshot.family === family),

    /** Notes that it is used now, so that it stays until a run stands on it. False where it has been removed. */
    take: ({ directory }: Snapshot): Promise<boolean> =>
      exclusively(async () => {
        if (!(await exists(directory))) return false
        await touch(directory)
        return true
      }),

    /** The snapshot that this build made. */
    ofBuild: (id: string): Promise<Snapshot | null> => read(join(directory, z.uuid().parse(id))),

    /**
     * Takes the workspace and the home of a build that nothing works in any more.
     * Killed in the middle it leaves nothing that counts; a repeated call goes on
     * where it was. The caller makes the directories no more once it was called.
     */
    async keep(paths: RunPaths, meta: SnapshotMeta): Promise<Snapshot> {
      const target = join(directory, meta.id)
      if (!(await exists(target))) {
        const aside = join(directory, `${MAKING}${meta.id}`)
        await mkdir(aside, { recursive: true, mode: 0o700 })
        for (const name of layered) if (!(await exists(join(aside, name)))) await rename(paths[name], join(aside, name))
        await copyBaseline(paths, aside)
        await writeFile(join(aside, 'meta.json'), JSON.stringify(SnapshotMeta.parse(meta)), { mode: 0o600 })
        await touch(aside)
        // A machine that goes down must not leave one that looks whole and has empty files.
        await run('sync', ['--file-system', aside])
        await rename(aside, target)
      }
      const made = await read(target)
      if (made === null) throw new Error(`the snapshot of build ${meta.id} cannot be read`)
      return made
    },

    /**
     * Removes those that a newer one of the family stands in for, and then those
     * unused longest, until the rest takes no more of the disk than this. Never one
     * that a run stands on. Removes what dead builds have left as well. @returns what was removed.
     */
    async trim(maxBytes: number, now = Date.now()): Promise<Snapshot[]> {
      await removeLeftovers()
      const all = await list()
      let bytes = all.reduce((sum, each) => sum + each.bytes, 0)
      const superseded = all.filter((each, at) => all.slice(0, at).some(({ family }) => family === each.family))
      const others = all.filter((each) => !superseded.includes(each)).sort((a, b) => a.usedAt - b.usedAt)
      const removed: Snapshot[] = []
      for (const snapshot of [...superseded, ...others]) {
        if (!superseded.includes(snapshot) && bytes <= maxBytes) break
        if (now - snapshot.usedAt < FRESH_MS || !(await remove(snapshot))) continue
        bytes -= snapshot.bytes
        removed.push(snapshot)
      }
      return removed
    },
  }

  async function remove(snapshot: Snapshot): Promise<boolean> {
    const aside = join(directory, `${REMOVING}${snapshot.id}`)
    const isMine = await exclusively(async () => {
      if ((await read(snapshot.directory))?.usedAt !== snapshot.usedAt) return false
      if ((await inUse(runsDirectory)).has(snapshot.id)) return false
      await rename(snapshot.directory, aside)
      return true
    })
    if (isMine) await removeTree(aside)
    return isMine
  }

  async function removeLeftovers(): Promise<void> {
    const used = await inUse(runsDirectory)
    for (const name of await namesIn(directory)) {
      const build = name.startsWith(MAKING) ? name.slice(MAKING.length) : null
      const goesOn = build !== null && isRunId(build) && (await exists(runPaths(runsDirectory, build).root))
      const isDamaged = isRunId(name) && !used.has(name) && (await read(join(directory, name))) === null
      if ((build !== null && !goesOn) || isDamaged || name.startsWith(REMOVING)) {
        await removeTree(join(directory, name))
      }
    }
    await removeScratch(runsDirectory)
  }
}

export type Snapshots = ReturnType<typeof openSnapshots>

/** The snapshots that runs of this host lie over. */
async function inUse(runsDirectory: string): Promise<Set<string>> {
  const runs = await listRunDirectories(runsDirectory)
  const notes = await Promise.all(runs.map((runId) => readLayers(runPaths(runsDirectory, runId).root)))
  return new Set(notes.flatMap((note) => (note === null ? [] : [note.snapshot])))
}

/** What was put beside the runs for a moment, by a process that was killed. */
async function removeScratch(runsDirectory: string): Promise<void> {
  for (const name of await namesIn(runsDirectory)) {
    if (!/^\.(probe|news)-/.test(name)) continue
    const path = join(runsDirectory, name)
    if (Date.now() - (await stat(path)).mtimeMs < FRESH_MS) continue
    await unmountAll(path)
    await rm(path, { recursive: true, force: true, maxRetries: 3 })
  }
}

async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  })
}

async function read(directory: string): Promise<Snapshot | null> {
  try {
    const meta = SnapshotMeta.parse(JSON.parse(await readFile(join(directory, 'meta.json'), 'utf8')))
    const { mtimeMs } = await stat(join(directory, 'used'))
    for (const name of layered) if (!(await stat(join(directory, name))).isDirectory()) return null
    return { ...meta, directory, usedAt: mtimeMs }
  } catch (error) {
    // Gone meanwhile, or damaged: nothing that a run could start from.
    if (isErrno(error, 'ENOENT') || error instanceof SyntaxError || error instanceof z.ZodError) return null
    throw error
  }
}

/** The time of this file is when the snapshot was used last. */
async function touch(directory: string): Promise<void> {
  const file = join(directory, 'used')
  await writeFile(file, '', { flag: 'a', mode: 0o600 })
  await utimes(file, new Date(), new Date())
}
