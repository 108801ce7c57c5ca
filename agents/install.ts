// Brings an agent's program onto this machine: npm packages at exact versions, in a directory of their own.
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { logTail, RunFailureError } from '../domain/failure.ts'
import type { AcpAgent } from './agent.ts'

export interface InstallOptions {
  /** All agents' programs live below it. */
  directory: string
  /** Told of what is done, a line at a time. */
  onProgress?: (text: string) => void
  signal?: AbortSignal
}

/** 15 min: the largest agent is 170 MB to fetch. */
const INSTALL_MS = 15 * 60_000
/** A directory of an install that was killed is removed after this; none takes as long. */
const ABANDONED_MS = 2 * INSTALL_MS

/** Directories that are not a program, or not one yet. */
export const STAGING = '.staging-'

/**
 * Installs the agent unless it is there, and returns the directory of its
 * program. Several processes may do so at once: a directory appears whole or
 * not at all, and the first one stays.
 * @throws {RunFailureError} `agent_install_failed`
 */
export async function installAgent(agent: AcpAgent, options: InstallOptions): Promise<string> {
  const { directory, onProgress = () => {} } = options
  const installed = await findInstalled(agent, directory)
  if (installed !== null) {
    await noteUse(installed)
    return installed
  }
  const target = toolkitPath(agent, directory)
  const staging = join(directory, `${STAGING}${agent.name}-${randomUUID()}`)
  onProgress(`Installing ${agent.title} (${describe(agent)}).`)
  try {
    await mkdir(staging, { recursive: true })
    await removeAbandoned(directory)
    await writeFile(join(staging, 'package.json'), JSON.stringify({ private: true, dependencies: agent.packages }))
    await runNpm(agent, staging, options)
    await moveInto(staging, target)
  } finally {
    await rm(staging, { recursive: true, force: true })
  }
  onProgress(`${agent.title} is installed.`)
  return target
}

/** The directory's own time tells when its program was wanted last. */
async function noteUse(directory: string): Promise<void> {
  const now = new Date()
  // A directory that is another user's cannot be told, and is not this one's to remove.
  await utimes(directory, now, now).catch(() => {})
}

/** The directory of the agent's program at the version that this Ambient names; null when it is not installed. */
export async function findInstalled(agent: AcpAgent, directory: string): Promise<string | null> {
  const path = toolkitPath(agent, directory)
  return (await isThere(path)) ? path : null
}

/** Named by the versions, so that another version is another directory. */
export function toolkitPath(agent: AcpAgent, directory: string): string {
  const versions = Object.values(agent.packages).join('_')
  return join(directory, `${agent.name}-${versions.replaceAll(/[^\w.+-]+/g, '-')}`)
}

const describe = (agent: AcpAgent) =>
  Object.entries(agent.packages)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')

async function runNpm(agent: AcpAgent, cwd: string, { onProgress = () => {}, signal }: InstallOptions): Promise<void> {
  // Versions are exact, so an older Node that runs npm may warn of `engines` and must not refuse.
  const flags = [
    '--ignore-scripts',
    '--engine-strict=false',
    '--omit=dev',
    '--no-audit',
    '--no-fund',
    '--no-package-lock',
    // A connection that hangs is given up after a minute and made again, not after npm's own five.
    '--fetch-timeout=60000',
    '--fetch-retries=4',
  ]
  const npm = execa('npm', ['install', ...flags, '--no-update-notifier', '--loglevel=error', '--global=false'], {
    cwd,
    all: true,
    stdin: 'ignore',
    timeout: INSTALL_MS,
    forceKillAfterDelay: 2_000,
    ...(signal ? { cancelSignal: signal } : {}),
    reject: false,
  })
  npm.all.setEncoding('utf8').on('data', (text: string) => {
    for (const line of text.split('\n')) if (line.trim() !== '') onProgress(line)
  })
  const result = await npm
  if (!result.failed) return
  signal?.throwIfAborted()
  const isMissing = result.code === 'ENOENT'
  throw new RunFailureError(
    {
      code: 'agent_install_failed',
      phase: 'agent_start',
      message: isMissing
        ? `${agent.title} could not be installed: there is no npm on this machine.`
        : `${agent.title} could not be installed: npm ${result.timedOut ? 'took too long' : `ended with exit code ${result.exitCode}`}.`,
      command: result.command,
      ...(result.exitCode === undefined ? {} : { exitCode: result.exitCode }),
      logTail: logTail(result.all),
      nextStep: isMissing
        ? 'Install Node.js with npm on this host.'
        : `Check that this host reaches its npm registry, and run 'ambient agents install ${agent.name}'.`,
    },
    { cause: result },
  )
}

async function moveInto(staging: string, target: string): Promise<void> {
  try {
    await rename(staging, target)
  } catch (error) {
    // Another process was faster: what it made is as good.
    if (!(await isThere(target))) throw error
  }
}

/** What installs that were killed have left. */
export async function removeAbandoned(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.startsWith(STAGING)) continue
    const path = join(directory, name)
    const made = await stat(path).then(
      (found) => found.mtimeMs,
      () => Date.now(), // Its owner has just removed it.
    )
    if (Date.now() - made > ABANDONED_MS) await rm(path, { recursive: true, force: true })
  }
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false
      throw error
    },
  )
}
