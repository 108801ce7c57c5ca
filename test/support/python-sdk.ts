// Where the tests find a Python with the official SDK in it.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../../config.ts'

/** Where `npm test` keeps it. */
export const PYTHON_SDK_CACHE = join(root, '.ambient', 'test-cache', 'python-sdk')

export const PYTHON_REQUIREMENTS = join(root, 'test', 'sdk', 'requirements.txt')

/** The interpreter; null where `npm test` could not make one. */
export function pythonWithSdk(): string | null {
  const path = join(PYTHON_SDK_CACHE, 'bin', 'python')
  return existsSync(path) ? path : null
}
