import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createDirectHost } from './direct/host.ts'
import { sweep } from './sweep.ts'

test('removes and stops what is named and held, and leaves the rest', async () => {
  const runsDirectory = await mkdtemp(join(tmpdir(), 'ambient-sweep-'))
  const host = await createDirectHost({ runsDirectory, nodePath: process.execPath, log: pino({ level: 'silent' }) })
  const [unwanted, over, wanted] = [randomUUID(), randomUUID(), randomUUID()]
  try {
    for (const runId of [unwanted, over, wanted]) {
      const sandbox = await host.open({ runId, generation: 1, image: null, toolkit: null })
      await sandbox.startAgent({ command: ['sleep', '987654'], env: {}, cwd: '/' })
    }
    const orders = { remove: [unwanted, randomUUID()], stop: [over, unwanted, randomUUID()] }
    expect(await sweep(host, orders)).toEqual({ removed: [unwanted], stopped: [over], failed: [] })
    const left = await host.list()
    expect(left).toHaveLength(2)
    expect(left).toEqual(
      expect.arrayContaining([
        { runId: wanted, running: true },
        { runId: over, running: false },
      ]),
    )
    // What has been stopped is not stopped again.
    expect(await sweep(host, orders)).toEqual({ removed: [], stopped: [], failed: [] })
  } finally {
    for (const runId of [over, wanted]) await host.remove(runId)
    await rm(runsDirectory, { recursive: true, force: true })
  }
})

test('one run that cannot be removed does not keep the others', async () => {
  const error = new Error('busy')
  const removed: string[] = []
  const host = {
    list: async () => ['a', 'b'].map((runId) => ({ runId, running: false })),
    stop: async () => {},
    remove: async (runId: string) => {
      if (runId === 'a') throw error
      removed.push(runId)
    },
  }
  const orders = { remove: ['a', 'b'], stop: [] }
  expect(await sweep(host, orders)).toEqual({ removed: ['b'], stopped: [], failed: [{ runId: 'a', error }] })
  expect(removed).toEqual(['b'])
})
