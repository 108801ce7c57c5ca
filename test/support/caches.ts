// What the tests keep from one time to the next, beside the checkout's other caches.
import { join } from 'node:path'
import { root } from '../../config.ts'

/** Agents are installed once for all tests. */
export const AGENT_CACHE = join(root, '.ambient', 'test-cache', 'agents')
/** So are the workflows bundled and the parts compiled once: both go by the content of their sources. */
export const CODE_CACHE = join(root, '.ambient', 'test-cache', 'code')
