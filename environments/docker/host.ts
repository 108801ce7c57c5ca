// Docker as a host: one container per run and generation, hardened, over directories of this machine.
import Docker from 'dockerode'
import type { Logger } from 'pino'
import { logTail, RunFailureError } from '../../domain/failure.ts'
import type { Host, Sandbox, SandboxSpec } from '../host.ts'
import { createRunDirectory, listRunDirectories, type Owner, removeRunDirectory, runPaths } from '../run-directory.ts'
import { createRunLocks, type RunLocks } from '../run-locks.ts'
import { serialWriter } from '../serial-writer.ts'
import { startAgent, startedBy, wasStarted } from './agent.ts'
import type { BuildSettings } from './build-image.ts'
import { containerName, containerOptions, inside, type Limits, labels } from './container.ts'
import { ask, askFor, messageOf, removeContainer, statusOf } from './daemon.ts'
import { diskUsage } from './disk-usage.ts'
import { createEgress, type Egress } from './egress.ts'
import { containersOf, endContainers } from './end.ts'
import { type FirstLine, openFirstLine } from './first-line.ts'
import { ensureImage, nameUser, type PasswdCache } from './image.ts'
import { type FetchedImages, fetchedImages } from './image-upkeep.ts'
import { createImages } from './images.ts'
import { hasJob, startJob } from './jobs.ts'
import { containerJournal, writeToContainer } from './journal.ts'
import { type EgressPolicy, joined, PUBLIC, type SandboxNetwork } from './network.ts'
import { checkDaemon } from './requirements.ts'
import { sees } from './sees.ts'
import { createSpareNetworks, type SpareNetworks } from './spare-networks.ts'

/** The sandbox's user where the host runs as root; else it is the host's own user, whose files it shares. */
const AGENT_ID = 1000

/** The runtimes of which one's container can be in the network of another's. */
const SHARES_NETWORKS = ['runc', 'io.containerd.runc.v2', 'crun']

export interface DockerHostOptions {
  runsDirectory: string
  nodePath: string
  /** Image of sandboxes that name none. */
  image: string
  limits: Limits
  /** What sandboxes reach; absent: the internet, and nothing that is private. */
  egress?: EgressPolicy | undefined
  /** How many networks are made ahead of their sandboxes; absent: none. */
  spareNetworks?: number | undefined
  /** Absent: it builds no images. */
  builds?: BuildSettings | undefined
  /** Whether a sandbox may run as its image's root, without capabilities; absent: it may not. */
  rootAllowed?: boolean | undefined
  /** The OCI runtime of sandboxes, such as gVisor's; absent, the daemon's default. */
  runtime?: string | undefined
  log: Logger
  docker?: Docker | undefined
}

export async function createDockerHost(options: DockerHostOptions): Promise<Host> {
  const docker = options.docker ?? new Docker()
  const owner = sandboxOwner()
  const { liveRestore, defaultRuntime } = await checkDaemon(docker, options.runtime, (text) => options.log.warn(text))
  const egress = await createEgress({ ...options, docker, owner, policy: options.egress ?? PUBLIC })
  const daemon: Daemon = {
    ...options,
    docker,
    egress,
    owner,
    passwds: new Map(),
    writers: new Map(),
    started: new Set(),
    lines: new Map(),
    locks: createRunLocks(),
    images: fetchedImages(docker, options.runsDirectory),
    spares: createSpareNetworks({
      ...options,
      docker,
      liveRestore,
      // Others, such as gVisor's, take a network's addresses for their own.
      count: SHARES_NETWORKS.includes(options.runtime ?? defaultRuntime) ? (options.spareNetworks ?? 0) : 0,
    }),
  }
  const { locks } = daemon
  return {
    kind: 'docker',
    owner: daemon.owner,
    loopback: egress.loopback,
    egress: egress.state,
    setGateway: egress.setGateway,
    blockedHosts: egress.blocked,
    image: options.image,
    images: createImages(daemon, egress.buildNetwork),
    async imageId(name) {
      return (await askFor('workspace', () => docker.getImage(name).inspect()))?.Id ?? null
    },
    sees: (file, image) => sees(docker, image ?? options.image, file),
    paths: (_runId, toolkit) => ({ ...inside, toolkit: toolkit === null ? '' : inside.toolkit }),
    open: (spec) => open(daemon, spec),
    async find(runId, generation) {
      const found = await findContainer(daemon, runId, generation)
      return found === null ? null : sandbox(daemon, runId, generation, found)
    },
    stop: (runId) => locks.stop(runId, () => end(daemon, runId)),
    remove: (runId) =>
      locks.stop(runId, async () => {
        await end(daemon, runId)
        await egress.forget(runId)
        await removeRunDirectory(daemon.runsDirectory, runId)
      }),
    diskUsage: (runId) => diskUsage(daemon, runId),
    async worksFrom(toolkits) {
      const mounted = (await containersOf(daemon)).flatMap(({ Mounts }) => Mounts.map(({ Source }) => Source))
      return new Set(toolkits.filter((toolkit) => mounted.includes(toolkit)))
    },
    trimImages: (maxBytes) => daemon.images.trim(maxBytes, daemon.image),
    list: () => list(daemon),
  }
}

