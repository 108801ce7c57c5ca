// Chooses the kind of host that the settings ask for.
import Docker from 'dockerode'
import type { Logger } from 'pino'
import { type Config, dataPaths, inheritedEnvironment } from '../config.ts'
import { createDirectHost } from './direct/host.ts'
import { createDockerHost } from './docker/host.ts'
import type { Host } from './host.ts'

/** A daemon that takes longer to say that it is there is of no use to a run. */
const PING_MS = 3_000

export async function createHost(config: Config, log: Logger): Promise<Host> {
  const common = { runsDirectory: dataPaths(config).runs, nodePath: process.execPath, log }
  if (config.AMBIENT_HOST === 'direct' || (config.AMBIENT_HOST === 'auto' && !(await dockerAnswers()))) {
    return createDirectHost({ ...common, path: inheritedEnvironment().PATH })
  }
  return createDockerHost({
    ...common,
    image: config.AMBIENT_IMAGE,
    limits: { memoryMb: config.AMBIENT_MEMORY_MB, cpus: config.AMBIENT_CPUS, pids: config.AMBIENT_PIDS },
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
