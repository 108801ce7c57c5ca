// Docker as a host: one container per run and generation, hardened, over directories of this machine.
import Docker from 'dockerode'
import type { Logger } from 'pino'
import type { Host, Sandbox, SandboxSpec } from '../host.ts'
import { listRunDirectories, type Owner, removeRunDirectory, runPaths } from '../run-directory.ts'
import { createRunLocks, type RunLocks } from '../run-locks.ts'
import { serialWriter } from '../serial-writer.ts'
import { startAgent, startedBy, wasStarted } from './agent.ts'
import type { BuildSettings } from './build-image.ts'
import { inside, type Limits, labels } from './container.ts'
import { ask, askFor } from './daemon.ts'
import { diskUsage } from './disk-usage.ts'
import { createEgress, type Egress } from './egress.ts'
import { containersOf, endContainers } from './end.ts'
import { type Found, findContainer } from './find.ts'
import type { FirstLine } from './first-line.ts'
import { ensureImage, type PasswdCache } from './image.ts'
import { type FetchedImages, fetchedImages } from './image-upkeep.ts'
import { createImages } from './images.ts'
import { hasJob, startJob } from './jobs.ts'
import { containerJournal, writeToContainer } from './journal.ts'
import { create, lostNetwork, start } from './make.ts'
import { type EgressPolicy, networkHolder, PUBLIC } from './network.ts'
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
    if (info.State.Status === 'created') await start(daemon, found, info.Image, info.Config.Image)
    // Before anything runs in it. Repeated for one that is there: its maker may have died before that.
    if (allow !== null) await daemon.egress.admit(found.container, spec.runId, spec.generation, allow)
    return sandbox(daemon, spec.runId, spec.generation, found)
  })
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
      return (await networkHolder(daemon.docker, info, 'turn'))?.State.Running === true
    },
    async image() {
      const info = await askFor('turn', () => container.inspect())
      return info && { name: info.Config.Image, id: info.Image }
    },
  }
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
