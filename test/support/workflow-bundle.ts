// The workflows as the tests' workers load them.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { workflowBundle } from '../../workers/bundle.ts'
import { CODE_CACHE } from './caches.ts'

export const testBundle = (interceptors: readonly string[] = []): Promise<{ code: string }> =>
  workflowBundle(CODE_CACHE, interceptors, pino({ level: 'silent' }))

/** In which an activity that may take hours may take as many seconds. */
export async function hurriedBundle(): Promise<{ code: string }> {
  const module = new URL('./hurry.ts', import.meta.url)
  // Bundles are kept by what is ours in them, which this is not.
  const fingerprint = createHash('sha256').update(await readFile(module))
  const cache = join(CODE_CACHE, `hurried-${fingerprint.digest('hex').slice(0, 20)}`)
  return workflowBundle(cache, [module.href], pino({ level: 'silent' }))
}
