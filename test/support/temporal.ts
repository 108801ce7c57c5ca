// Where the tests find a Temporal server.
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { root } from '../../config.ts'

/** The `temporal` program: TEMPORAL_BIN, the PATH, or what `npm start` has fetched. */
export function temporalBinary(): string {
  const candidates = [
    process.env.TEMPORAL_BIN,
    ...(process.env.PATH ?? '').split(delimiter).map((directory) => join(directory, 'temporal')),
    join(root, '.ambient', 'bin', 'temporal'),
  ]
  const found = candidates.find((path): path is string => path !== undefined && existsSync(path))
  if (!found) throw new Error('No temporal program: set TEMPORAL_BIN, or run `npm run setup` once.')
  return found
}
