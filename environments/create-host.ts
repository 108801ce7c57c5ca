// Chooses the kind of host that the settings ask for.
import Docker from 'dockerode'
import type { Logger } from 'pino'
import { type Config, dataPaths, egressPolicy, inheritedEnvironment, root } from '../config.ts'
import { createDirectHost } from './direct/host.ts'
import { createDockerHost } from './docker/host.ts'
import { removeRestrictedNetwork } from './docker/restricted.ts'
import type { Host } from './host.ts'

/** A daemon that takes longer to say that it is there is of no use to a run. */
const PING_MS = 3_000
/** A container that is killed at once. */
const REMOVE_MS = 20_000

export async function createHost(config: Config, log: Logger): Promise<Host> {
  const common = { runsDirectory: dataPaths(config).runs, nodePath: process.execPath, log }
  const isDirect =
    config.AMBIENT_HOST === 'direct' ||
    // Whoever names a runtime wants containers: their absence must not mean less isolation.
    (config.AMBIENT_HOST === 'auto' && config.AMBIENT_DOCKER_RUNTIME === undefined && !(await dockerAnswers()))
  if (isDirect) {
    await removeRestrictedNetwork(new Docker({ timeout: REMOVE_MS }), common.runsDirectory).then(
      (removed) => removed && log.info('the egress proxy of the time with containers is removed'),
      (error: unknown) =>
        log.warn({ reason: String(error) }, 'an egress proxy of the time with containers may have stayed'),
    )
    return createDirectHost({
      ...common,
      path: inheritedEnvironment().PATH,
      sandbox: config.AMBIENT_DIRECT_SANDBOX,
      // Keys are in the first, and may be in the second.
      hidden: [config.AMBIENT_DATA, root, config.AMBIENT_GIT_CREDENTIALS, config.AMBIENT_GIT_SSH_KEY].filter(
        (path) => path !== undefined,
      ),
    })
  }
  return createDockerHost({
    ...common,
    image: config.AMBIENT_IMAGE,
    limits: { memoryMb: config.AMBIENT_MEMORY_MB, cpus: config.AMBIENT_CPUS, pids: config.AMBIENT_PIDS },
    spareNetworks: config.AMBIENT_SPARE_NETWORKS,
    runtime: config.AMBIENT_DOCKER_RUNTIME,
    egress: egressPolicy(config),
    builds: {
      minutes: config.AMBIENT_IMAGE_BUILD_MINUTES,
      network: config.AMBIENT_IMAGE_BUILD_NETWORK,
      diskBytes: config.AMBIENT_DISK_GB * 1024 ** 3,
    },
    rootAllowed: config.AMBIENT_ROOT_USER === 'allow',
  })
}

/** Whether a Docker daemon answers on this machine. */
export async function dockerAnswers(): Promise<boolean> {
  try {
    await new Docker({ timeout: PING_MS }).ping()
    return true
  } catch {
    // No daemon, or none that this user may ask: there is nothing to tell apart here.
    return false
  }
}
