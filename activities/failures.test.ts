import { expect, test } from 'vitest'
import { RunFailureError } from '../domain/failure.ts'
import { type Again, unforeseen, withTypedFailures } from './failures.ts'
import { ServerRefusal } from './host/server.ts'

const failing = (code: 'host_unavailable' | 'repository_unavailable' | 'setup_command_failed') => () =>
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

test("what is the person's to mend is not tried again", async () => {
  await expect(withTypedFailures(1, failing('setup_command_failed'), () => expect.unreachable())).rejects.toMatchObject(
    {
      nonRetryable: true,
    },
  )
})

test('what nobody foresaw is not tried for ever, and keeps its cause', async () => {
  const error = new TypeError('x is not a function')
  expect(await unforeseen(error, 7)).toMatchObject({ nonRetryable: false, type: 'TypeError', cause: error })
  expect(await unforeseen(error, 8)).toMatchObject({ nonRetryable: true, message: 'x is not a function' })
})
