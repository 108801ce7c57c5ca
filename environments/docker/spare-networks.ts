// Networks of sandboxes, made ahead: of a container's start, its network takes the daemon longest. A container that does
// nothing holds each, and the sandbox joins it.
import type Docker from 'dockerode'
import type { Logger } from 'pino'
import { ask, askFor, removeContainer } from './daemon.ts'
import { type FirstLine, openFirstLine } from './first-line.ts'
import type { SandboxNetwork } from './network.ts'

/** They are made when no sandbox was for so long: those that are have the machine to themselves. In milliseconds. */
const QUIET_MS = 1_000
/** Between its making and the container that joins it lies less; another process of this host may be there yet. In milliseconds. */
const STRAY_MS = 10 * 60_000
/** An answer takes 2 ms; a stopped machine's comes when it goes on. In milliseconds. */
const ANSWER_MS = 10_000

/** Whose it is: another host's, by its directory of runs, is not for this one to remove. */
const OF = 'ambient.spare-of'

const KEPT = /kept/
// Its stdin ends with whoever made it: what nobody has taken by then is left to nobody. It takes a line to stay, and
// then stays until it is removed.
const HOLD = 'command -v sleep >/dev/null && read -r _ && echo kept && exec sleep 1000000000'

export interface SpareNetworks {
  /** One in this network, given once; null where none is ready. */
  take(network: SandboxNetwork): SpareNetwork | null
}

export interface SpareNetwork {
  /** Under which a container joins it. */
  mode: string
  /**
   * From then on it stays until it is removed. Only once a container is there that
   * joins it: by that one it is found again. @returns whether it is there to stay.
   */
  keep(): Promise<boolean>
  /** It is not taken after all. */
  drop(): void
}

interface Spare extends SpareNetwork {
  networkId: string
  container: string
}

export function createSpareNetworks(options: {
  docker: Docker
  /** An image with a shell, which is there already or not needed yet. */
  image: string
  runsDirectory: string
  count: number
  log: Logger
}): SpareNetworks {
  const { count, log } = options
  let spares: Spare[] = []
  let timer: NodeJS.Timeout | undefined
  let isFilling = false
  removeStray(options, []).catch((error: unknown) => log.debug({ err: error }, 'left networks were not looked for'))

  function fillLater(network: SandboxNetwork): void {
    clearTimeout(timer)
    timer = setTimeout(() => fill(network), QUIET_MS)
    timer.unref()
  }

  async function fill(network: SandboxNetwork): Promise<void> {
    if (isFilling) return
    isFilling = true
    // Of a network that was removed and made again.
    for (const spare of spares.filter(({ networkId }) => networkId !== network.id)) spare.drop()
    spares = spares.filter(({ networkId }) => networkId === network.id)
    try {
      await removeStray(options, spares)
      while (spares.length < count) spares.push(await make(options, network))
    } catch (error) {
      // The image may not be there; a sandbox's start asks again.
      log.debug({ err: error }, 'no network could be made ahead')
    } finally {
      isFilling = false
    }
  }

  return {
    take(network) {
      if (count === 0) return null
      fillLater(network)
      const index = spares.findIndex(({ networkId }) => networkId === network.id)
      return spares.splice(index, index === -1 ? 0 : 1)[0] ?? null
    },
  }
}

async function make(
  { docker, image, runsDirectory }: { docker: Docker; image: string; runsDirectory: string },
  { id: networkId, name: network }: SandboxNetwork,
): Promise<Spare> {
  const container = await ask('workspace', () =>
    docker.createContainer({
      Image: image,
      Labels: { 'ambient.helper': 'network', [OF]: runsDirectory },
      Entrypoint: ['/bin/sh', '-c', HOLD],
      Cmd: [],
      Healthcheck: { Test: ['NONE'] },
      User: '65534:65534',
      WorkingDir: '/',
      OpenStdin: true,
      StdinOnce: true,
      HostConfig: {
        AutoRemove: true,
        NetworkMode: network,
        CapDrop: ['ALL'],
        SecurityOpt: ['no-new-privileges'],
        ReadonlyRootfs: true,
        Memory: 32 * 1024 * 1024,
        PidsLimit: 4,
        LogConfig: { Type: 'none', Config: {} },
      },
    }),
  )
  const line = await ask('workspace', () => openFirstLine(container))
  await ask('workspace', () => container.start())
  return { networkId, container: container.id, mode: `${JOINED}${container.id}`, ...holder(line) }
}

const holder = (line: FirstLine): Pick<SpareNetwork, 'keep' | 'drop'> => ({
  async keep() {
    const answer = await line.ask('\n', KEPT, ANSWER_MS)
    line.close()
    return answer !== null
  },
  drop: () => line.close(),
})

/**
 * What nothing else would remove: one whose maker has ended before it was
 * started, and one whose sandbox somebody has removed by hand.
 */
async function removeStray(
  { docker, runsDirectory }: { docker: Docker; runsDirectory: string },
  spares: readonly Spare[],
): Promise<void> {
  const filters = { label: [`${OF}=${runsDirectory}`] }
  const there = await ask('workspace', () => docker.listContainers({ all: true, filters }))
  const old = there.filter(({ Created }) => Created * 1000 < Date.now() - STRAY_MS)
  const all = old.length === 0 ? [] : await ask('workspace', () => docker.listContainers({ all: true }))
  const used = [
    ...spares.map(({ container }) => container),
    ...all.map(({ HostConfig }) => joined(HostConfig.NetworkMode)),
  ]
  const stray = there.filter((each) => each.State === 'created' || (old.includes(each) && !used.includes(each.Id)))
  for (const { Id } of stray) await removeContainer(docker, Id)
}

const JOINED = 'container:'

/** The container whose network this one has joined; null where it has one itself. */
export function joined(mode: string | undefined): string | null {
  return mode?.startsWith(JOINED) ? mode.slice(JOINED.length) : null
}

/** Of the container that has the network this one is in: itself, or the one that it has joined. */
export async function inspectNetworkOf(
  docker: Docker,
  container: Docker.Container,
): Promise<Docker.ContainerInspectInfo | null> {
  const info = await askFor('workspace', () => container.inspect())
  const holder = joined(info?.HostConfig.NetworkMode)
  return holder === null ? info : askFor('workspace', () => docker.getContainer(holder).inspect())
}
