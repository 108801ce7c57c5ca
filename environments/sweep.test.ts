import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createDirectHost } from './direct.ts'
import { sweep } from './sweep.ts'

test('removes what is named and held, and leaves the rest', async () => {
  const runsDirectory = await mkdtemp(join(tmpdir(), 'ambient-sweep-'))
  const host = await createDirectHost({ runsDirectory, nodePath: process.execPath, log: pino({ level: 'silent' }) })
  const [unwanted, wanted] = [randomUUID(), randomUUID()]
  try {
    for (const runId of [unwanted, wanted]) await host.open({ runId, generation: 1, image: null, toolkit: null })
    expect(await sweep(host, [unwanted, randomUUID()])).toEqual({ removed: [unwanted], failed: [] })
    expect(await host.list()).toEqual([{ runId: wanted, running: true }])
  } finally {
    await host.remove(wanted)
    await rm(runsDirectory, { recursive: true, force: true })
  }
})

test('one run that cannot be removed does not keep the others', async () => {
  const error = new Error('busy')
  const removed: string[] = []
  const host = {
    list: async () => ['a', 'b'].map((runId) => ({ runId, running: false })),
    remove: async (runId: string) => {
      if (runId === 'a') throw error
      removed.push(runId)
    },
  }
  expect(await sweep(host, ['a', 'b'])).toEqual({ removed: ['b'], failed: [{ runId: 'a', error }] })
  expect(removed).toEqual(['b'])
})
