// Which images this host has fetched, and their end when they take too much of the disk.
import { randomUUID } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type Docker from 'dockerode'
import { z } from 'zod'
import { isErrno } from '../errno.ts'
import { ask, askFor, statusOf } from './daemon.ts'

/** An image that was wanted so recently may be about to be used. In milliseconds. */
const FRESH_MS = 10 * 60_000

const Fetched = z.record(z.string(), z.object({ id: z.string(), usedAt: z.number() }))
type Fetched = z.infer<typeof Fetched>

/** The images that this host has fetched, by the name they were fetched under. Kept in a file: what is not in it is a person's. */
export interface FetchedImages {
  fetched(name: string, id: string): Promise<void>
  /** One that this host did not fetch is not noted. */
  used(name: string): Promise<void>
  /**
   * Removes images until those that this host has fetched take no more than so
   * many bytes, those that were unused longest first. Never `spared`, or one
   * that a container is made from. @returns the names of those removed.
   */
  trim(maxBytes: number, spared: string): Promise<string[]>
}

export function fetchedImages(docker: Docker, runsDirectory: string, now: () => number = Date.now): FetchedImages {
  const file = join(runsDirectory, 'images.json')
  let last: Promise<unknown> = Promise.resolve()

  /** One change after the other. */
  function change<T>(work: (images: Fetched) => T | Promise<T>): Promise<T> {
    const mine = last.then(async () => {
      const images = await read(file)
      const before = JSON.stringify(images)
      const result = await work(images)
      if (JSON.stringify(images) !== before) await write(file, images)
      return result
    })
    last = mine.catch(() => {}) // Told to whoever asked.
    return mine
  }

  return {
    fetched: (name, id) =>
      change((images) => {
        images[name] = { id, usedAt: now() }
      }),
    used: (name) =>
      change((images) => {
        const image = images[name]
        if (image !== undefined) image.usedAt = now()
      }),
    trim: (maxBytes, spared) =>
      change(async (images) => {
        const sizes = await sizesOf(docker, images)
        const containers = await ask('dispose', () => docker.listContainers({ all: true }))
        const inUse = new Set(containers.map(({ ImageID }) => ImageID))
        const isFree = ([name, { id, usedAt }]: [string, Fetched[string]]) =>
          name !== spared && !inUse.has(id) && now() - usedAt > FRESH_MS
        const oldestFirst = Object.entries(images).filter(isFree)
        oldestFirst.sort(([, one], [, other]) => one.usedAt - other.usedAt)
        const removed: string[] = []
        for (const [name] of oldestFirst) {
          if (total(sizes) <= maxBytes) break
          if (!(await removeImage(docker, name))) continue
          sizes.delete(name)
          delete images[name]
          removed.push(name)
        }
        return removed
      }),
  }
}

const total = (sizes: ReadonlyMap<string, number>) => [...sizes.values()].reduce((sum, size) => sum + size, 0)

/** Forgets what is not there any more, or is another image by the same name: a person has brought that one. */
async function sizesOf(docker: Docker, images: Fetched): Promise<Map<string, number>> {
  const sizes = new Map<string, number>()
  for (const [name, { id }] of Object.entries(images)) {
    const info = await askFor('dispose', () => docker.getImage(name).inspect())
    if (info?.Id === id) sizes.set(name, info.Size)
    else delete images[name]
  }
  return sizes
}

/** By its name: one that a person has given another name as well stays under that. */
async function removeImage(docker: Docker, name: string): Promise<boolean> {
  try {
    await ask('dispose', () => docker.getImage(name).remove())
    return true
  } catch (error) {
    // 404: it is gone. 409: a container was made from it meanwhile, or another image.
    if (statusOf(error) === 404) return true
    if (statusOf(error) === 409) return false
    throw error
  }
}

async function read(file: string): Promise<Fetched> {
  try {
    return Fetched.parse(JSON.parse(await readFile(file, 'utf8')))
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return {}
    throw error
  }
}

async function write(file: string, images: Fetched): Promise<void> {
  const draft = `${file}.${randomUUID()}.draft`
  await writeFile(draft, JSON.stringify(images), { mode: 0o600 })
  await rename(draft, file)
}
