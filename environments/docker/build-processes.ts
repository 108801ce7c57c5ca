// How many processes a step of a build may have: the daemon takes no such limit with a build, and takes it of the step's container.
import type Docker from 'dockerode'
import { askFor } from './daemon.ts'

/** What a build has asked the daemon for, by which the containers of its steps are known. */
export interface StepLimits {
  network: string
  memoryBytes: number
  pids: number
  /** When the build began, as milliseconds since 1970. */
  began: number
}

/**
 * Before the step's program begins, or a moment later. A step can write what looks like the beginning of another one:
 * a container that is not of a build like this one is left alone.
 */
export async function limitProcesses(docker: Docker, id: string, limits: StepLimits): Promise<void> {
  const container = docker.getContainer(id)
  const step = await askFor('workspace', () => container.inspect())
  if (step === null) return // It is over.
  const { NetworkMode, Memory } = step.HostConfig
  const isOurs = NetworkMode === limits.network && Memory === limits.memoryBytes
  if (!isOurs || Date.parse(step.Created) < limits.began) return
  await askFor('workspace', () => container.update({ PidsLimit: limits.pids }))
}
