// How often an address may be wrong about who it is.
import { isIPv6 } from 'node:net'
import type { Request } from 'express'
import { HttpError } from '../errors.ts'
import { addressOf } from './address.ts'

const MINUTE_MS = 60_000
/** Beyond so many addresses those that were wrong longest ago are forgotten. */
const ADDRESSES = 10_000

/** Asked when a request has turned out to be wrong, and never before: whoever is right gets in, whatever else comes from their address. */
export interface Attempts {
  /** Notes that the request's address was wrong. @throws {HttpError} 429 where it was so too often within a minute. */
  fail(request: Request): void
}

/** `limit`: wrong keys from one address within a minute; 0 for any number. */
export function createAttempts(limit: number, now: () => number = Date.now): Attempts {
  /** For each address the times at which it was wrong, the oldest first. */
  const failures = new Map<string, number[]>()

  const recent = (address: string) => (failures.get(address) ?? []).filter((time) => time > now() - MINUTE_MS)

  return {
    fail(request) {
      if (limit === 0) return
      const address = networkOf(request)
      const times = recent(address)
      const [oldest] = times
      if (oldest === undefined || times.length < limit) return remember(address, [...times, now()])
      const seconds = Math.max(1, Math.ceil((oldest + MINUTE_MS - now()) / 1000))
      throw new HttpError(
        429,
        'resource_unavailable',
        `Too many wrong keys came from this address. Try again in ${seconds} s.`,
        { retryAfter: seconds },
      )
    },
  }

  function remember(address: string, times: number[]): void {
    failures.delete(address)
    failures.set(address, times)
    const [longestAgo] = failures.keys()
    if (failures.size > ADDRESSES && longestAgo !== undefined) failures.delete(longestAgo)
  }
}

/** Whoever has one address of IPv6 has its whole network of 64 bits. */
export function networkOf(request: Request): string {
  const address = addressOf(request)
  if (!isIPv6(address)) return address
  const [start = '', end] = address.split('::')
  const head = start === '' ? [] : start.split(':')
  const tail = end === undefined || end === '' ? [] : end.split(':')
  const zeros = end === undefined ? [] : Array<string>(Math.max(0, 8 - head.length - tail.length)).fill('0')
  const groups = [...head, ...zeros, ...tail].slice(0, 4)
  return groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':')
}
