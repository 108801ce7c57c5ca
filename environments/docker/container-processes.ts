// The processes of a container, as the machine sees them that the daemon is on.
import { readdir, readFile } from 'node:fs/promises'
import type Docker from 'dockerode'
import { kill } from '../processes.ts'
import { ask } from './daemon.ts'
import { ensureImage } from './image.ts'

/** None where the daemon is on another machine, or this process sees no others than its own. */
export async function processesOf(id: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const isIn = async (pid: string) => (await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '')).includes(id)
  const found = await Promise.all(pids.map(async (pid) => ((await isIn(pid)) ? [Number(pid)] : [])))
  return found.flat()
}

/**
 * Kills all of them without a word to the container's own parts of the daemon,
 * which wait for as long as a program keeps a process that they have started in
 * it from going on. With the first process the kernel ends the others.
 */
export async function killProcesses(docker: Docker, id: string, image: string): Promise<void> {
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
  await ensureImage(docker, image)
  const container = await ask('dispose', () =>
    docker.createContainer({
      Image: image,
      Labels: { 'ambient.helper': 'kill' },
      Entrypoint: ['/bin/sh', '-c', KILL, 'kill', id],
      Cmd: [],
      Healthcheck: { Test: ['NONE'] },
      User: '0:0',
      WorkingDir: '/',
      HostConfig: {
        PidMode: 'host',
        NetworkMode: 'none',
        CapDrop: ['ALL'],
        CapAdd: ['KILL'],
        SecurityOpt: ['no-new-privileges'],
        ReadonlyRootfs: true,
        Memory: 64 * 1024 * 1024,
        PidsLimit: 32,
        LogConfig: { Type: 'json-file', Config: {} },
      },
    }),
  )
  try {
    await ask('dispose', () => container.start())
    await ask('dispose', () => container.wait())
  } finally {
    await container.remove({ force: true, v: true }).catch(() => {}) // It is gone, or the daemon is.
  }
}
