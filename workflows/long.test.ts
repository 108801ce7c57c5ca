import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { inWorld, terminal, useTemporal } from '../test/support/world.ts'
import type { TurnOutcome } from './contract.ts'

// Temporal suggests to continue as new after so few events that every few turns are long.
const temporal = useTemporal(['--dynamic-config-value', 'limit.historyCount.suggestContinueAsNew=40'])

const workflows = async (runId: string): Promise<number> => {
  let count = 0
  const list = temporal.client().workflow.list({ query: `WorkflowId = '${runId}'` })
  for await (const _ of list) count += 1
  return count
}

test('a run with many messages continues as new between turns, loses none and does none twice', async () => {
  const ids = Array.from({ length: 12 }, (_, index) => `m${index + 1}`)
  const gate = Promise.withResolvers<void>()
  let first = true
  const world = await inWorld(
    {
      turn: async (): Promise<TurnOutcome> => {
        if (first) await gate.promise
        first = false
        return { kind: 'ended', stopReason: 'end_turn' }
      },
    },
    async ({ prompt, saw, finished, runId }) => {
      for (const id of ids) await prompt({ id })
      await saw((line) => line === 'turn m1')
      gate.resolve()
      await finished()
      await expect.poll(() => workflows(runId), { timeout: 20_000 }).toBeGreaterThan(1)
    },
  )
  expect(world.log.filter((line) => line.startsWith('turn'))).toEqual(ids.map((id) => `turn ${id}`))
  expect(world.log.filter((line) => line === 'claim' || line === 'prepare')).toEqual(['claim', 'prepare'])
  expect(terminal(world)).toHaveLength(1)
  const keys = world.states.map(({ key }) => key)
  expect(new Set(keys).size).toBe(keys.length)
})

test('a run with a kept sandbox continues as new and still serves a follow-up in it', async () => {
  const world = await inWorld({ plan: { idleMinutes: 5 } }, async ({ prompt, saw, send, finished, log, runId }) => {
    for (let turn = 1; turn <= 8; turn++) {
      await prompt({ id: `m${turn}` })
      await saw(() => log.filter((line) => line === 'state SUCCEEDED').length === turn)
    }
    await expect.poll(() => workflows(runId), { timeout: 20_000 }).toBeGreaterThan(1)
    await send({ kind: 'release', id: randomUUID(), execution: 8 })
    await finished()
  })
  expect(terminal(world).map(({ execution }) => execution)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  expect(world.log.filter((line) => line === 'claim')).toHaveLength(1)
})