function sandboxOwner(): Owner {
  const uid = process.getuid?.() ?? 0
  return uid === 0 ? { uid: AGENT_ID, gid: AGENT_ID } : { uid, gid: process.getgid?.() ?? uid }
}

interface Daemon extends Omit<DockerHostOptions, 'egress'> {
  docker: Docker
  egress: Egress
  locks: RunLocks
  images: FetchedImages
  spares: SpareNetworks
  owner: Owner
  passwds: PasswdCache
  /** The one writer of each container's stdin, by the container's id. */
  writers: Map<string, (text: string) => Promise<void>>
  /** Containers that are known to have started their agent, by id. It cannot be taken back. */
  started: Set<string>
  /** To the gates of containers that this process has made and that have no agent yet, by id. Nobody else writes to them. */
  lines: Map<string, FirstLine>
}

async function open(daemon: Daemon, spec: SandboxSpec): Promise<Sandbox> {
  const image = spec.image ?? daemon.image
  const allow = spec.egress?.allow ?? null
  const isThere = (await findContainer(daemon, spec.runId, spec.generation)) !== null
  // An image may take minutes to come, and a stop does not wait for it.
  const [net] = await Promise.all([
    daemon.egress.prepare(allow, spec.runId),
    isThere ? null : ensureImage(daemon.docker, image, spec.signal, daemon.images),
  ])
  spec.signal?.throwIfAborted()
  return daemon.locks.start(spec.runId, async () => {
    const there = await findContainer(daemon, spec.runId, spec.generation)
    const isUsable = there !== null && !(await lostNetwork(daemon, there.container))
    const found = isUsable ? there : await create(daemon, spec, image, net)
    const info = await ask('workspace', () => found.container.inspect())
    // Only a container that never ran is started: one agent process is one container.
    if (info.State.Status === 'created') await startContainer(daemon, found, info.Image, info.Config.Image)
    // Before anything runs in it. Repeated for one that is there: its maker may have died before that.
    if (allow !== null) await daemon.egress.admit(found.container, spec.runId, spec.generation, allow)
    return sandbox(daemon, spec.runId, spec.generation, found)
  })
}

async function create(daemon: Daemon, spec: SandboxSpec, image: string, net: Net): Promise<Found> {
  const owner = spec.user ?? daemon.owner
  const paths = await createRunDirectory(daemon.runsDirectory, spec.runId, owner)
  const make = async (network: string) => {
    const plan = { ...daemon, ...spec, way: net.way, network, runtime: daemon.runtime ?? null, image, paths }
    return ask('workspace', () => daemon.docker.createContainer(containerOptions(plan)))
  }
  try {
    const container =
      (net.way === null && (await makeInSpare(daemon, net.network, make))) || (await make(net.network.name))
    const line = await ask('workspace', () => openFirstLine(container))
    daemon.lines.set(container.id, line)
    return { container, owner, gateway: net.way?.gateway }
  } catch (error) {
    // Another caller was faster; its container is the same.
    const made = statusOf(error) === 409 ? await findContainer(daemon, spec.runId, spec.generation) : null
    if (made !== null) return made
    throw error
  }
}

/** @returns null where no network was made ahead, or the one that was is gone. */
async function makeInSpare(
  daemon: Daemon,
  network: SandboxNetwork,
  make: (network: string) => Promise<Docker.Container>,
): Promise<Docker.Container | null> {
  const spare = daemon.spares.take(network)
  if (spare === null) return null
  try {
    const container = await make(spare.mode)
    if (await spare.keep()) return container
    await removeContainer(daemon.docker, container.id)
    return null
  } catch (error) {
    spare.drop()
    throw error
  }
}

