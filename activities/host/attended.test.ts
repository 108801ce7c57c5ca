import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Client } from '@temporalio/client'
import { ApplicationFailure, CancelledFailure } from '@temporalio/common'
import { MockActivityEnvironment } from '@temporalio/testing'
import { DefaultLogger } from '@temporalio/worker'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Again } from '../failures.ts'
import { createAttendance } from './attended.ts'

let directory: string
/** The SDK tells of every failure otherwise. */
const logger = new DefaultLogger('ERROR')

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'held-'))
})

afterEach(() => rm(directory, { recursive: true, force: true }))

test('gives back what a killed worker had in hand, also beside a note that it did not finish', async () => {
  await mkdir(directory, { recursive: true })
  const held = { workflowId: 'run', runId: 'first', activityId: '7' }
  await writeFile(join(directory, 'first.7.json'), JSON.stringify(held))
  await writeFile(join(directory, 'first.8.json'), '')
  const givenBack: unknown[] = []
  const client = { activity: { fail: async (which: unknown) => void givenBack.push(which) } } as unknown as Client

  await createAttendance(directory).handBack(client, pino({ level: 'silent' }))

  expect(givenBack).toEqual([held])
  expect(await readdir(directory)).toEqual([])
})

test('a bug in the work ends it after a few attempts, however often its worker was killed before', async () => {
  const attendance = createAttendance(directory)
  const told: Again[] = []
  const attempt = (number: number, work: () => Promise<string>) =>
    new MockActivityEnvironment({ attempt: number }, { logger }).run(() =>
      attendance.attend(work, async (_, again) => void told.push(again)),
    )
  const broken = () => Promise.reject(new TypeError('x is not a function'))
  for (let count = 1; count < 8; count++) {
    await expect(attempt(40 + count, broken)).rejects.toMatchObject({ nonRetryable: false })
  }
  await expect(attempt(48, broken)).rejects.toMatchObject({ nonRetryable: true })
  expect(told.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5, 6, 7])
  expect(await attempt(49, async () => 'done')).toBe('done')
  await expect(attempt(50, broken)).rejects.toMatchObject({ nonRetryable: false })
  expect(told.at(-1)?.attempt).toBe(1)
})

test('that it was told to stop is no failure of the work', async () => {
  const attendance = createAttendance(directory)
  const environment = new MockActivityEnvironment({}, { logger })
  const work = attendance.attend.bind(
    null,
    (signals) => {
      const stopped = new Promise<never>((_, reject) => {
        const stop = () => reject(new Error('given up in the middle'))
        for (const signal of Object.values(signals)) signal.addEventListener('abort', stop)
      })
      environment.cancel()
      return stopped
    },
    () => expect.unreachable(),
  )
  const error = await environment.run(work).catch((thrown: unknown) => thrown)
  expect(error).not.toBeInstanceOf(ApplicationFailure)
  expect(error instanceof CancelledFailure || (error as Error).message === 'given up in the middle').toBe(true)
})
