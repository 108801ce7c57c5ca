import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { Host } from '../../environments/host.ts'
import type { StopSignals } from './attended.ts'
import { watchDisk } from './disk.ts'
import { interruptible } from './limits.ts'

const never = new AbortController().signal
const signals = { interrupt: never, detach: never }
const run = { runId: randomUUID(), phase: 'turn', maxBytes: 100 } as const
const log = pino({ level: 'silent' })

const machine = (sizes: (number | Error)[]) => ({
  log,
  host: {
    diskUsage: async () => {
      const size = sizes.length > 1 ? sizes.shift() : sizes[0]
      if (size instanceof Error) throw size
      return size
    },
  } as unknown as Host,
})

const withinDisk = <T>(
  sizes: (number | Error)[],
  work: (signals: StopSignals) => Promise<T>,
  given: StopSignals = signals,
): Promise<T> =>
  interruptible(given, async (bounded, exceed) => {
    const stop = watchDisk(machine(sizes), run, exceed, 1)
    return await work(bounded).finally(stop)
  })

/** Gives way to an interrupt in the way that a turn does. */
const untilInterrupted = ({ interrupt }: { interrupt: AbortSignal }) =>
  new Promise<never>((_, reject) => interrupt.addEventListener('abort', () => reject(interrupt.reason), { once: true }))

test('a run that takes too much of the disk is interrupted, and fails for it', async () => {
  const work = withinDisk([50, 100, 101], untilInterrupted)
  await expect(work).rejects.toMatchObject({ failure: { code: 'disk_limit', phase: 'turn' } })
})

test('work that ends in another way of being interrupted fails for the disk all the same', async () => {
  const work = withinDisk([101], (bounded) =>
    untilInterrupted(bounded).catch(() => {
      throw new Error('the agent is gone')
    }),
  )
  await expect(work).rejects.toMatchObject({ failure: { code: 'disk_limit' } })
})

test('a size that cannot be found out does no harm, and is asked for again', async () => {
  const work = withinDisk([new Error('busy'), 101], untilInterrupted)
  await expect(work).rejects.toMatchObject({ failure: { code: 'disk_limit' } })
})

test('people who want it to stop come first', async () => {
  const people = new AbortController()
  const work = withinDisk([50], untilInterrupted, { interrupt: people.signal, detach: never })
  people.abort(new Error('enough'))
  await expect(work).rejects.toThrow('enough')
})

test('a run that stays within its limit is left alone', async () => {
  expect(await withinDisk([100], async () => 'done')).toBe('done')
})
