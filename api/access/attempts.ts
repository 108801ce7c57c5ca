// How often an address may be wrong about who it is.
import { isIPv6 } from 'node:net'
import type { Request } from 'express'
import { HttpError } from '../errors.ts'
import { addressOf } from './address.ts'

const MINUTE_MS = 60_000
/** Beyond so many addresses those that were wrong longest ago are forgotten. */
const ADDRESSES = 10_000

export interface Attempts {
  /** @throws {HttpError} 429 for an address that was wrong too often within a minute. */
  refuseTooMany(request: Request): void
  /** Notes that the request's address was wrong. */
  fail(request: Request): void
}

/** `limit`: wrong keys from one address within a minute; 0 for any number. */
export function createAttempts(limit: number, now: () => number = Date.now): Attempts {
  /** For each address the times at which it was wrong, the oldest first. */
  const failures = new Map<string, number[]>()

  const recent = (address: string) => (failures.get(address) ?? []).filter((time) => time > now() - MINUTE_MS)

  return {
    refuseTooMany(request) {
      if (limit === 0) return
      const [oldest, ...others] = recent(placeOf(request)).slice(-limit)
      if (oldest === undefined || others.length + 1 < limit) return
      const seconds = Math.max(1, Math.ceil((oldest + MINUTE_MS - now()) / 1000))
      throw new HttpError(
        429,
        'resource_unavailable',
        `Too many wrong keys came from this address. Try again in ${seconds} s.`,
        { retryAfter: seconds },
      )
    },
    fail(request) {
      if (limit === 0) return
      const address = placeOf(request)
      const times = [...recent(address), now()].slice(-limit)
      failures.delete(address)
      failures.set(address, times)
      const [longestAgo] = failures.keys()
      if (failures.size > ADDRESSES && longestAgo !== undefined) failures.delete(longestAgo)
    },
  }
}

/** Whoever has one address of IPv6 has its whole network of 64 bits. */
function placeOf(request: Request): string {
  const address = addressOf(request)
  if (!isIPv6(address)) return address
  const [start = '', end] = address.split('::')
  const head = start === '' ? [] : start.split(':')
  const tail = end === undefined || end === '' ? [] : end.split(':')
  const zeros = end === undefined ? [] : Array<string>(Math.max(0, 8 - head.length - tail.length)).fill('0')
  const groups = [...head, ...zeros, ...tail].slice(0, 4)
  return groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':')
}
