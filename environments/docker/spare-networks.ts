// Networks of sandboxes, made ahead: of a container's start, its network takes the daemon longest. A container that does
// nothing holds each, and the sandbox joins it.
import type Docker from 'dockerode'
import type { Logger } from 'pino'
import { ask, removeContainer } from './daemon.ts'
import { openFirstLine } from './first-line.ts'
import { joined, joining, type SandboxNetwork } from './network.ts'

/** They are made when no sandbox was for so long: those that are have the machine to themselves. In milliseconds. */
const QUIET_MS = 1_000
/** A busy daemon's answer may fail for something that is none of this. */
const TRIES = 3
/** Of another process of this host, which may not have ended yet: the age at which one that nobody has joined is left over. In milliseconds. */
const STRAY_MS = 10 * 60_000
/** Whoever is in its network may need that to save its state, when the daemon itself ends. In seconds. */
const STOP_S = 2
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
  isThere(): boolean
}

export function createSpareNetworks(options: {
  docker: Docker
  /** An image with a shell, which is there already or not needed yet. */
  image: string
  runsDirectory: string
  count: number
  /** Whether containers outlive the daemon. Old ones of those daemons remove what is to be removed at its end when they start, though it runs. */
  liveRestore: boolean
  log: Logger
}): SpareNetworks {
  const { count, log } = options
  let spares: Spare[] = []
  /** Those of this process that are not dropped: by their age alone they are never left over. */
  const made = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  let isFilling = false
  removeStrayNetworks(options, made).catch((error: unknown) =>
    log.debug({ err: error }, 'left networks were not looked for'),
  )

  function fillLater(network: SandboxNetwork, tries = TRIES): void {
    clearTimeout(timer)
    timer = setTimeout(() => fill(network, tries), QUIET_MS)
    timer.unref()
  }

  async function fill(network: SandboxNetwork, tries: number): Promise<void> {
    if (isFilling) return
    isFilling = true
    keepGood(network)
    try {
      await removeStrayNetworks(options, made)
      while (spares.length < count) {
        // One may be taken meanwhile: the list is looked at when this is there.
        const spare = await make(options, network, made)
        spares = [...spares, spare]
      }
    } catch (error) {
      // The image may not be there; the next sandbox's start asks again.
      log.debug({ err: error }, 'no network could be made ahead')
      if (tries > 1) fillLater(network, tries - 1)
    } finally {
      isFilling = false
    }
  }

  /** Drops those that have ended, and those of a network that was removed and made again. */
  function keepGood(network: SandboxNetwork): void {
    const isGood = (spare: Spare) => spare.networkId === network.id && spare.isThere()
    for (const spare of spares) if (!isGood(spare)) spare.drop()
    spares = spares.filter(isGood)
  }

  return {
    take(network) {
      if (count === 0) return null
      fillLater(network)
      keepGood(network)
      return spares.shift() ?? null
    },
  }
}

async function make(
  plan: { docker: Docker; image: string; runsDirectory: string; liveRestore: boolean },
  { id: networkId, name: network }: SandboxNetwork,
  made: Set<string>,
): Promise<Spare> {
  const { docker, image, runsDirectory, liveRestore } = plan
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
      StopTimeout: STOP_S,
      HostConfig: {
        AutoRemove: !liveRestore,
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
  const { id } = container
  made.add(id)
  const line = await ask('workspace', () => openFirstLine(container))
  const drop = () => {
    line.close()
    made.delete(id)
  }
  try {
    await ask('workspace', () => container.start())
  } catch (error) {
    drop()
    throw error
  }
  return {
    networkId,
    mode: joining(id),
    isThere: line.isOpen,
    async keep() {
      const isKept = (await line.ask('\n', KEPT, ANSWER_MS)) !== null
      if (isKept) line.close()
      else drop()
      return isKept
    },
    drop,
  }
}

/**
 * Removes what nothing else does: one that has ended without being removed, one
 * whose maker has ended before it was started, and one whose sandbox somebody
 * has removed by hand. `made`: those of this process.
 */
export async function removeStrayNetworks(
  { docker, runsDirectory }: { docker: Docker; runsDirectory: string },
  made: ReadonlySet<string>,
): Promise<void> {
  const filters = { label: [`${OF}=${runsDirectory}`] }
  const there = (await ask('workspace', () => docker.listContainers({ all: true, filters }))).filter(
    ({ Id }) => !made.has(Id),
  )
  const isOld = ({ Created }: Docker.ContainerInfo) => Created * 1000 < Date.now() - STRAY_MS
  const all = there.some(isOld) ? await ask('workspace', () => docker.listContainers({ all: true })) : []
  const used = new Set(all.map(({ HostConfig }) => joined(HostConfig.NetworkMode)))
  const stray = there.filter((each) => each.State !== 'running' || (isOld(each) && !used.has(each.Id)))
  for (const { Id } of stray) await removeContainer(docker, Id)
}
