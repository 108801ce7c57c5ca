// A run's directories, begun from a snapshot instead of empty.
import { execFile } from 'node:child_process'
import { chmod, chown, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import type { Host } from '../host.ts'
import { exists, type RunPaths, removeTree } from '../run-directory.ts'
import { canOverlay, layered, layOver, readLayers, takeOff } from './overlay.ts'
import { relocate } from './relocate.ts'
import type { Snapshot } from './snapshots.ts'

const run = promisify(execFile)

export type Beginner = ReturnType<typeof createBeginner>

/** Lays runs over snapshots where this machine lets it, and copies the snapshots elsewhere. */
export function createBeginner(runsDirectory: string, host: Pick<Host, 'sees'>) {
  /** It does not change while the host runs. */
  let overlay: Promise<boolean> | null = null

  return {
    /**
     * The workspace and the home become those of the snapshot; whatever is there
     * goes. Called again after it broke off, it begins anew.
     */
    async begin(paths: RunPaths, snapshot: Snapshot, signal: AbortSignal): Promise<'overlay' | 'copy'> {
      overlay ??= canOverlay(runsDirectory, (file) => host.sees(file, snapshot.image?.id ?? null))
      const canLay = await overlay.catch(() => {
        // Not found out: the next run asks again, and this one gets a copy.
        overlay = null
        return false
      })
      const mode = canLay ? 'overlay' : 'copy'
      await clear(paths)
      if (mode === 'copy') await copyFrom(paths, snapshot, signal)
      else await layOver(paths.root, { snapshot: snapshot.id, directory: snapshot.directory }, takeLikeness)
      await relocate(paths, snapshot.mentions, snapshot.id, basename(paths.root))
      return mode
    },

    /** What {@link begin} has made is gone, and the run's directories are empty. The caller has ended what works in them. */
    clear,
  }
}

async function clear(paths: RunPaths): Promise<void> {
  await takeOff(paths.root)
  for (const name of layered) await removeTree(paths[name])
  await rm(copyNote(paths), { force: true })
}

/** There before anything of a copy is. */
const copyNote = ({ root }: RunPaths) => join(root, 'copied')

/** Whether the run's directories are a snapshot's, or are about to be: also where whoever began died right then. */
export const hasBegun = async (paths: RunPaths): Promise<boolean> =>
  (await readLayers(paths.root)) !== null || (await exists(copyNote(paths)))

/** What is seen of a directory itself is the upper one's. */
async function takeLikeness(upper: string, lower: string): Promise<void> {
  const { uid, gid, mode } = await stat(lower)
  await chown(upper, uid, gid)
  await chmod(upper, mode & 0o7777)
}

async function copyFrom(paths: RunPaths, snapshot: Snapshot, signal: AbortSignal): Promise<void> {
  await writeFile(copyNote(paths), '', { mode: 0o600, flush: true })
  for (const name of layered) {
    const aside = join(paths.root, `${name}.copy`)
    await removeTree(aside)
    await run('cp', ['-a', '--reflink=auto', '--', join(snapshot.directory, name), aside], { signal })
    await rename(aside, paths[name])
  }
}
