// The container of a sandbox, by its name.
import type Docker from 'dockerode'
import type { Owner } from '../run-directory.ts'
import { containerName, labels } from './container.ts'
import { askFor } from './daemon.ts'
import type { Egress } from './egress.ts'

export interface Finder {
  docker: Docker
  runsDirectory: string
  /** Of sandboxes whose labels name no other one. */
  owner: Owner
  egress: Egress
}

/** A container, and what its labels say of it. */
export interface Found {
  container: Docker.Container
  owner: Owner
  /** Where it finds the model gateway, if not where others do. */
  gateway: string | undefined
}

/** Ours alone: another host on the same daemon may hold a run of the same name. */
export async function findContainer(finder: Finder, runId: string, generation: number): Promise<Found | null> {
  const info = await askFor('workspace', () => finder.docker.getContainer(containerName(runId, generation)).inspect())
  if (info === null || info.Config.Labels[labels.directory] !== finder.runsDirectory) return null
  // By its id from here on: a name can pass to another container.
  const [, uid, gid] = /^(\d+):(\d+)$/.exec(info.Config.Labels[labels.owner] ?? '') ?? []
  const owner = uid === undefined ? finder.owner : { uid: Number(uid), gid: Number(gid) }
  const isRestricted = info.Config.Labels[labels.restricted] === 'yes' && info.State.Running
  const gateway = isRestricted ? await finder.egress.restrictedGateway() : undefined
  return { container: finder.docker.getContainer(info.Id), owner, gateway }
}
