// What a run takes of the disk, where it works in containers.
import { stat } from 'node:fs/promises'
import type Docker from 'dockerode'
import { directorySize } from '../disk-usage.ts'
import { runPaths } from '../run-directory.ts'
import { ask, askFor } from './daemon.ts'
import { containersOf, type Holder } from './end.ts'

/** The run's directory, what its containers have changed of their images, and the daemon's logs of them where they can be seen. */
export async function diskUsage(holder: Holder, runId: string): Promise<number> {
  const { root } = runPaths(holder.runsDirectory, runId)
  const containers = await containersOf(holder, runId)
  const sizes = await Promise.all([directorySize(root), ...containers.map(({ Id }) => containerSize(holder, Id))])
  return sizes.reduce((sum, size) => sum + size, 0)
}

async function containerSize({ docker }: Holder, id: string): Promise<number> {
  const filters = { id: [id] }
  const found = await ask('turn', () => docker.listContainers({ all: true, size: true, filters }))
  const [container] = found as Sized[]
  const info = await askFor('turn', () => docker.getContainer(id).inspect())
  // The daemon's directory is root's, and may be on another machine's disk.
  const log = info === null ? null : await stat(info.LogPath).catch(() => null)
  return (container?.SizeRw ?? 0) + (log?.size ?? 0)
}

/** Told where it is asked for; the client's types do not know. */
type Sized = Docker.ContainerInfo & { SizeRw?: number }
