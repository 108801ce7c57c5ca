import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { Host } from '../../environments/host.ts'
import type { StopSignals } from './attended.ts'
import { watchDisk } from './disk.ts'
import { watchIdleDisks } from './idle-disks.ts'
import { interruptible } from './limits.ts'

const never = new AbortController().signal
const signals = { interrupt: never, detach: never }
const run = { runId: randomUUID(), phase: 'turn', maxBytes: 100 } as const
const log = pino({ level: 'silent' })

const machine = (sizes: (number | Error)[]) => ({
  log,
  // As before the first run of a host.
  runsDirectory: join(tmpdir(), 'not-there-yet'),
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

test('a run that was over its limit may work on to take less, and is ended when it takes more', async () => {
  const watch = (sizes: number[], exceed = () => {}) => watchDisk(machine(sizes), { ...run, wasOver: true }, exceed, 1)
  const seen = [150, 158, 120, 90, 99]
  const stop = watch(seen, () => expect.unreachable('it takes less and less'))
  await expect.poll(() => seen).toEqual([99])
  expect(stop()).toBe(false)
  for (const sizes of [[150, 161], [150, 90, 101], [401]]) {
    const { promise, resolve } = Promise.withResolvers<void>()
    const end = watch(sizes, resolve)
    await promise
    expect(end()).toBe(true)
  }
})

test('a run that stays within its limit is left alone', async () => {
  expect(await withinDisk([100], async () => 'done')).toBe('done')
})

test('a disk that fills in an instant is noticed before the next look is due', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ambient-disk-'))
  try {
    const deps = machine([50_000_000, 300_000_000])
    let told: string | null = null
    const stop = watchDisk(
      { ...deps, runsDirectory: directory },
      { ...run, maxBytes: 100_000_000 },
      ({ code }) => {
        told = code
      },
      600_000,
    )
    // Others use this disk as well, and may free what this one takes.
    for (let file = 1; told === null; file = (file % 8) + 1) {
      await rm(join(directory, String(file)), { force: true })
      await execa('fallocate', ['-l', '250M', join(directory, String(file))])
      await new Promise((resolve) => setTimeout(resolve, 600))
    }
    stop()
    expect(told).toBe('disk_limit')
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})

test('a sandbox that nobody works in is ended when it takes too much, and one at work is left to its own watch', async () => {
  const sizes: Record<string, number> = { small: 50, large: 150, busy: 150 }
  const stopped: string[] = []
  const host = {
    list: async () => Object.keys(sizes).map((runId) => ({ runId, running: !stopped.includes(runId) })),
    diskUsage: async (runId: string) => sizes[runId],
    stop: async (runId: string) => void stopped.push(runId),
  } as unknown as Host
  const deps = { host, log, runsDirectory: tmpdir(), diskBytes: 100 }
  const atWork = watchDisk(deps, { ...run, runId: 'busy' }, () => {}, 600_000)
  const idle = watchIdleDisks(deps, 1)
  await expect.poll(() => stopped).toEqual(['large'])
  sizes.small = 101
  await expect.poll(() => stopped).toEqual(['large', 'small'])
  atWork()
  await expect.poll(() => stopped).toEqual(['large', 'small', 'busy'])
  idle()
})
