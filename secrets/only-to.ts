// Connections to addresses that may be reached, and to no others.
import type { LookupFunction } from 'node:net'

/**
 * A name is looked up once, and the address that was looked at is the one that
 * is connected to. `closed`: what is said where a name has no other addresses
 * than such as may not be reached.
 */
export function onlyTo(
  mayReach: (address: string) => boolean,
  lookup: LookupFunction,
  closed: (hostname: string) => Error,
): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      // With an error comes no list, whatever its type says.
      const open = error !== null || typeof found === 'string' ? [] : found.filter(({ address }) => mayReach(address))
      const [first] = open
      if (first === undefined) callback(error ?? closed(hostname), options.all === true ? [] : '', 0)
      else if (options.all === true) callback(null, open)
      else callback(null, first.address, first.family)
    })
  }
}
