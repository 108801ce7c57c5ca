// Which containers a host has, and their end.
import type Docker from 'dockerode'
import { labels, NAME_START } from './container.ts'
import { type Killer, orKill } from './container-processes.ts'
import { ask, removeContainer, statusOf } from './daemon.ts'
import { joined } from './network.ts'

/** Agents end within 120 ms of a SIGTERM and save their state; whoever does not is killed. In seconds, as the daemon counts. */
const GRACE_S = 2
/** A daemon that has not ended a container after this is kept from it by what runs there. In milliseconds; a stop is promised within 5 s. */
const KEPT_FROM_IT_MS = 3_000

/** Several hosts may share a daemon: each knows its own by its directory of runs. */
export interface Holder {
  docker: Docker
  runsDirectory: string
}

/** Running and ended ones, of all runs or of one. */
export function containersOf({ docker, runsDirectory }: Holder, runId?: string): Promise<Docker.ContainerInfo[]> {
  const label = [`${labels.directory}=${runsDirectory}`, ...(runId === undefined ? [] : [`${labels.run}=${runId}`])]
  // A container of a build has the labels that its Dockerfile says, and no name of ours.
  const filters = { label, name: [`^/?${NAME_START}`] }
  return ask('dispose', () => docker.listContainers({ all: true, filters }))
}

/** Stops and removes the run's containers, with the volumes that their images made for them. Politely first: agents save their state when they are asked to end. */
export async function endContainers(holder: Holder & Killer, runId: string): Promise<string[]> {
  const containers = await containersOf(holder, runId)
  await Promise.all(
    containers.map(async ({ Id: id, HostConfig: { NetworkMode: network } }) => {
      const stopped = stop(holder.docker, id)
      await orKill(holder, id, stopped, KEPT_FROM_IT_MS)
      await stopped
      const holdsNetwork = joined(network)
      // First of the two: it is found by the other one alone.
      if (holdsNetwork !== null) await removeContainer(holder.docker, holdsNetwork)
      await removeContainer(holder.docker, id)
    }),
  )
  return containers.map(({ Id }) => Id)
}

async function stop(docker: Docker, id: string): Promise<void> {
  try {
    await ask('dispose', () => docker.getContainer(id).stop({ t: GRACE_S }))
  } catch (error) {
    const status = statusOf(error)
    // 304: it had ended. 404: it is gone.
    if (status !== 304 && status !== 404) throw error
  }
}
