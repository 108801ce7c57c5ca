import { describe, expect, test } from 'vitest'
import { type FailureCode, failureCodes, RunFailureError } from '../domain/failure.ts'
import { type Again, type Setback, unforeseen, withTypedFailures } from './failures.ts'
import { ServerRefusal } from './host/server.ts'

const failing = (code: FailureCode) => () =>
  Promise.reject(new RunFailureError({ code, phase: 'workspace', message: 'It did not work.' }))

test('what the server refuses is tried a few times and no more', async () => {
  const refuse = () => Promise.reject(new ServerRefusal(400, 'events: not like this'))
  await expect(withTypedFailures(1, refuse)).rejects.toMatchObject({ nonRetryable: false, nextRetryDelay: '2s' })
  await expect(withTypedFailures(4, refuse)).rejects.toMatchObject({ nonRetryable: true, type: 'ServerRefusal' })
})

test('what the platform could not do is tried again with growing pauses, and told', async () => {
  const told: Again[] = []
  const onSetback = async (_: unknown, again: Again) => void told.push(again)
  for (const attempt of [1, 2, 3]) {
    const failure = await withTypedFailures(attempt, failing('repository_unavailable'), onSetback).catch(
      (error) => error,
    )
    expect(failure).toMatchObject({ type: 'RunFailure', nonRetryable: false, nextRetryDelay: `${2 ** attempt}s` })
  }
  expect(told.map(({ attempt, attempts, pauseSeconds }) => [attempt, attempts, pauseSeconds])).toEqual([
    [1, 4, 2],
    [2, 4, 4],
    [3, 4, 8],
  ])
  await expect(withTypedFailures(4, failing('repository_unavailable'), onSetback)).rejects.toMatchObject({
    nonRetryable: true,
    details: [{ code: 'repository_unavailable' }],
  })
  expect(told).toHaveLength(3)
})

test('a Docker daemon may be away for two minutes', async () => {
  let seconds = 0
  for (let attempt = 1; attempt <= 8; attempt++) {
    await withTypedFailures(attempt, failing('host_unavailable'), async (_, again) => {
      seconds += again.pauseSeconds
    }).catch(() => {})
  }
  expect(seconds).toBe(120)
})

describe('a first attempt that ends as', () => {
  const codes = Object.keys(failureCodes) as FailureCode[]
  const of = (category: 'user' | 'platform') => codes.filter((code) => failureCodes[code].category === category)

  test.each(of('platform'))('%s is told, and followed by another one', async (code) => {
    const told: [Setback['code'], number][] = []
    const onSetback = async (setback: Setback, again: Again) => void told.push([setback.code, again.attempt])
    await expect(withTypedFailures(1, failing(code), onSetback)).rejects.toMatchObject({
      type: 'RunFailure',
      nonRetryable: false,
      details: [{ code }],
    })
    expect(told).toEqual([[code, 1]])
  })

  test.each(of('user'))("%s is the person's to mend: it is the last, and no setback", async (code) => {
    await expect(withTypedFailures(1, failing(code), () => expect.unreachable())).rejects.toMatchObject({
      type: 'RunFailure',
      nonRetryable: true,
      details: [{ code }],
    })
  })
})

test('what nobody foresaw is not tried for ever, and keeps its cause', async () => {
  const error = new TypeError('x is not a function')
  expect(await unforeseen(error, 7)).toMatchObject({ nonRetryable: false, type: 'TypeError', cause: error })
  expect(await unforeseen(error, 8)).toMatchObject({ nonRetryable: true, message: 'x is not a function' })
})
