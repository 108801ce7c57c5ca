// How much of the disk a step of a build takes, while it runs.
import type Docker from 'dockerode'
import { ask, askFor } from './daemon.ts'
import { volumesSize } from './disk-usage.ts'

/** How often it is looked at, in milliseconds. */
const EVERY_MS = 5_000
/** More than any Dockerfile has steps. What a step writes can look like the beginning of another one. */
const CONTAINERS = 1_000

export interface BuildDisk {
  /** Aborts when a step takes more than it may. */
  readonly exceeded: AbortSignal
  /** Looks at this container as well from now on. */
  watch(container: string): void
  stop(): void
}

export function watchBuildDisk(docker: Docker, maxBytes: number, everyMs = EVERY_MS): BuildDisk {
  const exceeded = new AbortController()
  const watched = new Set<string>()
  let isLooking = false
  const timer = setInterval(() => {
    if (watched.size === 0 || isLooking) return
    isLooking = true
    largestOf(docker, [...watched])
      .then((bytes) => {
        if (bytes > maxBytes) exceeded.abort()
      })
      .catch(() => {}) // The daemon is asked again, and the build itself tells when it has gone.
      .finally(() => {
        isLooking = false
      })
  }, everyMs)
  return {
    exceeded: exceeded.signal,
    watch(container) {
      if (watched.size < CONTAINERS) watched.add(container)
    },
    stop: () => clearInterval(timer),
  }
}

/** Those of steps that are over are gone. */
async function largestOf(docker: Docker, ids: string[]): Promise<number> {
  const filters = { id: ids }
  const found = await ask('workspace', () => docker.listContainers({ all: true, size: true, filters }))
  const sizes = await Promise.all(
    (found as (Docker.ContainerInfo & { SizeRw?: number })[]).map(async ({ Id, SizeRw = 0, Mounts }) => {
      if (Mounts.length === 0) return SizeRw
      return SizeRw + (await volumesSize(await askFor('workspace', () => docker.getContainer(Id).inspect())))
    }),
  )
  return Math.max(0, ...sizes)
}
