// The network of sandboxes whose environment names the hosts they may reach: no way out but a proxy, which runs in a
// container of its own, outlives this process, and is there for as long as there are such sandboxes.
import { createHash, randomBytes } from 'node:crypto'
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type Docker from 'dockerode'
import { type BlockedHost, readBlockedHosts } from '../egress/blocked.ts'
import { blockedFile, type Ports, type SandboxNote, type Settings, sandboxFile } from '../egress/files.ts'
import { exists, giveTo, type Owner } from '../run-directory.ts'
import { containerName, inside, labels } from './container.ts'
import { ask, askFor, removeContainer, statusOf } from './daemon.ts'
import { restrictedRules } from './firewall.ts'
import type { Guard } from './guard.ts'
import { ensureImage } from './image.ts'
import { ensureNetwork, shortHash } from './network.ts'

/** A program of node's own modules listens within 300 ms; a busy machine takes longer. In milliseconds. */
const READY_MS = 30_000
const POLL_MS = 20

/** Of memory: for 512 connections of each sandbox. */
const PROXY_BYTES = 512 * 1024 * 1024

/** What a restricted sandbox is given. */
export interface Way {
  network: string
  env: string[]
  /** Where it finds the model gateway. */
  gateway: string
  /** Inside of its own network namespace, where nobody answers: no name leaves the machine by the daemon's resolver. */
  dns: string[]
  /** A file to take the place of its resolv.conf: the daemon's resolver would let each name wait for many seconds. */
  resolver: string
}

export interface RestrictedNetwork {
  /** Sees that network, rules and proxy are there, and stay: for the sandbox that is being made of this run, where there is one. */
  open(runId: string | null): Promise<Way>
  /** Lets a sandbox that has started reach these hosts. */
  admit(container: Docker.Container, note: Omit<SandboxNote, 'pass'>): Promise<void>
  /** By which the relay tells the model gateway that such a sandbox asks; null: it was never let through. */
  passOf(container: Docker.Container): Promise<string | null>
  /** The run's sandboxes have ended. After the last one of all, nothing of the network stays. */
  dismiss(runId: string): Promise<void>
  /** Forgets what was refused to the run. */
  forget(runId: string): Promise<void>
  blocked(runId: string, generation: number): Promise<BlockedHost[]>
  /** After a start of the host: looks after what former sandboxes have, or removes what they have left. */
  setGateway(url: string): Promise<void>
}

