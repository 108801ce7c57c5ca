// How many of the refused sign-ins are written down: whoever gets in nowhere is not to fill a log that nobody can shorten.
import type { Request } from 'express'
import { networkOf } from './attempts.ts'

const HOUR_MS = 60 * 60_000
/** Within an hour, of one address, and of all together. */
const PER_ADDRESS = 20
const TOGETHER = 200

export interface Refusals {
  /** One more. Null where it is only counted; otherwise how many were only counted since the last that was written down. */
  count(request: Request): { unnoted: number } | null
}

export function createRefusals(now: () => number = Date.now): Refusals {
  let hour = { from: now(), noted: 0, byAddress: new Map<string, number>() }
  let unnoted = 0
  return {
    count(request) {
      if (now() - hour.from >= HOUR_MS) hour = { from: now(), noted: 0, byAddress: new Map() }
      const address = networkOf(request)
      const ofAddress = hour.byAddress.get(address) ?? 0
      if (hour.noted >= TOGETHER || ofAddress >= PER_ADDRESS) {
        unnoted += 1
        return null
      }
      hour.noted += 1
      hour.byAddress.set(address, ofAddress + 1)
      const counted = { unnoted }
      unnoted = 0
      return counted
    },
  }
}
