// One sandbox as a container: how it is made, and what it may not do.
import type Docker from 'dockerode'
import { AGENT_GATE } from '../gate.ts'
import type { SandboxPaths } from '../host.ts'
import type { Owner, RunPaths } from '../run-directory.ts'
import { NETWORK } from './network.ts'

export interface Limits {
  memoryMb: number
  cpus: number
  pids: number
}

/** Where things are inside a container. */
export const inside = {
  workspace: '/workspace',
  home: '/home/agent',
  jobs: '/run/ambient/jobs',
  toolkit: '/opt/ambient/agent',
  node: '/opt/ambient/node',
} as const satisfies SandboxPaths & { jobs: string }

export const labels = {
  run: 'ambient.run',
  generation: 'ambient.generation',
  /** Whose container it is, where several hosts share a daemon: each one's directory of runs. */
  directory: 'ambient.directory',
} as const

export const containerName = (runId: string, generation: number) => `ambient-${runId}-${generation}`

// Every option is said, for the daemon's own defaults fill the gaps: rotation
// would drop the start of a journal, `non-blocking` would drop lines, and the
// `local` driver loses the newline after a long line.
const JOURNAL_LOG = {
  Type: 'json-file',
  Config: { 'max-size': '1000t', 'max-file': '1', compress: 'false', mode: 'blocking' },
}

export interface ContainerPlan {
  runId: string
  generation: number
  image: string
  toolkit: string | null
  nodePath: string
  paths: RunPaths
  owner: Owner
  limits: Limits
  runsDirectory: string
}

export function containerOptions(plan: ContainerPlan): Docker.ContainerCreateOptions {
  const memory = plan.limits.memoryMb * 1024 * 1024
  return {
    name: containerName(plan.runId, plan.generation),
    Image: plan.image,
    Labels: {
      [labels.run]: plan.runId,
      [labels.generation]: String(plan.generation),
      [labels.directory]: plan.runsDirectory,
    },
    // The image's own entry point and health check are for its own program.
    Entrypoint: ['/bin/sh', '-c', AGENT_GATE],
    Cmd: [],
    Healthcheck: { Test: ['NONE'] },
    User: `${plan.owner.uid}:${plan.owner.gid}`,
    WorkingDir: inside.workspace,
    Env: [`HOME=${inside.home}`, 'LANG=C.UTF-8', `AMBIENT_RUN=${plan.runId}`],
    // The streams belong to the container: a client that goes leaves its stdin open.
    Tty: false,
    OpenStdin: true,
    StdinOnce: false,
    HostConfig: {
      Init: true,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      Memory: memory,
      MemorySwap: memory,
      NanoCpus: Math.round(plan.limits.cpus * 1e9),
      PidsLimit: plan.limits.pids,
      NetworkMode: NETWORK,
      // A container is never started again: its log is the journal of one agent process.
      RestartPolicy: { Name: 'no' },
      LogConfig: JOURNAL_LOG,
      Mounts: [
        bind(plan.paths.workspace, inside.workspace),
        bind(plan.paths.home, inside.home),
        bind(plan.paths.jobs, inside.jobs),
        bind(plan.nodePath, inside.node, true),
        ...(plan.toolkit === null ? [] : [bind(plan.toolkit, inside.toolkit, true)]),
      ],
    },
  }
}

// Mounts rather than Binds: a source that is missing is then an error, not an empty directory of root's.
const bind = (Source: string, Target: string, ReadOnly = false): Docker.MountSettings => ({
  Type: 'bind',
  Source,
  Target,
  ReadOnly,
})
