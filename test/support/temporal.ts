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

/** Where `npm test` keeps the server that can skip time. */
export const TIME_SKIPPING_CACHE = join(root, '.ambient', 'test-cache', 'time-skipping')

/** A Temporal server that can skip time; null where `npm test` could not fetch one. */
export function timeSkippingServer(): string | null {
  const path = join(TIME_SKIPPING_CACHE, 'server')
  return existsSync(path) ? path : null
}
