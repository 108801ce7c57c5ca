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

/** What is killed, and the pause before it in milliseconds. */
export interface PlannedKill {
  target: Target
  afterMs: number
  /** The pause is counted from when the last kill's parts are up again; else from the kill, so that it may meet them rising. */
  whenUp: boolean
}

/** On a slow machine parts that were killed while they rise each time would never get to do anything. */
const SHARE_WHEN_UP = 0.7

/** For ever. */
export function* killSchedule(random: Random, everyMs: number): Generator<PlannedKill> {
  for (;;) {
    const afterMs = Math.round(everyMs * (0.2 + 1.6 * random.next()))
    yield { afterMs, target: random.weighted(weights), whenUp: random.next() < SHARE_WHEN_UP }
  }
}

/** What is there to be killed. */
export interface Victims {
  /** False where nothing was running. */
  kill(target: Target): Promise<boolean>
  /** Until everything that was killed is up again. */
  healthy(): Promise<void>
}

/** Kills by the schedule until the signal, and notes it. */
export async function killOn(
  schedule: Iterable<PlannedKill>,
  victims: Victims,
  kills: Kill[],
  signal: AbortSignal,
): Promise<void> {
  for (const { afterMs, target, whenUp } of schedule) {
    if (whenUp) await victims.healthy()
    await delay(afterMs, undefined, { signal }).catch(() => {}) // Told by the signal itself.
    if (signal.aborted) break
    const from = Date.now()
    if (await victims.kill(target)) kills.push({ target, from, to: Date.now() })
  }
}
