import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { Host } from '../../environments/host.ts'
import { withinDisk } from './disk.ts'

const never = new AbortController().signal
const signals = { interrupt: never, detach: never }
const run = { runId: randomUUID(), phase: 'turn' } as const
const log = pino({ level: 'silent' })

const machine = (sizes: (number | Error)[]) => ({
  diskBytes: 100,
  log,
  host: {
    diskUsage: async () => {
      const size = sizes.length > 1 ? sizes.shift() : sizes[0]
      if (size instanceof Error) throw size
      return size
    },
  } as unknown as Host,
})

/** Gives way to an interrupt in the way that a turn does. */
const untilInterrupted = ({ interrupt }: { interrupt: AbortSignal }) =>
  new Promise<never>((_, reject) => interrupt.addEventListener('abort', () => reject(interrupt.reason), { once: true }))

test('a run that takes too much of the disk is interrupted, and fails for it', async () => {
  const work = withinDisk(machine([50, 100, 101]), run, signals, untilInterrupted, 1)
  await expect(work).rejects.toMatchObject({ failure: { code: 'disk_limit', phase: 'turn' } })
})

test('work that ends in another way of being interrupted fails for the disk all the same', async () => {
  const work = withinDisk(
    machine([101]),
    run,
    signals,
    (bounded) =>
      untilInterrupted(bounded).catch(() => {
        throw new Error('the agent is gone')
      }),
    1,
  )
  await expect(work).rejects.toMatchObject({ failure: { code: 'disk_limit' } })
})

test('a size that cannot be found out does no harm, and is asked for again', async () => {
  const work = withinDisk(machine([new Error('busy'), 101]), run, signals, untilInterrupted, 1)
  await expect(work).rejects.toMatchObject({ failure: { code: 'disk_limit' } })
})

test('people who want it to stop come first', async () => {
  const people = new AbortController()
  const work = withinDisk(machine([50]), run, { interrupt: people.signal, detach: never }, untilInterrupted, 1)
  people.abort(new Error('enough'))
  await expect(work).rejects.toThrow('enough')
})

test('a run that stays within its limit is left alone', async () => {
  expect(await withinDisk(machine([100]), run, signals, async () => 'done', 1)).toBe('done')
})
