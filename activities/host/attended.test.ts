import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Client } from '@temporalio/client'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createAttendance } from './attended.ts'

let directory: string

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
