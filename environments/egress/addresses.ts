// Addresses that sandboxes do not reach: private networks, metadata services, the machine itself.
import { BlockList, isIP, isIPv4 } from 'node:net'
import { networkInterfaces } from 'node:os'

/** Everything in IPv4 that is not a host of the internet. */
export const CLOSED_RANGES = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  // Link-local: the metadata service of most clouds is 169.254.169.254.
  '169.254.0.0/16',
  // Azure's metadata and agent service, with an address of the public kind.
  '168.63.129.16/32',
  '172.16.0.0/12',
  // With Oracle's metadata service, 192.0.0.192.
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '224.0.0.0/4',
  '240.0.0.0/4',
] as const

/** Hosts of the internet in IPv6, but for the ranges that stand for IPv4 addresses. What is private is outside of it: fc00::/7, fe80::/10, ::1. */
const OPEN_IPV6 = '2000::/3'
const CLOSED_IPV6 = ['2001::/32', '2002::/16'] as const

/** From addresses and ranges such as 10.1.2.0/24. */
export function rangesOf(entries: readonly string[]): BlockList {
  const ranges = new BlockList()
  for (const entry of entries) {
    const [address = '', bits] = entry.split('/')
    const family = isIPv4(address) ? 'ipv4' : 'ipv6'
    if (bits === undefined) ranges.addAddress(address, family)
    else ranges.addSubnet(address, Number(bits), family)
  }
  return ranges
}

const closed = rangesOf([...CLOSED_RANGES, ...CLOSED_IPV6])
const openIpv6 = rangesOf([OPEN_IPV6])

/** Whether an address is out of bounds. `allowed` opens private ranges, and an address of this machine where it names just that. */
export function isClosed(address: string, allowed: readonly string[]): boolean {
  const family = isIP(address) === 4 ? 'ipv4' : 'ipv6'
  if (isIP(address) === 0) return true
  if (allowed.some((entry) => entry === address || entry === `${address}/32` || entry === `${address}/128`))
    return false
  if (isOfThisMachine(address)) return true
  if (rangesOf(allowed).check(address, family)) return false
  return closed.check(address, family) || (family === 'ipv6' && !openIpv6.check(address, family))
}

const isOfThisMachine = (address: string): boolean =>
  isIPv4(address) && address.startsWith('127.')
    ? true
    : Object.values(networkInterfaces()).some((all) => all?.some((own) => own.address === address))
