// One supervisor per data directory.
import { linkSync, mkdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { identify, isRunning, type ProcessIdentity } from './process-identity.ts'

const LOCK_FILE = 'supervisor.lock'

export interface Lock {
  release(): void
}

export class LockedError extends Error {
  override readonly name = 'LockedError'
}

const Holder = z.object({ pid: z.int().positive(), startTime: z.string() })

/**
 * Takes the directory's lock, also from a holder that is dead.
 * @throws {LockedError} while another process that is alive holds it.
 */
export async function takeLock(directory: string): Promise<Lock> {
  const file = join(directory, LOCK_FILE)
  const mine = identify(process.pid)
  if (!mine) throw new Error('this process cannot be identified')
  const draft = `${file}.${process.pid}`
  writeFileSync(draft, JSON.stringify(mine))
  try {
    while (!tryLink(draft, file)) {
      const holder = readHolder(file)
      if (holder && isRunning(holder)) {
        throw new LockedError(
          `Ambient is already running on ${directory} (process ${holder.pid}). Stop it, or set AMBIENT_DATA to another directory.`,
        )
      }
      await removeStale(file)
    }
  } finally {
    rmSync(draft, { force: true })
  }
  return { release: () => rmSync(file, { force: true }) }
}

/** Who holds the directory, and is alive; null when nobody does. */
export function lockHolder(directory: string): ProcessIdentity | null {
  const holder = readHolder(join(directory, LOCK_FILE))
  return holder && isRunning(holder) ? holder : null
}

function tryLink(draft: string, file: string): boolean {
  try {
    linkSync(draft, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Removes a dead holder's lock. One process at a time: else the second one would remove the first one's fresh lock. */
async function removeStale(file: string): Promise<void> {
  const turn = `${file}.takeover`
  try {
    mkdirSync(turn)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    const since = statSync(turn, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()
    // Whoever made it died in the middle of a few file operations.
    if (Date.now() - since > 10_000) rmSync(turn, { recursive: true, force: true })
    await delay(50)
    return
  }
  try {
    const holder = readHolder(file)
    if (!holder || !isRunning(holder)) rmSync(file, { force: true })
  } finally {
    rmdirSync(turn)
  }
}

function readHolder(file: string): ProcessIdentity | null {
  try {
    return Holder.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch {
    return null // Released in between, or not one of ours.
  }
}
