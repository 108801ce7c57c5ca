// Keeps the mirrors within their share of the disk, and their packs few.
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { directorySize } from '../disk-usage.ts'
import { isErrno } from '../errno.ts'
import { exists } from '../run-directory.ts'
import type { GitAccess } from './access.ts'
import { lockFile } from './file-lock.ts'
import { git } from './git.ts'
import { type MirrorPlace, mirrorPlace, throwAway } from './mirror.ts'

/** Every fetch leaves a pack, and git looks into all of them. */
const MOST_PACKS = 20

/**
 * Packs anew what many fetches have left, or what has objects that no server
 * gives any more, and removes those that were used longest ago until the others
 * take no more than `maxBytes`. One that is in use is left for the next time.
 * @returns the URLs of those that were removed.
 */
export async function tidyMirrors(
  directory: string,
  access: Pick<GitAccess, 'config' | 'ssh'>,
  maxBytes: number,
  signal: AbortSignal,
): Promise<string[]> {
  const mirrors: { place: MirrorPlace; used: number; bytes: number }[] = []
  for (const name of await namesIn(directory)) {
    const place = mirrorPlace(join(directory, name))
    await packAnew(place, access, signal)
    const used = await lastUse(place)
    mirrors.push({ place, used, bytes: await directorySize(place.root) })
  }
  let bytes = mirrors.reduce((sum, mirror) => sum + mirror.bytes, 0)
  const removed: string[] = []
  for (const mirror of mirrors.sort((one, other) => one.used - other.used)) {
    if (bytes <= maxBytes) break
    const url = await readFile(mirror.place.name, 'utf8').catch(() => 'a repository') // It was never fetched.
    if (!(await remove(mirror.place, mirror.used, signal))) continue
    bytes -= mirror.bytes
    removed.push(url)
  }
  return removed
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}

/** In milliseconds since 1970; 0 for one that was never used. */
async function lastUse({ lock }: MirrorPlace): Promise<number> {
  try {
    return (await stat(lock)).mtimeMs
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return 0
    throw error
  }
}

/** Runs `work` when nobody else is at the mirror. False otherwise. */
async function alone(
  place: MirrorPlace,
  signal: AbortSignal,
  work: (lock: NonNullable<Awaited<ReturnType<typeof lockFile>>>) => Promise<void>,
): Promise<boolean> {
  const lock = await lockFile(place.lock, { kind: 'exclusive', signal, wait: false }).catch((error: unknown) => {
    // Another process of this machine has removed it.
    if (isErrno(error, 'ENOENT')) return null
    throw error
  })
  if (lock === null) return false
  try {
    await work(lock)
    return true
  } finally {
    await lock.close()
  }
}

async function packAnew(
  place: MirrorPlace,
  { config, ssh }: Pick<GitAccess, 'config' | 'ssh'>,
  signal: AbortSignal,
): Promise<void> {
  const packs = (await namesIn(join(place.repository, 'objects', 'pack'))).filter((name) => name.endsWith('.pack'))
  if (packs.length <= MOST_PACKS && !exists(place.rewritten)) return
  await alone(place, signal, async (lock) => {
    if (exists(place.torn)) return
    const options = { config, ssh, credentials: null, cwd: place.repository, signal, lock }
    // With -d, objects that no ref reaches go too; then what a git has left that was killed.
    const packed = await git(['repack', '-a', '-d', '--quiet'], options)
    if (packed.code === 0) await git(['prune', '--expire=now'], options)
    if (packed.code === 0) await rm(place.rewritten, { force: true })
  })
}

/** @returns false when somebody uses it, or has used it since. */
async function remove(place: MirrorPlace, used: number, signal: AbortSignal): Promise<boolean> {
  let isGone = false
  await alone(place, signal, async () => {
    if ((await lastUse(place)) !== used) return
    await throwAway(place)
    // With its lock: whoever waits for that finds another one in its place.
    await rm(place.root, { recursive: true, force: true, maxRetries: 3 })
    isGone = true
  })
  return isGone
}
