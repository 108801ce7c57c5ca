// The directories of a run that lie over a snapshot: what the run writes is its own, what it only reads is shared.
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { lstat, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { isErrno } from '../errno.ts'

const run = promisify(execFile)

/** What of a run comes from a snapshot. */
export const layered = ['workspace', 'home'] as const

/** Noted in the run's directory before anything is mounted, so that a mount that is gone is made again. */
const Note = z.object({
  /** The snapshot's id. */
  snapshot: z.string(),
  /** Its directory. */
  directory: z.string(),
})
export type LayersNote = z.infer<typeof Note>

const noteFile = (root: string) => join(root, 'layers.json')

/** Null where the run lies over no snapshot. */
export async function readLayers(root: string): Promise<LayersNote | null> {
  try {
    return Note.parse(JSON.parse(await readFile(noteFile(root), 'utf8')))
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
}

/** Of one directory: what the run has written, and what the kernel needs beside it. Only the host gets at either. */
const ownPaths = (root: string, name: string) => ({
  upper: join(root, 'layers', name, 'upper'),
  work: join(root, 'layers', name, 'work'),
})

/**
 * Lays the run's directories over a snapshot. `prepareUpper` is given each new
 * directory that is to be seen in the place of the snapshot's own.
 */
export async function layOver(
  root: string,
  note: LayersNote,
  prepareUpper: (upper: string, lower: string) => Promise<void>,
): Promise<void> {
  for (const name of layered) {
    const { upper, work } = ownPaths(root, name)
    await mkdir(work, { recursive: true, mode: 0o700 })
    await mkdir(upper, { mode: 0o755 }).catch((error: unknown) => {
      if (!isErrno(error, 'EEXIST')) throw error
    })
    await prepareUpper(upper, join(note.directory, name))
  }
  // Whole or not at all, also where the machine goes down: without it nobody could open the run's files again.
  const draft = `${noteFile(root)}.draft`
  await writeFile(draft, JSON.stringify(Note.parse(note)), { mode: 0o600, flush: true })
  await rename(draft, noteFile(root))
  await ensureMounted(root)
}

/** Gives up what was laid over a snapshot; what the run had written there is gone. */
export async function takeOff(root: string): Promise<void> {
  await unmountAll(root)
  await rm(noteFile(root), { force: true })
  await rm(join(root, 'layers'), { recursive: true, force: true })
}

/** Mounts what the note says and is not mounted: after a restart of the machine, say. Idempotent. */
export async function ensureMounted(root: string): Promise<void> {
  const note = await readLayers(root)
  if (note === null) return
  const missing = await Promise.all(
    layered.map(async (name) => {
      const target = join(root, name)
      await mkdir(target, { recursive: true, mode: 0o755 })
      return (await isMounted(target)) ? [] : [{ lower: join(note.directory, name), ...ownPaths(root, name), target }]
    }),
  )
  await mount(missing.flat())
}

/**
 * Nothing of a snapshot is seen below the run's directory any more. What keeps
 * a mount busy loses sight of it and keeps what it has open.
 * @throws when anything is still mounted: nothing may be removed through it.
 */
export async function unmountAll(root: string): Promise<void> {
  for (const name of layered) {
    const target = join(root, name)
    // Two that were mounted over one another are two to take away.
    for (let left = 5; left > 0 && (await isMounted(target)); left--) {
      await run('umount', ['--', target]).catch(() => run('umount', ['--lazy', '--', target]))
    }
    if (await isMounted(target)) throw new Error(`${target} is still mounted`)
  }
}

/** A mount has its own device. */
async function isMounted(path: string): Promise<boolean> {
  try {
    const [own, parent] = await Promise.all([lstat(path), lstat(join(path, '..'))])
    return own.isDirectory() && own.dev !== parent.dev
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false
    throw error
  }
}

interface Mount {
  lower: string
  upper: string
  work: string
  target: string
}

// With an index it is refused while the former mount is left over somewhere: a program that keeps mounts to itself was
// started while that stood, and has its copy of it. Nobody works in that copy.
const MOUNT = `
while [ "$#" -ge 2 ]; do
  mount -t overlay -o "$1,index=on" overlay "$2" 2>/dev/null || mount -t overlay -o "$1,index=off" overlay "$2" || exit 1
  shift 2
done
`

/**
 * By one program for all, for starting one takes longer than a mount. Directories
 * of the snapshot can be renamed, which package managers do (redirect_dir), and
 * hard links stay links (index).
 */
async function mount(mounts: readonly Mount[]): Promise<void> {
  if (mounts.length === 0) return
  const args = mounts.flatMap(({ lower, upper, work, target }) => [
    `lowerdir=${lower},upperdir=${upper},workdir=${work},redirect_dir=on,metacopy=off`,
    target,
  ])
  await run('/bin/sh', ['-c', MOUNT, 'mount', ...args])
}

/**
 * Whether this process can lay directories over others below `directory`, so
 * that sandboxes see it: `isSeen` is asked for a file that is there by a mount
 * alone. Leaves nothing behind.
 */
export async function canOverlay(
  directory: string,
  isSeen: (file: { directory: string; name: string }) => Promise<boolean>,
): Promise<boolean> {
  // They would end a path among the options of a mount.
  if (process.getuid?.() !== 0 || /[,:\\]/.test(directory)) return false
  const root = join(directory, `.probe-${randomUUID()}`)
  const paths = { lower: join(root, 'lower'), upper: join(root, 'upper'), work: join(root, 'work') }
  const target = join(root, 'workspace')
  try {
    for (const path of [...Object.values(paths), target]) await mkdir(path, { recursive: true, mode: 0o700 })
    await writeFile(join(paths.lower, 'seen'), 'seen')
    const canMount = await mount([{ ...paths, target }]).then(
      () => true,
      () => false, // Whatever stands in the way, files can be copied.
    )
    return canMount && (await isSeen({ directory: target, name: 'seen' }))
  } finally {
    await unmountAll(root)
    await rm(root, { recursive: true, force: true })
  }
}
