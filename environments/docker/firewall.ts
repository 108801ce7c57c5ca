// The packet filter's rules for a network of sandboxes, as text for iptables. No I/O.
import { createHash } from 'node:crypto'
import { CLOSED_RANGES } from '../egress/addresses.ts'

export interface Rules {
  /** The network's bridge on this machine. */
  bridge: string
  /** The network's own chain. */
  chain: string
  /** In order; the same for every host that uses the network. */
  rules: readonly string[]
  /** What only this host lets through, before all others: the way to its gateway. Each host has its own. */
  own: readonly string[]
  /** The host, by its directory of runs. */
  host: string
}

/** What leaves a sandbox of a network without restrictions of its own. */
export function publicRules(allow: readonly string[]): string[] {
  const ipv4 = allow.filter((entry) => !entry.includes(':'))
  const [ranges, addresses] = [ipv4.filter(isRange), ipv4.filter((entry) => !isRange(entry))]
  return [
    ANSWERS,
    ...addresses.map((address) => `-d ${address} -j RETURN`),
    // Name servers are in private ranges more often than not, and on some clouds at the metadata service's address.
    '-p udp -m udp --dport 53 -j RETURN',
    '-p tcp -m tcp --dport 53 -j RETURN',
    // This machine by any of its addresses, and what goes to everybody.
    '-m addrtype ! --dst-type UNICAST -j REJECT',
    ...ranges.map((range) => `-d ${range} -j RETURN`),
    ...CLOSED_RANGES.map((range) => `-d ${range} -j REJECT`),
  ]
}

/** What leaves a sandbox that reaches the proxy and nothing else. */
export const restrictedRules = (address: string, ports: readonly number[]): string[] => [
  ANSWERS,
  ...ports.map((port) => `-d ${address} -p tcp -m tcp --dport ${port} -j RETURN`),
  '-j REJECT',
]

const ANSWERS = '-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN'

const isRange = (entry: string) => entry.includes('/') && !entry.endsWith('/32')

/** Marks are what a rule is known again by: every version of iptables prints the rest in its own way. */
const HOOK = 'ambient sandboxes'
const OWN = 'ambient host '
/** The kernel holds no longer comment. */
const MARK_BYTES = 255

/**
 * What `iptables-restore --noflush` is to be told, so that the rules stand
 * before all others; null when they do. `saved` is the answer of
 * `iptables-save -t filter`. Rules of hosts whose directory is gone, by
 * `isGone`, are removed.
 */
export function missingRules(saved: string, wanted: Rules, isGone: (directory: string) => boolean): string | null {
  const { chain, bridge } = wanted
  const lines = saved.split('\n').filter((line) => line.startsWith('-A '))
  const there = lines.filter((line) => line.startsWith(`-A ${chain} `))
  const owner = ownerMark(wanted.host)
  const own = wanted.own.map((rule) => marked(rule, `${owner} ${digest(rule)}`))
  const rules = wanted.rules.map((rule, index) => marked(rule, `ambient rule ${index} ${digest(rule)}`))

  const ofHosts = there.filter((line) => markOf(line).startsWith(OWN))
  const ofNetwork = there.filter((line) => !ofHosts.includes(line))
  const others = ofHosts.filter((line) => {
    const other = markOf(line).replace(/ [0-9a-f]+$/, '')
    const directory = other.slice(OWN.length)
    return other !== owner && !(directory.startsWith('/') && isGone(directory))
  })
  const changes: string[] = []
  if (saved.includes(`\n:${chain} `) && same(ofNetwork.map(markOf), rules.map(markOf))) {
    const stale = ofHosts.filter((line) => !others.includes(line) && !own.some((rule) => markOf(rule) === markOf(line)))
    const fresh = own.filter((rule) => !ofHosts.some((line) => markOf(line) === markOf(rule)))
    changes.push(...stale.map(deleted), ...fresh.map((rule) => `-I ${chain} 1 ${rule}`))
  } else {
    changes.push(`:${chain} - [0:0]`, ...others, ...[...own, ...rules].map((rule) => `-A ${chain} ${rule}`))
  }
  for (const hook of [forwardHook(lines), 'INPUT']) {
    const inHook = lines.filter((line) => line.startsWith(`-A ${hook} `))
    const firstOther = inHook.findIndex((line) => markOf(line) !== HOOK)
    const leading = firstOther === -1 ? inHook : inHook.slice(0, firstOther)
    // Another daemon of the machine may have a network of the same name, with a bridge of its own.
    const ours = inHook.filter((line) => line.includes(` -i ${bridge} `) && line.endsWith(` -j ${chain}`))
    if (leading.some((line) => ours.includes(line))) continue
    changes.push(...ours.map(deleted), `-I ${hook} 1 ${marked(`-i ${bridge} -j ${chain}`, HOOK)}`)
  }
  return changes.length === 0 ? null : `*filter\n${changes.join('\n')}\nCOMMIT\n`
}

/** Removes the chain and what leads to it; null where nothing of it is there. */
export function removedRules(saved: string, chain: string): string | null {
  const jumps = saved.split('\n').filter((line) => line.startsWith('-A ') && line.endsWith(` -j ${chain}`))
  const isThere = saved.includes(`\n:${chain} `)
  if (!isThere && jumps.length === 0) return null
  const changes = [...jumps.map(deleted), ...(isThere ? [`-F ${chain}`, `-X ${chain}`] : [])]
  return `*filter\n${changes.join('\n')}\nCOMMIT\n`
}

/** Docker's chain for others' rules, which it keeps before its own; where it has none, the chain that it would be called from. */
const forwardHook = (lines: readonly string[]) =>
  lines.includes('-A FORWARD -j DOCKER-USER') ? 'DOCKER-USER' : 'FORWARD'

const deleted = (line: string) => line.replace(/^-A /, '-D ')

const digest = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 12)

/** By its directory, so that others can tell when it is gone; by a digest where that would not fit into a comment. */
function ownerMark(directory: string): string {
  const mark = OWN + directory
  return mark.length < MARK_BYTES - 20 && /^[\w./@+-]+$/.test(directory) ? mark : OWN + digest(directory)
}

/** Its comment comes before the target. */
const marked = (rule: string, mark: string) => rule.replace(/(^| )-j /, ` -m comment --comment "${mark}" -j `).trim()

/** iptables leaves out quotes that it does not need. */
function markOf(rule: string): string {
  const [, quoted, plain] = /--comment (?:"([^"]*)"|(\S+))/.exec(rule) ?? []
  return quoted ?? plain ?? ''
}

const same = (one: readonly string[], other: readonly string[]) =>
  one.length === other.length && one.every((each, index) => each === other[index])
