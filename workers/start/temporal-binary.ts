// The ladder to a `temporal` program: one that is there, else a download, else a build from source.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { inheritedEnvironment } from '../../config.ts'

/** Later versions of this module cannot be installed with `go install`: they use replace directives. */
export const CLI_VERSION = 'v1.5.1'
const GO_MODULE = `github.com/temporalio/cli/cmd/temporal@${CLI_VERSION}`

export interface LadderOptions {
  /** Where a program that was fetched or built is kept: Ambient's own. */
  paths: { readonly bin: string }
  say: (line: string) => void
  /** Unset: this process's own. */
  env?: Readonly<Record<string, string | undefined>>
  signal?: AbortSignal
}

type Climber = Required<Pick<LadderOptions, 'env'>> & LadderOptions

interface Rung {
  name: string
  takesLong: boolean
  /** Resolves with the program's path; rejects with the reason why not. */
  climb(options: Climber): Promise<string>
}

const rungs: readonly Rung[] = [
  { name: 'temporal on PATH', takesLong: false, climb: fromPath },
  { name: "temporal in Ambient's own directory", takesLong: false, climb: fromOwnDirectory },
  { name: `download of temporal ${CLI_VERSION}`, takesLong: true, climb: byDownload },
  { name: `go install ${GO_MODULE}`, takesLong: true, climb: byGo },
]

/** @throws an error that tells every rung's reason, and what to do. */
export async function findTemporal(given: LadderOptions): Promise<string> {
  const options = { env: inheritedEnvironment(), ...given }
  const reasons: string[] = []
  let told = 0
  for (const rung of rungs) {
    if (rung.takesLong) {
      // What was looked for in vain is said only where something has to be fetched.
      options.say(`${reasons.slice(told).join('; ')}; next: ${rung.name}`)
      told = reasons.length
    }
    try {
      return await rung.climb(options)
    } catch (error) {
      options.signal?.throwIfAborted()
      reasons.push(`${rung.name}: ${error instanceof Error ? error.message : error}`)
    }
  }
  throw new Error(
    `No Temporal server could be found or made:\n${reasons.map((reason) => `  - ${reason}`).join('\n')}\n` +
      `Put the temporal command line (docs.temporal.io/cli) on PATH or into ${options.paths.bin}, or set TEMPORAL_ADDRESS to a server of your own.`,
  )
}

async function fromPath({ env }: Climber): Promise<string> {
  const directories = (env.PATH ?? '').split(delimiter).filter((directory) => directory !== '')
  const found = directories.map((directory) => join(directory, 'temporal')).filter(isProgram)
  for (const path of found) if (await works(path, env)) return path
  throw new Error(found.length === 0 ? 'not there' : `${found.join(', ')} cannot start a development server`)
}

async function fromOwnDirectory({ paths, env }: Climber): Promise<string> {
  const path = join(paths.bin, 'temporal')
  if (!isProgram(path)) throw new Error('not there')
  if (!(await works(path, env))) throw new Error(`${path} cannot start a development server; remove it`)
  return path
}

/** Through the SDK, which knows where the program for this machine is served; in a process of its own, for its size. */
async function byDownload(options: Climber): Promise<string> {
  options.say(`downloading temporal ${CLI_VERSION} (once)`)
  return install(options, async (staging) => {
    const script = fileURLToPath(new URL('download-temporal.ts', import.meta.url))
    await run(process.execPath, [script, staging, CLI_VERSION], { ...options, limitMs: 10 * 60_000 })
  })
}

async function byGo(options: Climber): Promise<string> {
  const go = goProgram(options.env)
  if (!go) throw new Error('Go is not installed')
  options.say('building temporal from source with Go: several minutes, once')
  return install(options, async (staging) => {
    const env = { ...options.env, GOBIN: staging, GOFLAGS: '', CGO_ENABLED: '0' }
    await run(go, ['install', '-ldflags=-s -w', GO_MODULE], { ...options, env, limitMs: 30 * 60_000 })
  })
}

/** Only a whole program gets its final name. */
async function install(options: Climber, fill: (staging: string) => Promise<void>): Promise<string> {
  mkdirSync(options.paths.bin, { recursive: true })
  const staging = mkdtempSync(join(options.paths.bin, '.temporal-'))
  try {
    await fill(staging)
    const [program] = readdirSync(staging)
      .map((name) => join(staging, name))
      .filter((path) => isProgram(path))
      .sort((a, b) => statSync(b).size - statSync(a).size)
    if (!program || !(await works(program, options.env)))
      throw new Error('what arrived cannot start a development server')
    const path = join(options.paths.bin, 'temporal')
    renameSync(program, path)
    return path
  } finally {
    rmSync(staging, { recursive: true, force: true })
  }
}

const isProgram = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false // Not there, or not to be run.
  }
}

async function works(path: string, env: Climber['env']): Promise<boolean> {
  const child = spawn(path, ['server', 'start-dev', '--help'], { env: { ...env }, stdio: ['ignore', 'pipe', 'ignore'] })
  let help = ''
  child.stdout.on('data', (chunk: Buffer) => {
    help += chunk.toString()
  })
  const [code] = await once(child, 'close').catch(() => [null])
  return code === 0 && help.includes('--db-filename')
}

function goProgram(env: Climber['env']): string | null {
  const directories = [...(env.PATH ?? '').split(delimiter), '/usr/local/go/bin', '/usr/lib/go/bin']
  return directories.map((directory) => join(directory, 'go')).find(isProgram) ?? null
}

interface RunOptions extends Climber {
  limitMs: number
}

/** Runs to its end, saying now and then that it goes on. @throws with the last lines of what it said. */
async function run(program: string, args: string[], { env, say, signal, limitMs }: RunOptions): Promise<void> {
  const started = Date.now()
  const child = spawn(program, args, { env: { ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const tail: string[] = []
  let lines = 0
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', (line) => {
      lines++
      tail.push(line)
      if (tail.length > 5) tail.shift()
    })
  }
  const stop = () => child.kill('SIGKILL')
  signal?.addEventListener('abort', stop, { once: true })
  const limit = setTimeout(stop, limitMs)
  const progress = setInterval(() => {
    say(`still at it after ${Math.round((Date.now() - started) / 1000)} s${lines > 0 ? ` (${tail.at(-1)})` : ''}`)
  }, 20_000)
  try {
    const [code] = await once(child, 'close')
    if (code !== 0) throw new Error(tail.join(' / ') || (code === null ? 'it took too long' : `it ended with ${code}`))
  } finally {
    clearTimeout(limit)
    clearInterval(progress)
    signal?.removeEventListener('abort', stop)
  }
}
