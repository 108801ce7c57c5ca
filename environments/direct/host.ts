// The bare machine as a host: an agent is a process tree of the host's own user. No isolation, and so for trusted work alone.
import type { Logger } from 'pino'
import { directorySize } from '../disk-usage.ts'
import type { Host } from '../host.ts'
import { namespacesAllowed } from '../namespace.ts'
import { createRunDirectory, exists, listRunDirectories, removeRunDirectory, runPaths } from '../run-directory.ts'
import { createRunLocks } from '../run-locks.ts'
import { agentPaths } from './paths.ts'
import { createSandbox, type Machine, sandboxOf } from './sandbox.ts'
import { aliveRuns, endProcesses, startedFrom } from './stop.ts'

/** Where programs are looked for when the caller does not say. */
const STANDARD_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export interface DirectHostOptions {
  runsDirectory: string
  nodePath: string
  log: Logger
  /** Search path of the programs in the sandbox; absent, the system's directories. */
  path?: string | undefined
}

export async function createDirectHost(options: DirectHostOptions): Promise<Host> {
  const path = options.path ?? STANDARD_PATH
  const machine: Machine = {
    ...options,
    path,
    owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
    namespaces: await namespacesAllowed(path),
    locks: createRunLocks(),
    writers: new Map(),
  }
  if (!machine.namespaces) {
    options.log.info('no PID namespaces for this user: processes of a run are found by their environment')
  }
  const { runsDirectory, locks } = machine

  async function end(runId: string): Promise<void> {
    for (const pipe of await endProcesses(runsDirectory, runId)) machine.writers.delete(pipe)
  }

  return {
    kind: 'direct',
    owner: machine.owner,
    runsAsRoot: machine.owner.uid === 0,
    loopback: '127.0.0.1',
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
      return (await exists(complete)) ? sandboxOf(machine, runId, generation) : null
    },
    stop: (runId) => locks.stop(runId, () => end(runId)),
    remove: (runId) =>
      locks.stop(runId, async () => {
        await end(runId)
        await removeRunDirectory(runsDirectory, runId)
      }),
    diskUsage: (runId) => directorySize(runPaths(runsDirectory, runId).root),
    worksFrom: (toolkits) => startedFrom(runsDirectory, toolkits),
    trimImages: async () => [],
    async list() {
      const known = await listRunDirectories(runsDirectory)
      const alive = await aliveRuns(runsDirectory, known)
      return [...new Set([...known, ...alive])].map((runId) => ({ runId, running: alive.has(runId) }))
    },
  }
}
