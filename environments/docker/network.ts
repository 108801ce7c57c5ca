// The networks of sandboxes: on none of them do they reach one another.
import { createHash } from 'node:crypto'
import type Docker from 'dockerode'
import type { Phase } from '../../domain/state.ts'
import { ask, askFor, statusOf } from './daemon.ts'

/** What sandboxes reach whose environment does not say. */
export interface EgressPolicy {
  mode: 'public' | 'open'
  /** Private addresses and ranges that they reach all the same, such as 10.1.2.0/24. */
  allow: readonly string[]
}

export const PUBLIC: EgressPolicy = { mode: 'public', allow: [] }

const NETWORK = 'ambient'

/** One for each policy: hosts with different ones may share a daemon. */
export function networkName({ mode, allow }: EgressPolicy): string {
  if (mode === 'open') return `${NETWORK}-open`
  return allow.length === 0 ? NETWORK : `${NETWORK}-${shortHash([...allow].sort().join(','))}`
}

export const shortHash = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 8)

export interface SandboxNetwork {
  name: string
  id: string
  /** The address of this machine as containers see it. */
  gateway: string
  /** Its interface on the daemon's machine. */
  bridge: string
}

const ISOLATION = 'com.docker.network.bridge.enable_icc'
const BRIDGE_NAME = 'com.docker.network.bridge.name'

/** Makes the network where it is missing. Idempotent. */
export async function ensureNetwork(
  docker: Docker,
  name = NETWORK,
  { internal = false } = {},
): Promise<SandboxNetwork> {
  const there = await askFor('claim', () => docker.getNetwork(name).inspect())
  const network: Docker.NetworkInspectInfo = there ?? (await createNetwork(docker, name, internal))
  const isWrong = (what: string) => new Error(`the Docker network ${name} ${what}; remove it, it is made again`)
  if (network.Options?.[ISOLATION] !== 'false') throw isWrong('lets containers reach one another')
  // Nothing here looks after a second protocol's addresses.
  if (network.EnableIPv6 === true) throw isWrong('has IPv6')
  if (internal && !network.Internal) throw isWrong('has a way out')
  const gateway = network.IPAM?.Config?.map((config) => config.Gateway).find((address) => address?.includes('.'))
  if (gateway === undefined) throw isWrong('has no IPv4 gateway')
  return { name, id: network.Id, gateway, bridge: network.Options[BRIDGE_NAME] ?? `br-${network.Id.slice(0, 12)}` }
}

async function createNetwork(docker: Docker, name: string, internal: boolean): Promise<Docker.NetworkInspectInfo> {
  return ask('claim', async () => {
    try {
      await docker.createNetwork({
        Name: name,
        Driver: 'bridge',
        CheckDuplicate: true,
        Internal: internal,
        EnableIPv6: false,
        Labels: { 'ambient.network': 'sandboxes' },
        Options: { [ISOLATION]: 'false' },
      })
    } catch (error) {
      // Another process was faster; its network is as good.
      if (statusOf(error) !== 409) throw error
    }
    return docker.getNetwork(name).inspect()
  })
}

const JOINED = 'container:'

/** The NetworkMode of a container that is in the network of another one. */
export const joining = (container: string): string => `${JOINED}${container}`

/** The container whose network one with this NetworkMode is in; null where it has its own. */
export function joined(mode: string | undefined): string | null {
  return mode?.startsWith(JOINED) ? mode.slice(JOINED.length) : null
}

/** Of the container that has the network this one is in: itself, or the one that it has joined; null where that is gone. */
export async function networkHolder(
  docker: Docker,
  info: Docker.ContainerInspectInfo,
  phase: Phase,
): Promise<Docker.ContainerInspectInfo | null> {
  const holder = joined(info.HostConfig.NetworkMode)
  return holder === null ? info : askFor(phase, () => docker.getContainer(holder).inspect())
}
