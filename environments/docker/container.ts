// One sandbox as a container: how it is made, and what it may not do.
import type Docker from 'dockerode'
import { AGENT_GATE, JOB_GATE } from '../gate.ts'
import type { SandboxPaths } from '../host.ts'
import type { Owner, RunPaths } from '../run-directory.ts'
import type { Way } from './restricted.ts'

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
  /** Whom its files belong to, where that is not the host's usual user: `uid:gid`. */
  owner: 'ambient.owner',
  /** Its environment names the hosts that it may reach. */
  restricted: 'ambient.restricted',
} as const

/** Of every container that a run has. */
export const NAME_START = 'ambient-'

export const containerName = (runId: string, generation: number) => `${NAME_START}${runId}-${generation}`

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
  /** The host's usual user. */
  owner: Owner
  /** Another one, which the image names. */
  user?: Owner | undefined
  limits: Limits
  /** The OCI runtime that runs it; null takes the daemon's default. */
  runtime: string | null
  /** A network's name, or whose it joins. */
  network: string
  /** How it reaches the outside, where only through a proxy; it is then on another network. */
  way?: Way | null | undefined
  runsDirectory: string
}

// Core dumps fill disks, or go to a program of the machine's. Open files are left to the daemon: a limit above its own
// is refused by the kernel, and what they cost is memory of the container.
export const ULIMITS = [{ Name: 'core', Soft: 0, Hard: 0 }]

/** When the machine itself is short of memory, sandboxes go before everything else on it. */
const OOM_SCORE = 500

export function containerOptions(plan: ContainerPlan): Docker.ContainerCreateOptions {
  const memory = plan.limits.memoryMb * 1024 * 1024
  return {
    name: containerName(plan.runId, plan.generation),
    Image: plan.image,
    Labels: {
      [labels.run]: plan.runId,
      [labels.generation]: String(plan.generation),
      [labels.directory]: plan.runsDirectory,
      // Said in any case: what is not would be as the image's own labels say.
      [labels.owner]: plan.user ? `${plan.user.uid}:${plan.user.gid}` : '',
      [labels.restricted]: plan.way ? 'yes' : 'no',
    },
    // The image's own entry point and health check are for its own program.
    Entrypoint: ['/bin/sh', '-c', AGENT_GATE, 'ambient', JOB_GATE],
    Cmd: [],
    Healthcheck: { Test: ['NONE'] },
    // One of the image's users has the groups that it has there.
    User: plan.user ? String(plan.user.uid) : `${plan.owner.uid}:${plan.owner.gid}`,
    WorkingDir: inside.workspace,
    Env: [`HOME=${inside.home}`, 'LANG=C.UTF-8', `AMBIENT_RUN=${plan.runId}`, ...(plan.way?.env ?? [])],
    // The streams belong to the container: a client that goes leaves its stdin open.
    Tty: false,
    OpenStdin: true,
    StdinOnce: false,
    HostConfig: {
      Init: true,
      ...(plan.runtime === null ? {} : { Runtime: plan.runtime }),
      // The daemon's own seccomp profile and masked paths are what it gives to whoever names none.
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      Privileged: false,
      IpcMode: 'private',
      Memory: memory,
      MemorySwap: memory,
      // It counts as the container's memory, and must leave some to whoever is to clear it.
      ShmSize: Math.floor(memory / 4),
      OomScoreAdj: OOM_SCORE,
      NanoCpus: Math.round(plan.limits.cpus * 1e9),
      PidsLimit: plan.limits.pids,
      Ulimits: ULIMITS,
      NetworkMode: plan.way?.network ?? plan.network,
      ...(plan.way && { Dns: plan.way.dns }),
      // A container is never started again: its log is the journal of one agent process.
      RestartPolicy: { Name: 'no' },
      LogConfig: JOURNAL_LOG,
      Mounts: [
        bind(plan.paths.workspace, inside.workspace),
        bind(plan.paths.home, inside.home),
        bind(plan.paths.jobs, inside.jobs),
        bind(plan.nodePath, inside.node, true),
        ...(plan.way ? [bind(plan.way.resolver, '/etc/resolv.conf', true)] : []),
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
