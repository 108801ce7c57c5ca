// Where agents will run: in containers, or as processes of this machine.
import { z } from 'zod'
import type { Config } from '../../config.ts'
import { type HelperOptions, runHelper } from './helper.ts'

const DockerSetup = z.discriminatedUnion('daemon', [
  z.object({ daemon: z.literal(false), reason: z.string() }),
  z.object({
    daemon: z.literal(true),
    /** By which containers reach this machine. */
    gateway: z.string(),
    imageProblem: z.string().nullable(),
  }),
])
export type DockerSetup = z.infer<typeof DockerSetup>

export type HostKind = { kind: 'docker'; gateway: string } | { kind: 'direct' }

const direct = 'Agents run as processes of this machine and ask before they act.'

/** Prepares what containers need. @throws when the settings demand containers and no daemon answers. */
export async function chooseHostKind(config: Config, options: HelperOptions): Promise<HostKind> {
  if (config.AMBIENT_HOST === 'direct') return { kind: 'direct' }
  // Whoever names a runtime wants containers: their absence must not mean less isolation.
  const demanded = config.AMBIENT_HOST === 'docker' || config.AMBIENT_DOCKER_RUNTIME !== undefined
  const setup = DockerSetup.parse(await runHelper('docker-setup.ts', [], options))
  if (!setup.daemon) {
    if (demanded) {
      const value = config.AMBIENT_HOST === 'docker' ? 'AMBIENT_HOST is docker' : 'AMBIENT_DOCKER_RUNTIME is set'
      throw new Error(`${value}, and no Docker daemon answers: ${setup.reason}`)
    }
    options.say(`no Docker daemon answers (${setup.reason}). ${direct}`)
    return { kind: 'direct' }
  }
  if (setup.imageProblem === null) return { kind: 'docker', gateway: setup.gateway }
  options.say(setup.imageProblem)
  if (demanded) {
    options.say('Runs that name no image will fail until it is there, or AMBIENT_IMAGE names one that is.')
    return { kind: 'docker', gateway: setup.gateway }
  }
  options.say(`${direct} AMBIENT_HOST=docker uses containers all the same, for runs that name an image.`)
  return { kind: 'direct' }
}
