import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { OTHERS, openBlockedHosts, readBlockedHosts } from './blocked.ts'

let directory: string
let file: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-blocked-'))
  file = join(directory, 'run-1.json')
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const now = () => new Date('2026-01-02T03:04:05Z')
const entry = (host: string, port: number, count: number) => ({ host, port, count, first_seen: now().toISOString() })

test('refusals are counted by host and port, and counted on by the next proxy', async () => {
  expect(await readBlockedHosts(file)).toBeNull()
  const first = await openBlockedHosts(file, now)
  for (const port of [443, 80, 443]) first.add('evil.example', port)
  const listed = [entry('evil.example', 443, 2), entry('evil.example', 80, 1)]
  await expect.poll(() => readBlockedHosts(file)).toEqual(listed)
  const next = await openBlockedHosts(file, now)
  next.add('evil.example', 80)
  await expect.poll(() => readBlockedHosts(file)).toEqual([listed[0], entry('evil.example', 80, 2)])
})

test('names without end are counted together', async () => {
  const hosts = await openBlockedHosts(file, now)
  for (let number = 0; number < 600; number++) hosts.add(`${number}.example`, 443)
  hosts.add('0.example', 443)
  await expect.poll(async () => (await readBlockedHosts(file))?.length).toBe(501)
  expect((await readBlockedHosts(file))?.at(-1)).toEqual(entry(OTHERS, 0, 100))
  expect((await readBlockedHosts(file))?.[0]).toEqual(entry('0.example', 443, 2))
})

test('the first refusal of a host is there before its sandbox can have ended', async () => {
  const hosts = await openBlockedHosts(file, now)
  // Whatever waits for a time to pass, waits for ever.
  vi.useFakeTimers({ toFake: ['setTimeout'] })
  try {
    hosts.add('evil.example', 443)
    await expect.poll(() => readBlockedHosts(file)).toEqual([entry('evil.example', 443, 1)])
  } finally {
    vi.useRealTimers()
  }
})
