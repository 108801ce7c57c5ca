// What a host and its egress proxy tell each other, in files of one directory.
import { join } from 'node:path'

/** `settings.json`, by the host, before it starts the proxy. */
export interface Settings {
  /** Of the bridge of the restricted sandboxes, on this machine. */
  address: string
  /** The model gateway, as this machine reaches it. */
  gateway: string | null
  /** AMBIENT_EGRESS_ALLOW. */
  ranges: readonly string[]
  /** Stands for all of this and the proxy's program. */
  version: string
}

/** `ports.json`, by the proxy. They stay the same for as long as there are sandboxes that were told them. */
export interface Ports {
  proxy: number
  gateway: number
  /** The settings under which it listens. */
  ready?: string
}

/** One file for each sandbox, by the address that it has. */
export interface SandboxNote {
  run_id: string
  generation: number
  allow: readonly string[]
  /** The relay adds it to what the sandbox asks of the model gateway, which so knows where it comes from. */
  pass: string
}

export const sandboxFile = (directory: string, address: string) => join(directory, 'sandboxes', `${address}.json`)

export const blockedFile = (
  directory: string,
  { run_id: runId, generation }: Pick<SandboxNote, 'run_id' | 'generation'>,
) => join(directory, 'blocked', `${runId}-${generation}.json`)
