import { expect, test } from 'vitest'
import { createLanes, createTurns } from './turns.ts'

const never = new AbortController().signal

test('work of the same name goes one after the other, and of other names at once', async () => {
  const turns = createTurns()
  const first = Promise.withResolvers<void>()
  const done: string[] = []
  const one = turns.alone('a', never, () => first.promise.then(() => done.push('one')))
  const failing = turns.alone('a', never, () => Promise.reject(new Error('no')))
  const two = turns.alone('a', never, async () => done.push('two'))
  failing.catch(() => {}) // Looked at below.
  await turns.alone('b', never, async () => done.push('other'))
  first.resolve()
  await Promise.all([one, two])
  await expect(failing).rejects.toThrow('no')
  expect(done).toEqual(['other', 'one', 'two'])
})

test('whoever waits no longer holds nobody up', async () => {
  const turns = createTurns()
  const first = Promise.withResolvers<void>()
  const one = turns.alone('a', never, () => first.promise)
  const leaving = new AbortController()
  const left = turns.alone('a', leaving.signal, async () => {})
  const last = turns.alone('a', never, async () => 'last')
  leaving.abort(new Error('gone'))
  await expect(left).rejects.toThrow('gone')
  first.resolve()
  await one
  expect(await last).toBe('last')
})

test('no more goes on at once than there are lanes', async () => {
  const lanes = createLanes(2)
  let now = 0
  let most = 0
  const work = async () => {
    now += 1
    most = Math.max(most, now)
    await new Promise((resolve) => setImmediate(resolve))
    now -= 1
  }
  await Promise.all(Array.from({ length: 9 }, () => lanes.join(never, work)))
  expect(most).toBe(2)
})
