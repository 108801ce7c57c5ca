// The workflows as the tests' workers load them.
import { pino } from 'pino'
import { workflowBundle } from '../../workers/bundle.ts'
import { CODE_CACHE } from './caches.ts'

export const testBundle = (interceptors: readonly string[] = []): Promise<{ code: string }> =>
  workflowBundle(CODE_CACHE, interceptors, pino({ level: 'silent' }))