export function createRestrictedNetwork(options: {
  docker: Docker
  guard: Guard
  runsDirectory: string
  nodePath: string
  image: string
  owner: Owner
  /** AMBIENT_EGRESS_ALLOW. */
  ranges: readonly string[]
}): RestrictedNetwork {
  const { docker, guard, runsDirectory, nodePath, image, owner, ranges } = options
  const directory = join(runsDirectory, '.egress')
  const name = `ambient-egress-${shortHash(runsDirectory)}`
  const chain = `AMBIENT-${shortHash(runsDirectory)}`
  const notes = join(directory, 'sandboxes')
  let gateway: string | null = null
  /** Runs whose sandboxes are being made. */
  const expected = new Set<string>()
  /** There while anything of the network is: the end of every other run asks no more than that. */
  const mark = join(directory, 'in-use')
  let last: Promise<unknown> = Promise.resolve()

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work)
    last = turn.catch(() => {}) // For the next in turn it does not matter.
    return turn
  }

  async function up(): Promise<Way> {
    await forgetGone()
    const network = await ensureNetwork(docker, name, { internal: true })
    for (const path of [directory, notes, join(directory, 'blocked')]) {
      await mkdir(path, { recursive: true, mode: 0o700 })
      giveTo(path, owner)
    }
    await writeFile(mark, '')
    const resolver = join(directory, 'resolv.conf')
    await writeFile(resolver, 'nameserver 127.0.0.1\n', { mode: 0o644 })
    const program = await copyProgram(directory)
    const version = shortHash(JSON.stringify([program, network.gateway, gateway, ranges]))
    const settings: Settings = { address: network.gateway, gateway, ranges, version }
    const ports = await startProxy({ docker, name, directory, program, settings, image, nodePath, owner })
    const rules = restrictedRules(network.gateway, [ports.proxy, ports.gateway])
    await guard.keep({ bridge: network.bridge, chain, rules, leadsToGateway: false })
    const proxy = `http://${network.gateway}:${ports.proxy}`
    const direct = `localhost,127.0.0.1,::1,${network.gateway}`
    return {
      network: name,
      dns: ['127.0.0.1'],
      resolver,
      gateway: `http://${network.gateway}:${ports.gateway}`,
      env: [
        ...['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy'].map((variable) => `${variable}=${proxy}`),
        ...['NO_PROXY', 'no_proxy'].map((variable) => `${variable}=${direct}`),
        // Node.js looks at the others only where it is told to.
        'NODE_USE_ENV_PROXY=1',
      ],
    }
  }

  async function down(): Promise<void> {
    await removeContainer(docker, name)
    await rm(join(directory, 'ports.json'), { force: true })
    try {
      await askFor('dispose', () => docker.getNetwork(name).remove())
    } catch (error) {
      // A container is still in it: it is tried again with the next one that ends, or at the next start.
      if (statusOf(error) === 403) return
      throw error
    }
    await guard.drop(chain).catch(() => {}) // For a bridge that is gone, rules that stay do nothing.
    await rm(mark, { force: true })
  }

  async function admitted(): Promise<string[]> {
    const files = await readdir(notes).catch((): string[] => []) // No sandbox was ever restricted.
    return files.filter((file) => file.endsWith('.json'))
  }

  async function noteIn(file: string): Promise<SandboxNote> {
    return JSON.parse(await readFile(join(notes, file), 'utf8')) as SandboxNote
  }

  async function noteAt(path: string): Promise<SandboxNote | null> {
    const text = await readFile(path, 'utf8').catch(() => null) // Nobody has the address.
    return text === null ? null : (JSON.parse(text) as SandboxNote)
  }

  /** Takes back what was let through for sandboxes that are gone: another may get their address. */
  async function forgetGone(): Promise<void> {
    const files = await admitted()
    if (files.length === 0) return
    const label = [`${labels.directory}=${runsDirectory}`, `${labels.restricted}=yes`]
    const running = await ask('workspace', () => docker.listContainers({ filters: { label } }))
    const names = running.flatMap(({ Names }) => Names.map((each) => each.slice(1)))
    for (const file of files) {
      const { run_id: runId, generation } = await noteIn(file)
      if (!names.includes(containerName(runId, generation))) await rm(join(notes, file), { force: true })
    }
  }

  return {
    open: (runId) => {
      if (runId !== null) expected.add(runId)
      return inTurn(up)
    },
    // In turn: whoever takes back what others were let through by is not to meet it half noted.
    admit: (container, note) =>
      inTurn(async () => {
        const info = await ask('workspace', () => container.inspect())
        const address = info.NetworkSettings.Networks[name]?.IPAddress
        // Without one it has ended already: there is nobody to let through.
        if (address) {
          const file = sandboxFile(directory, address)
          const before = await noteAt(file)
          const isSame = before?.run_id === note.run_id && before.generation === note.generation
          const pass = (isSame ? before.pass : undefined) ?? randomBytes(24).toString('base64url')
          await writeFile(`${file}.new`, JSON.stringify({ ...note, pass } satisfies SandboxNote), { mode: 0o600 })
          giveTo(`${file}.new`, owner)
          await rename(`${file}.new`, file)
        }
        expected.delete(note.run_id)
      }),
    async passOf(container) {
      const info = await askFor('workspace', () => container.inspect())
      const address = info?.NetworkSettings.Networks[name]?.IPAddress
      return address ? ((await noteAt(sandboxFile(directory, address)))?.pass ?? null) : null
    },
    async dismiss(runId) {
      expected.delete(runId)
      if (!exists(mark)) return
      await inTurn(async () => {
        for (const file of await admitted()) {
          if ((await noteIn(file)).run_id === runId) await rm(join(notes, file), { force: true })
        }
        if ((await admitted()).length === 0 && expected.size === 0) await down()
      })
    },
    async forget(runId) {
      const files = await readdir(join(directory, 'blocked')).catch((): string[] => [])
      const ofRun = files.filter((file) => file.startsWith(`${runId}-`))
      await Promise.all(ofRun.map((file) => rm(join(directory, 'blocked', file), { force: true })))
    },
    async blocked(runId, generation) {
      return (await readBlockedHosts(blockedFile(directory, { run_id: runId, generation }))) ?? []
    },
    setGateway: (url) =>
      inTurn(async () => {
        gateway = url
        await forgetGone()
        if ((await admitted()).length > 0) await up()
        else if (exists(mark)) await down()
      }),
  }
}

