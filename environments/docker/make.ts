// Makes the container of a sandbox, in a network that is there already or in one of its own, and starts it.
import type Docker from 'dockerode'
import { logTail, RunFailureError } from '../../domain/failure.ts'
import type { SandboxSpec } from '../host.ts'
import { createRunDirectory } from '../run-directory.ts'
import { containerOptions, inside, type Limits } from './container.ts'
import { ask, askFor, messageOf, removeContainer, statusOf } from './daemon.ts'
import type { Egress } from './egress.ts'
import { type Finder, type Found, findContainer } from './find.ts'
import { type FirstLine, openFirstLine } from './first-line.ts'
import { nameUser, type PasswdCache } from './image.ts'
import { joined, networkHolder, type SandboxNetwork } from './network.ts'
import type { SpareNetworks } from './spare-networks.ts'

export interface Maker extends Finder {
  nodePath: string
  limits: Limits
  /** Absent: the daemon's default. */
  runtime?: string | undefined
  spares: SpareNetworks
  passwds: PasswdCache
  /** Each container's line is put here, by its id. */
  lines: Map<string, FirstLine>
}

type Net = Awaited<ReturnType<Egress['prepare']>>

export async function create(maker: Maker, spec: SandboxSpec, image: string, net: Net): Promise<Found> {
  const owner = spec.user ?? maker.owner
  const paths = await createRunDirectory(maker.runsDirectory, spec.runId, owner)
  const make = async (network: string) => {
    const plan = { ...maker, ...spec, way: net.way, network, runtime: maker.runtime ?? null, image, paths }
    return ask('workspace', () => maker.docker.createContainer(containerOptions(plan)))
  }
  try {
    const container =
      (net.way === null && (await makeInSpare(maker, net.network, make))) || (await make(net.network.name))
    const line = await ask('workspace', () => openFirstLine(container))
    maker.lines.set(container.id, line)
    return { container, owner, gateway: net.way?.gateway }
  } catch (error) {
    // Another caller was faster; its container is the same.
    const made = statusOf(error) === 409 ? await findContainer(maker, spec.runId, spec.generation) : null
    if (made !== null) return made
    throw error
  }
}

/** @returns null where no network was made ahead, or the one that was is gone. */
async function makeInSpare(
  maker: Maker,
  network: SandboxNetwork,
  make: (network: string) => Promise<Docker.Container>,
): Promise<Docker.Container | null> {
  const spare = maker.spares.take(network)
  if (spare === null) return null
  try {
    const container = await make(spare.mode)
    if (await spare.keep()) return container
    await removeContainer(maker.docker, container.id)
    return null
  } catch (error) {
    spare.drop()
    throw error
  }
}

/** Removes one that was never started and can no longer be: the network that it was to join has ended with its maker. */
export async function lostNetwork({ docker }: Maker, container: Docker.Container): Promise<boolean> {
  const info = await askFor('workspace', () => container.inspect())
  if (info?.State.Status !== 'created' || joined(info.HostConfig.NetworkMode) === null) return false
  if ((await networkHolder(docker, info, 'workspace'))?.State.Running === true) return false
  await removeContainer(docker, container.id)
  return true
}

export async function start(maker: Maker, { container, owner }: Found, imageId: string, image: string): Promise<void> {
  await nameUser(container, imageId, owner, inside.home, maker.passwds)
  try {
    await ask('workspace', () => container.start())
  } catch (error) {
    const status = statusOf(error)
    // 304: another caller was faster.
    if (status === 304) return
    if (status === null) throw error
    throw new RunFailureError(
      {
        code: 'agent_start_failed',
        phase: 'workspace',
        message: `A container of the image ${image} does not start.`,
        logTail: logTail(messageOf(error)),
        nextStep: 'The image needs a /bin/sh and the host’s processor architecture.',
      },
      { cause: error },
    )
  }
}
