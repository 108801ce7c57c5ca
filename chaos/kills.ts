// Who is killed, and when, by the seed.
import { setTimeout as delay } from 'node:timers/promises'
import type { Random } from './random.ts'

/** `all`: every part at once, which the supervisor starts again. `machine`: the supervisor with them, which is started again. */
export const targets = ['server', 'gateway', 'worker', 'host', 'postgres', 'temporal', 'all', 'machine'] as const
export type Target = (typeof targets)[number]

/** How often each is the one, in parts of the sum. */
const weights: readonly (readonly [Target, number])[] = [
  ['server', 4],
  ['gateway', 2],
  ['worker', 4],
  ['host', 6],
  ['postgres', 2],
  ['temporal', 2],
  ['all', 2],
  ['machine', 1],
]

export interface Kill {
  target: Target
  /** When, in milliseconds since 1970: the signals went out between the two. */
  from: number
  to: number
}

/** What is killed, and the pause before it in milliseconds, for ever. */
export function* killSchedule(random: Random, everyMs: number): Generator<{ afterMs: number; target: Target }> {
  for (;;) yield { afterMs: Math.round(everyMs * (0.2 + 1.6 * random.next())), target: random.weighted(weights) }
}

/** Kills by the schedule until the signal, and notes it. `kill` answers whether there was anything to be killed. */
export async function killOn(
  schedule: Iterable<{ afterMs: number; target: Target }>,
  kill: (target: Target) => Promise<boolean>,
  kills: Kill[],
  signal: AbortSignal,
): Promise<void> {
  for (const { afterMs, target } of schedule) {
    await delay(afterMs, undefined, { signal }).catch(() => {}) // Told by the signal itself.
    if (signal.aborted) break
    const from = Date.now()
    if (await kill(target)) kills.push({ target, from, to: Date.now() })
  }
}
