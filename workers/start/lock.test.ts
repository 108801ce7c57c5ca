import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lockHolder, takeLock } from './lock.ts'
import { identify } from './process-identity.ts'

let directory: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ambient-lock-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

/** Another process that tries to take the lock. */
async function contender() {
  const script = fileURLToPath(new URL('fixtures/takes-lock.ts', import.meta.url))
  const child = spawn(process.execPath, [script, directory], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [answer] = (await once(createInterface(child.stdout), 'line')) as [string]
  return { answer, child }
}

async function end({ child }: Awaited<ReturnType<typeof contender>>, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null) return
  child.kill(signal)
  await once(child, 'exit')
}

test('a second taker is told who holds the directory; a released lock is free', async () => {
  const lock = await takeLock(directory)
  await expect(takeLock(directory)).rejects.toThrow(
    `Ambient is already running on ${directory} (process ${process.pid}). Stop it, or set AMBIENT_DATA to another directory.`,
  )
  lock.release()
  const again = await takeLock(directory)
  again.release()
  expect(readdirSync(directory)).toEqual([])
})

test('whoever wants to stop the holder finds it, while it lives', async () => {
  expect(lockHolder(directory)).toBeNull()
  const holder = await contender()
  expect(lockHolder(directory)?.pid).toBe(holder.child.pid)
  await end(holder, 'SIGKILL')
  expect(lockHolder(directory)).toBeNull()
})

test('the lock of a killed process is taken over by exactly one of several', async () => {
  const first = await contender()
  expect(first.answer).toBe('taken')
  await end(first, 'SIGKILL')
  const next = await Promise.all(Array.from({ length: 6 }, contender))
  expect(next.map(({ answer }) => answer).sort()).toEqual(['locked', 'locked', 'locked', 'locked', 'locked', 'taken'])
  await Promise.all(next.map((each) => end(each, 'SIGKILL')))
})

test('a lock whose pid now belongs to another process is stale', async () => {
  const stranger = { ...identify(process.pid), startTime: 'another time' }
  writeFileSync(join(directory, 'supervisor.lock'), JSON.stringify(stranger))
  const lock = await takeLock(directory)
  lock.release()
})
