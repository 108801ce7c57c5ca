// The bare machine as a host: an agent is a process tree. Without bubblewrap around it nothing is isolated, and it is for trusted work alone.
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Host } from '../host.ts'
import { namespacesAllowed } from '../namespace.ts'
import { createRunDirectory, exists, listRunDirectories, removeRunDirectory, runPaths } from '../run-directory.ts'
import { createRunLocks } from '../run-locks.ts'
import { namespaceBoundary } from './boundary.ts'
import { createBubblewrap } from './bubblewrap.ts'
import { createLauncher } from './launcher.ts'
import { agentPaths } from './paths.ts'
import { createSandbox, type Machine, sandboxOf } from './sandbox.ts'
import { aliveRuns, diskUsage, endProcesses, endSandboxesUnlike, startedFrom } from './stop.ts'

/** Where programs are looked for when the caller does not say. */
const STANDARD_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export interface DirectHostOptions {
  runsDirectory: string
  nodePath: string
  log: Logger
  /** Search path of the programs in the sandbox; absent, the system's directories. */
  path?: string | undefined
  /** What is put around each sandbox. */
  sandbox?: 'none' | 'bwrap' | undefined
  /** Directories and files that bubblewrap keeps out of sight wherever they are. */
  hidden?: readonly string[] | undefined
}

/** The user of sandboxes with bubblewrap where the host runs as root, as in containers; else they are its own user's. */
const AGENT_ID = 1000

export async function createDirectHost(options: DirectHostOptions): Promise<Host> {
  const path = options.path ?? STANDARD_PATH
  const isWrapped = options.sandbox === 'bwrap'
  const own = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
  const owner = isWrapped && own.uid === 0 ? { uid: AGENT_ID, gid: AGENT_ID } : own
  const boundary = isWrapped
    ? await createBubblewrap({ ...options, path, owner, hidden: options.hidden ?? [] })
    : (await namespacesAllowed(path))
      ? namespaceBoundary
      : null
  const machine: Machine = {
    ...options,
    path,
    owner,
    boundary,
    locks: createRunLocks(),
    launcher: createLauncher(),
    writers: new Map(),
  }
  if (boundary === null) {
    options.log.info('no PID namespaces for this user: processes of a run are found by their environment')
  }
  const { runsDirectory, locks } = machine
  // Where the setting was changed since: what is to be isolated must not go on in a sandbox that is not.
  await endSandboxesUnlike(runsDirectory, boundary?.kind ?? 'none')

  async function end(runId: string): Promise<void> {
    for (const pipe of await endProcesses(runsDirectory, runId)) machine.writers.delete(pipe)
  }

  return {
    kind: 'direct',
    owner: machine.owner,
    loopback: '127.0.0.1',
    // Its processes share the machine's network.
    egress: () => 'open',
    setGateway: async () => {},
    blockedHosts: async () => [],
    image: null,
    images: null,
    imageId: async () => null,
    sees: async ({ directory, name }) => exists(join(directory, name)),
    paths(runId, toolkit) {
      const { workspace, home } = runPaths(runsDirectory, runId)
      return { workspace, home, toolkit: toolkit ?? '', node: machine.nodePath }
    },
    open: (spec) =>
      locks.start(spec.runId, async () => {
        const paths = await createRunDirectory(runsDirectory, spec.runId, machine.owner)
        await createSandbox(machine, paths, spec)
        return sandboxOf(machine, spec.runId, spec.generation)
      }),
    async find(runId, generation) {
      const { complete } = agentPaths(runPaths(runsDirectory, runId), generation)
      return exists(complete) ? sandboxOf(machine, runId, generation) : null
    },
    stop: (runId) => locks.stop(runId, () => end(runId)),
    remove: (runId) =>
      locks.stop(runId, async () => {
        await end(runId)
        await removeRunDirectory(runsDirectory, runId)
      }),
    diskUsage: (runId) => diskUsage(runsDirectory, runId),
    worksFrom: (toolkits) => startedFrom(runsDirectory, toolkits),
    trimImages: async () => [],
    async list() {
      const known = await listRunDirectories(runsDirectory)
      const alive = await aliveRuns(runsDirectory, known)
      return [...new Set([...known, ...alive])].map((runId) => ({ runId, running: alive.has(runId) }))
    },
  }
}
