// What a run takes of the disk, where it works in containers.
import { stat } from 'node:fs/promises'
import type Docker from 'dockerode'
import { directoryShare, directorySize, removedButOpen } from '../disk-usage.ts'
import { runPaths } from '../run-directory.ts'
import { processesOf } from './container-processes.ts'
import { ask, askFor } from './daemon.ts'
import { containersOf, type Holder } from './end.ts'

/**
 * The run's directory and what its containers have changed of their images; and
 * where they can be seen, the daemon's logs of them, the volumes that their
 * images have, and files that their processes have removed and keep open.
 */
export async function diskUsage(holder: Holder, runId: string): Promise<number> {
  const { root } = runPaths(holder.runsDirectory, runId)
  const containers = await containersOf(holder, runId)
  const sizes = await Promise.all([directoryShare(root), ...containers.map(({ Id }) => containerSize(holder, Id))])
  return sizes.reduce((sum, size) => sum + size, 0)
}

async function containerSize({ docker }: Holder, id: string): Promise<number> {
  const filters = { id: [id] }
  const found = await ask('turn', () => docker.listContainers({ all: true, size: true, filters }))
  const [container] = found as Sized[]
  const info = await askFor('turn', () => docker.getContainer(id).inspect())
  // The daemon's directory is root's, and may be on another machine's disk.
  const log = info === null ? null : await stat(info.LogPath).catch(() => null)
  const removed = info?.State.Running === true ? await removedButOpen(await processesOf(id)) : 0
  // Nor does it count files.
  const upper = (info?.GraphDriver.Data as Layers | null | undefined)?.UpperDir
  const changed = Math.max(container?.SizeRw ?? 0, upper === undefined ? 0 : await directoryShare(upper))
  return changed + (log?.size ?? 0) + (await volumesSize(info)) + removed
}

/** The daemon does not count them as the container's. */
export async function volumesSize(info: Pick<Docker.ContainerInspectInfo, 'Mounts'> | null): Promise<number> {
  const volumes = (info?.Mounts ?? []).filter(({ Type }) => Type === 'volume')
  const sizes = await Promise.all(volumes.map(({ Source }) => directorySize(Source)))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** As the overlay driver has them, which the client's types do not know. */
interface Layers {
  UpperDir?: string
}

/** Told where it is asked for; the client's types do not know. */
type Sized = Docker.ContainerInfo & { SizeRw?: number }
