// Keeps the packet filter's rules of the networks of sandboxes: sets them, and looks again and again whether they stand,
// for a restart of the Docker daemon or of a firewall may remove them.
import { lookup } from 'node:dns/promises'
import { existsSync } from 'node:fs'
import { isIPv4 } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import { missingRules, type Rules, removedRules } from './firewall.ts'
import type { Iptables } from './iptables.ts'

/** Asking takes 5 ms in this process, and a container that is made for it half a second. In milliseconds. */
const LOOK_MS = { process: 10_000, container: 60_000 }
/** Another host may change the same chain between the look and the change, which then changes nothing. */
const TRIES = 5
/** Longest pause between two of them, drawn: two hosts are not to go on in step. In milliseconds. */
const PAUSE_MS = 200

export interface Guard {
  /** Why the rules may not stand, as of the last look; null when they do. */
  trouble(): string | null
  /** Sets the rules of a network and keeps them from then on. `leadsToGateway`: its sandboxes reach the model gateway by themselves. @throws when they cannot be set. */
  keep(rules: NetworkRules): Promise<void>
  /** Takes the rules of a network away. */
  drop(chain: string): Promise<void>
  /** The gateway that sandboxes reach from now on, as they find it. */
  setGateway(url: string): Promise<void>
}

export interface NetworkRules extends Pick<Rules, 'bridge' | 'chain' | 'rules'> {
  leadsToGateway: boolean
}

export function createGuard(options: {
  /** A way to the packet filter that has the bridge. */
  open: (bridge: string) => Promise<Iptables>
  /** By its directory of runs. */
  host: string
  log: Pick<Logger, 'info' | 'warn' | 'error'>
  lookMs?: typeof LOOK_MS
}): Guard {
  const { open, host, log, lookMs = LOOK_MS } = options
  const kept = new Map<string, NetworkRules>()
  let iptables: Iptables | null = null
  let gateway: URL | null = null
  let toGateway: string[] = []
  let trouble: string | null = null
  let timer: NodeJS.Timeout | undefined
  let last: Promise<unknown> = Promise.resolve()

  /** One after the other: each reads what it changes. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work)
    last = turn.catch(() => {}) // For the next in turn it does not matter.
    return turn
  }

  async function apply({ leadsToGateway, ...network }: NetworkRules): Promise<void> {
    iptables ??= await open(network.bridge)
    const own = leadsToGateway ? await rulesToGateway() : []
    // From a container the directories of other hosts are not to be seen.
    const isGone = iptables.way === 'process' ? (directory: string) => !existsSync(directory) : () => false
    let refusal: unknown = new Error('something else changes them as often as they are set')
    for (let attempt = 0; attempt <= TRIES; attempt++) {
      const missing = missingRules(await iptables.save(), { ...network, own, host }, isGone)
      if (missing === null) return
      if (attempt === TRIES) break
      await iptables.restore(missing).catch(async (error: unknown) => {
        refusal = error
        await sleep(Math.random() * PAUSE_MS)
      })
    }
    throw refusal
  }

  /** Looked up again each time: a name may get another address. One that cannot be looked up keeps those it had. */
  async function rulesToGateway(): Promise<string[]> {
    if (gateway === null) return []
    const port = gateway.port || (gateway.protocol === 'https:' ? '443' : '80')
    try {
      const found = await lookup(gateway.hostname.replace(/^\[|\]$/g, ''), { all: true })
      const addresses = found.map(({ address }) => address).filter(isIPv4)
      toGateway = addresses.sort().map((address) => `-d ${address} -p tcp -m tcp --dport ${port} -j RETURN`)
    } catch (error) {
      log.warn({ gateway: gateway.host, reason: String(error) }, 'the model gateway has no address at this moment')
    }
    return toGateway
  }

  async function look(): Promise<void> {
    try {
      for (const network of kept.values()) await apply(network)
      if (trouble !== null) log.info('the rules that close the network of sandboxes stand again')
      trouble = null
    } catch (error) {
      trouble = error instanceof Error ? error.message : String(error)
      // The way that was found may be the trouble.
      iptables = null
      log.error(
        { reason: trouble },
        'the network of sandboxes may be open: no sandbox is started until its rules stand',
      )
    }
  }

  function lookOn(): void {
    clearTimeout(timer)
    const pause = lookMs[iptables?.way ?? 'container']
    timer = setTimeout(() => void inTurn(look).finally(lookOn), trouble === null ? pause : lookMs.process).unref()
  }

  return {
    trouble: () => trouble,
    async keep(network) {
      // They are looked after already.
      if (trouble === null && isDeepStrictEqual(kept.get(network.chain), network)) return
      await inTurn(() => apply(network))
      // Not before: what has never stood is not taken for what is looked after.
      kept.set(network.chain, network)
      lookOn()
    },
    drop: (chain) =>
      inTurn(async () => {
        kept.delete(chain)
        const removal = iptables === null ? null : removedRules(await iptables.save(), chain)
        if (removal !== null) await iptables?.restore(removal)
      }),
    setGateway: (url) =>
      inTurn(async () => {
        gateway = new URL(url)
        toGateway = []
        for (const network of kept.values()) if (network.leadsToGateway) await apply(network)
      }),
  }
}
