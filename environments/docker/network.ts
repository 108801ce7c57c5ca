// The network of all sandboxes: they reach the outside and this machine, not one another.
import type Docker from 'dockerode'
import { ask, askFor, statusOf } from './daemon.ts'

export const NETWORK = 'ambient'

const ISOLATION = 'com.docker.network.bridge.enable_icc'

/** Makes the network where it is missing. Idempotent. @returns its gateway: the address of this machine as containers see it. */
export async function ensureNetwork(docker: Docker): Promise<string> {
  const there = await askFor('claim', () => docker.getNetwork(NETWORK).inspect())
  const network = there ?? (await createNetwork(docker))
  if (network.Options?.[ISOLATION] !== 'false') {
    throw new Error(`the Docker network ${NETWORK} lets containers reach one another; remove it, it is made again`)
  }
  return gatewayOf(network)
}

async function createNetwork(docker: Docker): Promise<Docker.NetworkInspectInfo> {
  return ask('claim', async () => {
    try {
      await docker.createNetwork({
        Name: NETWORK,
        Driver: 'bridge',
        CheckDuplicate: true,
        Labels: { 'ambient.network': 'sandboxes' },
        Options: { [ISOLATION]: 'false' },
      })
    } catch (error) {
      // Another process was faster; its network is as good.
      if (statusOf(error) !== 409) throw error
    }
    return docker.getNetwork(NETWORK).inspect()
  })
}

function gatewayOf(network: Docker.NetworkInspectInfo): string {
  const gateway = network.IPAM?.Config?.map((config) => config.Gateway).find((address) => address?.includes('.'))
  if (gateway === undefined)
    throw new Error(`the Docker network ${NETWORK} has no IPv4 gateway; remove it, it is made again`)
  return gateway
}