/**
 * For a host that has worked with containers and does so no longer: its proxy
 * would stay for good, started again with the daemon. @returns whether there was
 * anything to remove.
 */
export async function removeRestrictedNetwork(docker: Docker, runsDirectory: string): Promise<boolean> {
  const mark = join(runsDirectory, '.egress', 'in-use')
  if (!exists(mark)) return false
  const name = `ambient-egress-${shortHash(runsDirectory)}`
  await removeContainer(docker, name)
  await rm(join(runsDirectory, '.egress', 'ports.json'), { force: true })
  try {
    await askFor('dispose', () => docker.getNetwork(name).remove())
  } catch (error) {
    // A sandbox is still in it, which reaches nothing without the proxy: the next start tries again.
    if (statusOf(error) === 403) return true
    throw error
  }
  await rm(mark, { force: true })
  return true
}

/** The proxy's program where its container finds it. @returns its path. */
async function copyProgram(directory: string): Promise<string> {
  const source = join(import.meta.dirname, '..', 'egress')
  const files = (await readdir(source)).filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts')).sort()
  const hash = createHash('sha256')
  for (const file of files) hash.update(await readFile(join(source, file)))
  const target = join(directory, `program-${hash.digest('hex').slice(0, 12)}`)
  const draft = await readdir(target).then(
    () => null,
    () => `${target}.${process.pid}`, // It is not there yet.
  )
  if (draft !== null) {
    for (const file of files) await cp(join(source, file), join(draft, file))
    await writeFile(join(draft, 'package.json'), '{"type":"module"}')
    await rename(draft, target).catch(() => rm(draft, { recursive: true })) // Another process was faster.
  }
  return join(target, 'main.ts')
}

async function startProxy(plan: {
  docker: Docker
  name: string
  directory: string
  program: string
  settings: Settings
  image: string
  nodePath: string
  owner: Owner
}): Promise<Ports> {
  const { docker, name, directory, program, settings, image, nodePath, owner } = plan
  const there = await askFor('workspace', () => docker.getContainer(name).inspect())
  if (there?.State.Running !== true || there.Config.Labels['ambient.egress'] !== settings.version) {
    if (there !== null) await removeContainer(docker, name)
    await ensureImage(docker, image)
    const file = join(directory, 'settings.json')
    await writeFile(file, JSON.stringify(settings))
    giveTo(file, owner)
    const container = await ask('workspace', () =>
      docker.createContainer({
        name,
        Image: image,
        Labels: { 'ambient.egress': settings.version, 'ambient.helper': 'egress' },
        Entrypoint: [inside.node, program, directory],
        Cmd: [],
        Healthcheck: { Test: ['NONE'] },
        User: `${owner.uid}:${owner.gid}`,
        WorkingDir: '/',
        HostConfig: {
          // Where the outside is; what it opens from there is for it to decide, and for nobody's sandbox.
          NetworkMode: 'host',
          Init: true,
          CapDrop: ['ALL'],
          SecurityOpt: ['no-new-privileges'],
          ReadonlyRootfs: true,
          Memory: PROXY_BYTES,
          MemorySwap: PROXY_BYTES,
          PidsLimit: 64,
          RestartPolicy: { Name: 'unless-stopped' },
          LogConfig: { Type: 'json-file', Config: { 'max-size': '1m', 'max-file': '2' } },
          Mounts: [
            { Type: 'bind', Source: nodePath, Target: inside.node, ReadOnly: true },
            { Type: 'bind', Source: directory, Target: directory },
          ],
        },
      }),
    )
    await ask('workspace', () => container.start())
  }
  const deadline = performance.now() + READY_MS
  while (performance.now() < deadline) {
    const ports = await readPorts(directory)
    if (ports?.ready === settings.version) return ports
    await delay(POLL_MS)
  }
  const log = await ask('workspace', () =>
    docker.getContainer(name).logs({ follow: false, stdout: true, stderr: true, tail: 20 }),
  )
  throw new Error(`the egress proxy (container ${name}) does not start: ${log.toString('latin1').slice(-1_000)}`)
}

async function readPorts(directory: string): Promise<Ports | null> {
  try {
    return JSON.parse(await readFile(join(directory, 'ports.json'), 'utf8')) as Ports
  } catch {
    return null // Not listening yet.
  }
}
