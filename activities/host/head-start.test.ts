import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { ExecutionRef, SandboxOrigin } from '../../workflows/contract.ts'
import type { StopSignals } from './attended.ts'
import { createHeadStart } from './head-start.ts'

const log = pino({ level: 'silent' })
const signals = () => {
  const [interrupt, detach] = [new AbortController(), new AbortController()]
  return { interrupt, detach, given: { interrupt: interrupt.signal, detach: detach.signal } }
}

let begun: {
  ref: ExecutionRef
  signals: StopSignals
  work: PromiseWithResolvers<SandboxOrigin>
  onNearly: (origin: SandboxOrigin) => void
}[]
let undone: string[]
let ref: ExecutionRef
const make = () =>
  createHeadStart(
    (given, stop, onNearly = () => {}) => {
      const work = Promise.withResolvers<SandboxOrigin>()
      const fail = () => work.reject(stop.interrupt.reason ?? stop.detach.reason)
      for (const signal of [stop.interrupt, stop.detach]) signal.addEventListener('abort', fail)
      begun.push({ ref: given, signals: stop, work, onNearly })
      return work.promise
    },
    { forsake: async (runId) => void undone.push(runId), log },
  )

beforeEach(() => {
  begun = []
  undone = []
  ref = { runId: randomUUID(), execution: 1 }
})
afterEach(() => vi.useRealTimers())

test('what was begun with the claim is gone on with, and not begun again', async () => {
  const headStart = make()
  void headStart.begin(ref, 0)
  void headStart.begin(ref, 0)
  const joined = headStart.join(ref, signals().given)
  begun[0]?.work.resolve('fresh')
  expect(await joined).toBe('fresh')
  expect(begun).toHaveLength(1)
  // A further attempt has to look by itself.
  void headStart.join(ref, signals().given).catch(() => {})
  await vi.waitFor(() => expect(begun).toHaveLength(2))
})

test('what is ready in time is told with the claim, and not undone', async () => {
  vi.useFakeTimers()
  const headStart = make()
  const ready = headStart.begin(ref, 1_000)
  begun[0]?.work.resolve('fresh')
  expect(await ready).toBe('fresh')
  expect(await headStart.finish(ref, signals().given)).toBe('fresh')
  await vi.advanceTimersByTimeAsync(301_000)
  expect(undone).toEqual([])
})

test('where only the agent is still to come up, the claim is answered and the turn waits for it', async () => {
  const headStart = make()
  const nearly = headStart.begin(ref, 60_000)
  begun[0]?.onNearly('restored')
  expect(await nearly).toBe('restored')
  const finished = headStart.finish(ref, signals().given)
  begun[0]?.work.reject(new Error('the agent ended'))
  await expect(finished).rejects.toThrow('the agent ended')
  // A further attempt of the turn has to look by itself.
  expect(await headStart.finish(ref, signals().given)).toBeNull()
})

test('what went wrong in time is told to whoever joins', async () => {
  const headStart = make()
  const ready = headStart.begin(ref, 1_000)
  begun[0]?.work.reject(new Error('no such repository'))
  expect(await ready).toBeNull()
  await expect(headStart.join(ref, signals().given)).rejects.toThrow('no such repository')
})

test('another execution ends it, and begins by itself', async () => {
  const headStart = make()
  void headStart.begin(ref, 0)
  const next = headStart.join({ ...ref, execution: 2 }, signals().given)
  await vi.waitFor(() => expect(begun).toHaveLength(2))
  expect(begun[0]?.signals.interrupt.aborted).toBe(true)
  begun[1]?.work.resolve('kept')
  expect(await next).toBe('kept')
})

test.each(['interrupt', 'detach'] as const)('whoever has joined it can end it: %s', async (kind) => {
  const headStart = make()
  void headStart.begin(ref, 0)
  const stop = signals()
  const joined = headStart.join(ref, stop.given)
  stop[kind].abort(new Error('enough'))
  await expect(joined).rejects.toThrow('enough')
  expect(begun[0]?.signals[kind].aborted).toBe(true)
})

test('work that is not wanted has ended before anything else is done to its sandbox', async () => {
  const headStart = make()
  void headStart.begin(ref, 0)
  await headStart.end(ref.runId)
  expect(begun[0]?.signals.interrupt.aborted).toBe(true)
})

test('work that nobody asks for is undone; work that was asked for is not', async () => {
  vi.useFakeTimers()
  const headStart = make()
  const other = { runId: randomUUID(), execution: 1 }
  void headStart.begin(ref, 0)
  void headStart.begin(other, 0)
  headStart.join(other, signals().given)?.catch(() => {})
  await vi.advanceTimersByTimeAsync(301_000)
  expect(undone).toEqual([ref.runId])
})
