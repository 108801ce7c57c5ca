// What is made once and kept as a file of the data directory.
import { randomUUID } from 'node:crypto'
import { link, mkdir, open, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

/** The file's content; of several processes that make it at once, all get the same. */
export async function keep(path: string, make: () => string): Promise<string> {
  const there = await readFile(path, 'utf8').catch(() => null)
  if (there !== null && there.trim() !== '') return there.trim()
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const draft = `${path}.${randomUUID()}`
  await writeFile(draft, `${make()}\n`, { mode: 0o600, flush: true })
  try {
    await link(draft, path)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  } finally {
    await rm(draft)
  }
  await syncDirectory(dirname(path))
  return (await readFile(path, 'utf8')).trim()
}

/** What was made or renamed in it is there after a loss of power. */
export async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path)
  await directory.sync()
}
