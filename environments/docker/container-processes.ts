// The processes of a container, as the machine sees them that the daemon is on.
import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type Docker from 'dockerode'
import { kill } from '../processes.ts'
import { runHelper } from './helper-container.ts'

/** None where the daemon is on another machine, or this process sees no others than its own. */
export async function processesOf(id: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const isIn = async (pid: string) => (await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '')).includes(id)
  const found = await Promise.all(pids.map(async (pid) => ((await isIn(pid)) ? [Number(pid)] : [])))
  return found.flat()
}

export interface Killer {
  docker: Docker
  /** Of the container that kills where this process cannot. */
  image: string
}

/**
 * Waits for what the daemon does with a container, and kills all that runs there
 * where it has not come to it in time. @returns whether it had to.
 */
export async function orKill(killer: Killer, id: string, work: Promise<unknown>, withinMs: number): Promise<boolean> {
  const over = new AbortController()
  const late = sleep(withinMs, true, { signal: over.signal }).catch(() => false)
  try {
    const isLate = await Promise.race([work.then(() => false), late])
    if (isLate) {
      work.catch(() => {}) // Its caller may not wait for it any more.
      await killProcesses(killer, id)
    }
    return isLate
  } finally {
    over.abort()
  }
}

/**
 * Kills all of them without a word to the container's own parts of the daemon,
 * which wait for as long as a program keeps a process that they have started in
 * it from going on. With the first process the kernel ends the others.
 */
async function killProcesses({ docker, image }: Killer, id: string): Promise<void> {
  const pids = await processesOf(id)
  if (pids.length > 0 && process.getuid?.() === 0) for (const pid of pids) kill(pid, 'SIGKILL')
  else await killByContainer(docker, id, image)
}

// The id stands between slashes, dots and dashes, as the drivers of cgroups have it. Its own number is of another container.
const KILL = `for process in /proc/[0-9]*; do
  while read -r line; do
    case $line in *"$1"*) kill -9 "\${process#/proc/}" ;; esac
  done <"$process/cgroup"
done 2>/dev/null
exit 0`

/** For whoever may use the daemon and is not on its machine: a container that sees all its processes. */
export async function killByContainer(docker: Docker, id: string, image: string): Promise<void> {
  await runHelper(docker, image, {
    name: 'kill',
    phase: 'dispose',
    script: KILL,
    args: [id],
    host: { PidMode: 'host', NetworkMode: 'none', CapAdd: ['KILL'], Memory: 64 * 1024 * 1024 },
  })
}
