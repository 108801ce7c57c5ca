// What sandboxes reach: the network of the host's policy, closed by the packet filter, and the restricted one.
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import type Docker from 'dockerode'
import type { Logger } from 'pino'
import { RunFailureError } from '../../domain/failure.ts'
import type { BlockedHost } from '../egress/blocked.ts'
import type { CallsFrom } from '../host.ts'
import type { Owner } from '../run-directory.ts'
import { askFor } from './daemon.ts'
import { publicRules } from './firewall.ts'
import { createGuard } from './guard.ts'
import { openIptables } from './iptables.ts'
import {
  type EgressPolicy,
  ensureNetwork,
  networkHolder,
  networkName,
  type SandboxNetwork,
  shortHash,
} from './network.ts'
import { createRestrictedNetwork, type Way } from './restricted.ts'

export interface Egress {
  /** The address of this machine as sandboxes without restrictions of their own see it. */
  readonly loopback: string
  /** Whether the policy holds: `failing` while rules that it needs may not stand. */
  state(): 'public' | 'open' | 'failing'
  /** Before a container is made: its network, there and closed. `allow`: the hosts that its environment names. */
  prepare(allow: readonly string[] | null, runId: string | null): Promise<{ network: SandboxNetwork; way: Way | null }>
  /** For the steps of builds, closed like the one of sandboxes. They have rights by which they could take one another's place in a network. */
  buildNetwork(): Promise<string>
  /** After it was started. */
  admit(container: Docker.Container, runId: string, generation: number, allow: readonly string[]): Promise<void>
  /** From where the model gateway sees the calls of a sandbox come. */
  callsFrom(container: Docker.Container): Promise<CallsFrom>
  /** Where restricted sandboxes find the model gateway. */
  restrictedGateway(): Promise<string>
  dismiss(runId: string): Promise<void>
  forget(runId: string): Promise<void>
  blocked(runId: string, generation: number): Promise<BlockedHost[]>
  setGateway(url: string): Promise<void>
}

/** @throws when the policy asks for rules that cannot be set. */
export async function createEgress(options: {
  docker: Docker
  policy: EgressPolicy
  image: string
  nodePath: string
  runsDirectory: string
  owner: Owner
  log: Logger
}): Promise<Egress> {
  const { docker, policy, runsDirectory, log } = options
  const image = (await ownImage(docker)) ?? options.image
  // Other hosts take the rules of one that has no directory for left over.
  await mkdir(runsDirectory, { recursive: true, mode: 0o700 })
  const guard = createGuard({
    open: (bridge) => openIptables(docker, bridge, image),
    host: runsDirectory,
    log,
  })
  const restricted = createRestrictedNetwork({ ...options, image, guard, ranges: policy.allow })
  const name = networkName(policy)

  async function close({ name: closed, bridge }: SandboxNetwork): Promise<void> {
    if (policy.mode === 'open') return
    const rules = publicRules(policy.allow)
    await guard.keep({ bridge, chain: chainOf(closed), rules, leadsToGateway: closed === name })
  }

  function checkGuard(): void {
    const reason = guard.trouble()
    if (reason !== null) throw unguarded(new Error(reason))
  }

  let network = await ensureNetwork(docker, name)
  await close(network).catch((error: unknown) => {
    throw new Error(`${OPEN} ${WAYS} (${wordsOf(error)})`, { cause: error })
  })
  if (policy.mode === 'open')
    log.warn('AMBIENT_EGRESS=open: sandboxes reach private networks, metadata services and this machine')

  let way: Promise<Way> | null = null
  const restrictedWay = (runId: string | null): Promise<Way> => {
    const opened: Promise<Way> = restricted.open(runId).catch((error: unknown) => {
      // The next one to ask tries again.
      if (way === opened) way = null
      throw unguarded(error)
    })
    opened.catch(() => {}) // Heard by whoever asked.
    way = opened
    return opened
  }

  return {
    loopback: network.gateway,
    state: () => (guard.trouble() === null ? policy.mode : 'failing'),
    async prepare(allow, runId) {
      checkGuard()
      if (allow !== null) return { network, way: await restrictedWay(runId) }
      const now = await ensureNetwork(docker, name)
      // Somebody has removed it, and it was made again: under another bridge.
      if (now.id !== network.id) {
        await close(now).catch((error: unknown) => {
          throw unguarded(error)
        })
        network = now
      }
      return { network, way: null }
    },
    async buildNetwork() {
      checkGuard()
      const builds = await ensureNetwork(docker, `${name}-build`)
      await close(builds).catch((error: unknown) => {
        throw unguarded(error)
      })
      return builds.name
    },
    admit: (container, runId, generation, allow) => restricted.admit(container, { run_id: runId, generation, allow }),
    async callsFrom(container) {
      const pass = await restricted.passOf(container)
      if (pass !== null) return { kind: 'pass', hash: createHash('sha256').update(pass).digest('hex') }
      const info = await askFor('workspace', () => container.inspect())
      const holder = info && (await networkHolder(docker, info, 'workspace'))
      const addresses = Object.values(holder?.NetworkSettings.Networks ?? {}).map((network) => network?.IPAddress)
      return { kind: 'address', address: addresses.find((address) => address) ?? '' }
    },
    restrictedGateway: async () => (await (way ?? restrictedWay(null))).gateway,
    dismiss: (runId) => restricted.dismiss(runId),
    forget: (runId) => restricted.forget(runId),
    blocked: (runId, generation) => restricted.blocked(runId, generation),
    async setGateway(url) {
      await guard.setGateway(url)
      // Sandboxes of the default network do not wait for it; the next restricted one tries again.
      await restricted.setGateway(url).catch((error: unknown) => {
        log.error({ err: error }, 'the proxy of sandboxes with a list of hosts could not be looked after')
      })
      way = null
    },
  }
}

/** The image that this process itself runs from, where it is in a container: what is needed beside sandboxes is made from it. */
async function ownImage(docker: Docker): Promise<string | null> {
  if (!existsSync('/.dockerenv')) return null
  const info = await askFor('claim', () => docker.getContainer(hostname()).inspect())
  return info?.Image ?? null
}

/** The names of chains have at most 28 characters. */
const chainOf = (network: string) => `AMBIENT-${shortHash(network)}`

const OPEN =
  'Sandboxes would reach private networks, metadata services and this machine: the rules against it cannot be set.'
const WAYS =
  "Run the host as root on the Docker daemon's machine, with iptables, or bring the image of AMBIENT_IMAGE there, in which the machine's iptables is called otherwise. AMBIENT_EGRESS=open does without the rules."

const unguarded = (error: unknown) =>
  new RunFailureError(
    {
      code: 'host_unavailable',
      phase: 'workspace',
      message: `The network of sandboxes cannot be closed on this host: ${wordsOf(error)}`,
      nextStep: 'See the log of the host, and docs/isolation.md on what it needs.',
    },
    { cause: error },
  )

const wordsOf = (error: unknown) => (error instanceof Error ? error.message : String(error))