/** Removes one that was never started and can no longer be: the network that it was to join has ended with its maker. */
async function lostNetwork({ docker }: Daemon, container: Docker.Container): Promise<boolean> {
  const info = await askFor('workspace', () => container.inspect())
  const holder = joined(info?.HostConfig.NetworkMode)
  if (info?.State.Status !== 'created' || holder === null) return false
  const held = await askFor('workspace', () => docker.getContainer(holder).inspect())
  if (held?.State.Running === true) return false
  await removeContainer(docker, container.id)
  return true
}

async function startContainer(
  daemon: Daemon,
  { container, owner }: Found,
  imageId: string,
  image: string,
): Promise<void> {
  await nameUser(container, imageId, owner, inside.home, daemon.passwds)
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

function sandbox(daemon: Daemon, runId: string, generation: number, { container, owner, gateway }: Found): Sandbox {
  const paths = runPaths(daemon.runsDirectory, runId)
  const openWriter = (isFirst: boolean) => {
    const writer = serialWriter((bytes) => writeToContainer(container, bytes), isFirst)
    daemon.writers.set(container.id, writer)
    return writer
  }
  const write = (text: string) => (daemon.writers.get(container.id) ?? openWriter(false))(text)
  const journal = () => containerJournal(container, generation, write)
  return {
    runId,
    generation,
    owner,
    gateway,
    startAgent: (program) =>
      daemon.locks.start(runId, async () => {
        const line = daemon.lines.get(container.id)
        daemon.lines.delete(container.id)
        if (line !== undefined && (await startedBy(line, program))) openWriter(true)
        else await startAgent(container, program, write)
        line?.close()
        daemon.started.add(container.id)
        return journal()
      }),
    async agent() {
      if (!daemon.started.has(container.id)) {
        if (!(await wasStarted(container))) return null
        daemon.started.add(container.id)
      }
      return journal()
    },
    job: (spec) =>
      daemon.locks.start(runId, () =>
        startJob(daemon, { container, paths, owner, line: daemon.lines.get(container.id) }, spec),
      ),
    hasJob: (id) => hasJob(paths, id),
    callsFrom: () => daemon.egress.callsFrom(container),
    async isRunning() {
      const info = await askFor('turn', () => container.inspect())
      if (info?.State.Running !== true) return false
      // One whose network was taken from it is of no use to its agent.
      const holder = joined(info.HostConfig.NetworkMode)
      const held = holder === null ? info : await askFor('turn', () => daemon.docker.getContainer(holder).inspect())
      return held?.State.Running === true
    },
    async image() {
      const info = await askFor('turn', () => container.inspect())
      return info && { name: info.Config.Image, id: info.Image }
    },
  }
}

interface Found {
  container: Docker.Container
  owner: Owner
  /** Where it finds the model gateway, if not where others do. */
  gateway: string | undefined
}

type Net = Awaited<ReturnType<Egress['prepare']>>

/** Ours alone: another host on the same daemon may hold a run of the same name. */
async function findContainer(daemon: Daemon, runId: string, generation: number): Promise<Found | null> {
  const info = await askFor('workspace', () => daemon.docker.getContainer(containerName(runId, generation)).inspect())
  if (info === null || info.Config.Labels[labels.directory] !== daemon.runsDirectory) return null
  // By its id from here on: a name can pass to another container.
  const [, uid, gid] = /^(\d+):(\d+)$/.exec(info.Config.Labels[labels.owner] ?? '') ?? []
  const owner = uid === undefined ? daemon.owner : { uid: Number(uid), gid: Number(gid) }
  const isRestricted = info.Config.Labels[labels.restricted] === 'yes' && info.State.Running
  const gateway = isRestricted ? await daemon.egress.restrictedGateway() : undefined
  return { container: daemon.docker.getContainer(info.Id), owner, gateway }
}

async function end(daemon: Daemon, runId: string): Promise<void> {
  for (const id of await endContainers(daemon, runId)) {
    daemon.writers.delete(id)
    daemon.started.delete(id)
    daemon.lines.get(id)?.close()
    daemon.lines.delete(id)
  }
  await daemon.egress.dismiss(runId)
}

async function list(daemon: Daemon): Promise<{ runId: string; running: boolean }[]> {
  const running = new Map((await listRunDirectories(daemon.runsDirectory)).map((runId) => [runId, false]))
  for (const container of await containersOf(daemon)) {
    const runId = container.Labels[labels.run]
    if (runId === undefined) continue
    // One that has ended as well: it is there to be removed.
    running.set(runId, true)
  }
  return [...running].map(([runId, isRunning]) => ({ runId, running: isRunning }))
}
