// The workflow code as Temporal's sandbox loads it.
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { root } from '../config.ts'

/** What the bundle is made from: when one of these changes, it is made anew. */
const SOURCES = ['workflows', 'domain']

/**
 * The workflow bundle's code, from the cache when the sources are the same as
 * last time. Making it takes webpack 2 to 5 s and some 300 MB, which a worker's
 * start should not. `interceptors` are modules that are loaded with the workflows.
 */
export async function workflowBundle(
  cacheDirectory: string,
  interceptors: readonly string[],
  log: Logger,
): Promise<{ code: string }> {
  const path = join(cacheDirectory, `workflows-${await fingerprint(interceptors)}.js`)
  const cached = await readFile(path, 'utf8').catch(() => null)
  if (cached !== null) return { code: cached }
  log.info('bundling the workflows')
  const { bundleWorkflowCode } = await import('@temporalio/worker')
  const { code } = await bundleWorkflowCode({
    workflowInterceptorModules: interceptors.map((name) => fileURLToPath(import.meta.resolve(name))),
    workflowsPath: fileURLToPath(new URL('../workflows/index.ts', import.meta.url)),
    logger: { ...silent, error: (message) => log.error(message), warn: (message) => log.warn(message) },
  })
  await mkdir(cacheDirectory, { recursive: true })
  const partial = `${path}.${process.pid}`
  await writeFile(partial, code)
  await rename(partial, path)
  return { code }
}

const nothing = () => {}
const silent = { log: nothing, trace: nothing, debug: nothing, info: nothing }

async function fingerprint(interceptors: readonly string[]): Promise<string> {
  const hash = createHash('sha256')
  hash.update(JSON.stringify(interceptors))
  hash.update(await readFile(join(root, 'package-lock.json')))
  for (const folder of SOURCES) {
    const names = (await readdir(join(root, folder))).filter((name) => name.endsWith('.ts')).sort()
    for (const name of names) {
      hash.update(`\0${folder}/${name}\0`)
      hash.update(await readFile(join(root, folder, name)))
    }
  }
  return hash.digest('hex').slice(0, 20)
}
