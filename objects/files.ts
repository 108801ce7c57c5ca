// Contents as files of a directory.
import { randomUUID } from 'node:crypto'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import type { ObjectStore } from './object-store.ts'

export function createFileStore(directory: string): ObjectStore {
  const place = (name: string) => {
    if (!/^[A-Za-z0-9]{4,100}$/.test(name)) throw new TypeError(`not the name of a content: ${name}`)
    // No directory gets too many of them.
    const below = join(directory, name.slice(0, 2))
    return { below, path: join(below, name) }
  }
  return {
    async put(name, content) {
      const { below, path } = place(name)
      const made = await mkdir(below, { recursive: true, mode: 0o700 })
      const draft = `${path}.${randomUUID()}`
      try {
        const file = await open(draft, 'wx', 0o600)
        try {
          await file.writeFile(content)
          // It is told to be stored, and is to outlive the machine's power.
          await file.sync()
        } finally {
          await file.close()
        }
        await rename(draft, path)
        // As are the names by which it is found.
        for (const changed of made === undefined ? [below] : [below, directory, dirname(made)]) await sync(changed)
      } finally {
        await rm(draft, { force: true })
      }
    },
    async get(name): Promise<Readable | null> {
      try {
        const file = await open(place(name).path)
        return file.createReadStream()
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
        throw error
      }
    },
    async remove(name) {
      await rm(place(name).path, { force: true })
    },
    link: async () => null,
  }
}

async function sync(directory: string): Promise<void> {
  const opened = await open(directory)
  try {
    await opened.sync()
  } finally {
    await opened.close()
  }
}
