// Removes agents' programs that are of no more use: former versions, and what a killed install has left.
import { randomUUID } from 'node:crypto'
import { readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { agentNames } from '../domain/harness.ts'
import { agents } from './index.ts'
import { removeAbandoned, STAGING, toolkitPath } from './install.ts'

/** A version that nobody has started an agent of for a day is not needed by anyone who goes back to it. */
const UNUSED_MS = 24 * 60 * 60_000

/**
 * Removes programs at versions that this Ambient does not name, which nobody has
 * used for a day and nobody uses now: `used` answers with those of the given
 * directories that an agent at work was started from. Returns what it removed.
 */
export async function removeOldAgents(
  directory: string,
  used: (directories: readonly string[]) => Promise<ReadonlySet<string>>,
): Promise<string[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    // Nothing was installed yet.
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (names === null) return []
  await removeAbandoned(directory)
  const current = Object.values(agents).flatMap((agent) =>
    agent.protocol === 'acp' ? [toolkitPath(agent, directory)] : [],
  )
  const others = names
    .filter((name) => agentNames.some((agent) => name.startsWith(`${agent}-`)))
    .map((name) => join(directory, name))
    .filter((path) => !current.includes(path))
  const old: string[] = []
  for (const path of others) if (Date.now() - (await stat(path)).mtimeMs > UNUSED_MS) old.push(path)
  if (old.length === 0) return []
  const inUse = await used(old)
  const unused = old.filter((path) => !inUse.has(path))
  for (const path of unused) await removeWhole(path, directory)
  return unused
}

/** What is left of it when this process is killed does not look like an installed program. */
async function removeWhole(path: string, directory: string): Promise<void> {
  const away = join(directory, `${STAGING}removed-${randomUUID()}`)
  await rename(path, away)
  await rm(away, { recursive: true, force: true })
}
