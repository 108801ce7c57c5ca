// The way to hosts of the internet, and to no others: whoever may name a URL is not to reach this network by it.
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { Agent, buildConnector } from 'undici'
import { isClosed } from '../environments/egress/addresses.ts'

/** Longest time for a connection, in milliseconds. */
const CONNECT_MS = 5_000

/** The host is, or has, an address that is not to be reached. */
export class ClosedAddressError extends Error {
  override readonly name = 'ClosedAddressError'
  constructor(host: string, address: string, setting: string) {
    const which = host === address ? host : `${host} (${address})`
    super(`${which} is not an address of the internet. The operator can open it by ${setting}.`)
  }
}

export type Resolve = (host: string) => Promise<string[]>

const byName: Resolve = async (host) => (await lookup(host, { all: true })).map(({ address }) => address)

/**
 * Connects to addresses of the internet and to those that are `allowed`. A name
 * is looked up once, and the address that was looked at is the one that is
 * connected to, so that a name which means something else a moment later gains nothing.
 * `setting`: the one that has what is allowed, for those who are told that it is not.
 */
export function outsideAgent(
  allowed: readonly string[],
  resolve: Resolve = byName,
  setting = 'AMBIENT_WEBHOOK_ALLOW',
): Agent {
  const connect = buildConnector({ timeout: CONNECT_MS })
  return new Agent({
    pipelining: 1,
    connect(options, callback) {
      const host = options.hostname.replace(/^\[|\]$/g, '')
      openAddress(host, allowed, resolve, setting).then(
        (address) => {
          const name = isIP(host) === 0 ? { servername: options.servername ?? host } : {}
          connect({ ...options, ...name, hostname: address }, callback)
        },
        (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), null),
      )
    },
  })
}

/** @throws {ClosedAddressError} when there is no other address than such as are closed. */
async function openAddress(
  host: string,
  allowed: readonly string[],
  resolve: Resolve,
  setting: string,
): Promise<string> {
  const addresses = isIP(host) === 0 ? await resolve(host) : [host]
  const open = addresses.find((address) => !isClosed(address, allowed))
  if (open === undefined) throw new ClosedAddressError(host, addresses[0] ?? host, setting)
  return open
}
