// What a daemon must have for sandboxes to be what they are said to be, looked at when the host starts.
import type Docker from 'dockerode'
import { ask } from './daemon.ts'

export interface DaemonFacts {
  /** Whether containers outlive the daemon. */
  liveRestore: boolean
  /** The runtime of containers that name none. */
  defaultRuntime: string
}

/** @throws when the daemon does not know the runtime. `warn` is told of a missing seccomp profile. */
export async function checkDaemon(
  docker: Docker,
  runtime: string | undefined,
  warn: (text: string) => void,
): Promise<DaemonFacts> {
  const { Runtimes, SecurityOptions, LiveRestoreEnabled, DefaultRuntime } = (await ask('claim', () =>
    docker.info(),
  )) as DaemonInfo
  const known = Object.keys(Runtimes ?? {})
  if (runtime !== undefined && !known.includes(runtime)) {
    throw new Error(
      `AMBIENT_DOCKER_RUNTIME is ${runtime}, and the Docker daemon knows no such runtime (it has ${known.join(', ')}). ` +
        `Install it, name it under "runtimes" in /etc/docker/daemon.json, and have the daemon read that again (systemctl reload docker).`,
    )
  }
  const seccomp = SecurityOptions?.find((option) => option.startsWith('name=seccomp'))
  if (seccomp === undefined || seccomp.includes('profile=unconfined')) {
    warn(
      'The Docker daemon filters no system calls (seccomp): agents reach more of this machine’s kernel than they should.',
    )
  }
  return { liveRestore: LiveRestoreEnabled === true, defaultRuntime: DefaultRuntime ?? '' }
}

/** The client's types do not know it. */
interface DaemonInfo {
  Runtimes?: Record<string, unknown>
  SecurityOptions?: string[]
  LiveRestoreEnabled?: boolean
  DefaultRuntime?: string
}
