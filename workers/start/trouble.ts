// Tells the server, which answers for all parts, that one of them keeps ending.
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../../config.ts'
import { type PartTrouble, partTroubleFile } from '../../domain/part-trouble.ts'

/** One end is an accident, and the part is there again when somebody looks. */
const FEWEST = 2

/** Written at each end; one that is no longer in a row takes the note away. */
export function noteTrouble(config: Pick<Config, 'AMBIENT_DATA'>, part: string, death: { how: string; count: number }) {
  const file = partTroubleFile(config.AMBIENT_DATA, part)
  if (death.count < FEWEST) return rmSync(file, { force: true })
  const trouble: PartTrouble = { ...death, at: new Date().toISOString() }
  mkdirSync(join(config.AMBIENT_DATA, 'parts'), { recursive: true })
  writeFileSync(`${file}.new`, JSON.stringify(trouble))
  renameSync(`${file}.new`, file)
}

/** Nothing of a former start is told by the next one. */
export function clearTrouble(config: Pick<Config, 'AMBIENT_DATA'>): void {
  const directory = join(config.AMBIENT_DATA, 'parts')
  const names = readdirSyncOrNone(directory).filter((name) => name.endsWith('.trouble.json'))
  for (const name of names) rmSync(join(directory, name), { force: true })
}

function readdirSyncOrNone(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return [] // No part was ever started.
  }
}
