import { expect, test } from 'vitest'
import type { Host } from '../../environments/host.ts'
import { createHoldings } from './holdings.ts'

function holdings(remove: (runId: string) => Promise<void>, running: string[] = []) {
  const list = async () => running.map((runId) => ({ runId, running: true }))
  return createHoldings({ host: { list, remove } as unknown as Host, capacity: 1 })
}

test('a run that was taken up since it was found to be old is not removed', async () => {
  const removed: string[] = []
  const held = holdings(async (runId) => void removed.push(runId))
  const foundAt = Date.now()
  await held.hold('a')
  await expect(held.remove('a', foundAt)).rejects.toThrow('taken up again')
  expect(removed).toEqual([])
})

test('a run is taken up only when its removal is over', async () => {
  const gate = Promise.withResolvers<void>()
  const order: string[] = []
  const held = holdings(async () => {
    await gate.promise
    order.push('removed')
  })
  const removal = held.remove('a', Date.now())
  const hold = held.hold('a').then(() => order.push('held'))
  gate.resolve()
  await Promise.all([removal, hold])
  expect(order).toEqual(['removed', 'held'])
})

test('a run that lost its workflow makes room when it is removed', async () => {
  const held = holdings(async () => {}, ['lost'])
  expect(await held.take('b')).toBe(false)
  await held.remove('lost', Date.now())
  expect(await held.take('b')).toBe(true)
})

test('a build that a former worker has left makes room at once', async () => {
  const held = holdings(async () => {}, ['build'])
  await held.countOut('build')
  expect(await held.take('b')).toBe(true)
})
