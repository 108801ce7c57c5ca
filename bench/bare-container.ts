// The baseline of a start in a container: what `docker run -i` does, with the mounts, limits and network of Ambient's own.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { PassThrough } from 'node:stream'
import type Docker from 'dockerode'
import { execa } from 'execa'
import { loadConfig } from '../config.ts'
import { containerOptions, inside } from '../environments/docker/container.ts'
import { ensureNetwork, networkName } from '../environments/docker/network.ts'
import { type BareAgent, type BareOptions, type OwnDirectories, ownDirectories } from './bare-agent.ts'

export async function startBareContainer(options: BareOptions, docker: Docker): Promise<BareAgent> {
  const own = await ownDirectories(options, sandboxUser())
  const cwd = options.filled === undefined ? inside.workspace : `${inside.workspace}/${options.filled.folder}`
  const launch = await own.launch({
    ...inside,
    workspace: cwd,
    gatewayUrl: options.modelUrl,
    isolated: true,
    runsAsRoot: false,
  })
  const { HostConfig, ...plan } = planOf(options, own)
  // An image that has the workspace in it needs none beside it.
  const mounts = HostConfig?.Mounts?.filter(({ Target }) => options.filled === undefined || Target !== inside.workspace)
  const began = performance.now()
  const container = await docker.createContainer({
    ...plan,
    Entrypoint: launch.command,
    WorkingDir: cwd,
    Env: [`HOME=${inside.home}`, 'LANG=C.UTF-8', ...Object.entries(launch.env).map((pair) => pair.join('='))],
    // It ends with its client, whatever becomes of that, and leaves nothing.
    StdinOnce: true,
    HostConfig: { ...HostConfig, ...(mounts && { Mounts: mounts }), AutoRemove: true },
  })
  const stdin = await container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true })
  const stdout = new PassThrough()
  docker.modem.demuxStream(stdin, stdout, new PassThrough().resume())
  await container.start()
  return {
    ...{ began, stdin, stdout, cwd },
    async end() {
      const gone = container.wait({ condition: 'removed' })
      await container.kill()
      await gone
      await own.remove()
    },
  }
}

/** As on the docker host: never root. */
function sandboxUser(): { uid: number; gid: number } {
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0]
  return uid === 0 ? { uid: 1000, gid: 1000 } : { uid, gid }
}

function planOf({ toolkit, directory, filled }: BareOptions, { id, paths, owner }: OwnDirectories) {
  const settings = loadConfig({})
  const { AMBIENT_IMAGE, AMBIENT_MEMORY_MB: memoryMb, AMBIENT_CPUS: cpus, AMBIENT_PIDS: pids } = settings
  return containerOptions({
    ...{ runId: id, generation: 1, runsDirectory: directory, paths, owner },
    ...{ image: filled?.image ?? AMBIENT_IMAGE, toolkit, nodePath: process.execPath, limits: { memoryMb, cpus, pids } },
    ...{ runtime: null, network: NETWORK },
  })
}

/** Where the packet filter lets containers reach this machine: their model is on it. */
const NETWORK = networkName({ mode: 'open', allow: [] })

/** As `docker commit` would make it of a container in which all was set up. @returns its name. */
export async function imageWithFiles(docker: Docker, workspace: string): Promise<string> {
  const name = `ambient-bench-${randomUUID()}`
  const container = await docker.createContainer({ Image: loadConfig({}).AMBIENT_IMAGE, Cmd: ['/bin/true'] })
  try {
    const to = inside.workspace.slice(1)
    const tar = execa('tar', ['-cf', '-', '-C', workspace, '--transform', `s,^\\.,${to},`, '.'], {
      buffer: false,
      encoding: 'buffer',
    })
    await container.putArchive(tar.stdout, { path: '/' })
    await tar
    await container.commit({ repo: name })
    return name
  } finally {
    await container.remove({ force: true })
  }
}

/** A way for containers to a server that listens on this machine's 127.0.0.1 only. */
export async function relayForContainers(
  docker: Docker,
  target: URL,
): Promise<{ url: string; close(): Promise<void> }> {
  const { gateway: address } = await ensureNetwork(docker, NETWORK)
  const server = createServer((incoming) => {
    const outgoing = connect(Number(target.port), target.hostname)
    const close = () => [incoming, outgoing].map((socket) => socket.destroy())
    for (const socket of [incoming, outgoing]) socket.setNoDelay(true).once('close', close).on('error', close)
    incoming.pipe(outgoing).pipe(incoming)
  })
  server.listen(0, address)
  await once(server, 'listening')
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  return {
    url: `http://${address}:${port}${target.pathname}`,
    async close() {
      server.close()
      await once(server, 'close')
    },
  }
}
