import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { identify, isRunning } from './process-identity.ts'
import { endRemembered, type Running, startProgram } from './running.ts'
import { CrashLoopError, type Death, type Patience, supervise } from './supervise.ts'

const impatient: Patience = { firstDelayMs: 1, longestDelayMs: 4, healthyMs: 60_000, deaths: 3 }

let directory: string
let started: PromiseWithResolvers<Running>
let starts: number
let deaths: Death[]

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ambient-supervise-'))
  started = Promise.withResolvers()
  starts = 0
  deaths = []
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const logFile = () => join(directory, 'logs', 'part.log')
const pidFile = () => join(directory, 'parts', 'part.json')

/** Runs a line of JavaScript as a part. */
async function part(script: string): Promise<Running> {
  const running = await startProgram({
    command: [process.execPath, '-e', script],
    env: process.env,
    logFile: logFile(),
    pidFile: pidFile(),
    graceMs: 300,
  })
  starts++
  started.resolve(running)
  return running
}

/** The part that is started next. */
async function next(): Promise<Running> {
  started = Promise.withResolvers()
  return started.promise
}

const watched = (script: string, patience: Patience = impatient, givesUp = () => true) =>
  supervise({ name: 'part', start: () => part(script), onDeath: (death) => deaths.push(death), givesUp, patience })

test('a killed part is started again, as often as it is healthy in between', async () => {
  const supervised = await watched('setInterval(() => {}, 1000)', { ...impatient, healthyMs: 0 })
  let current = await started.promise
  for (let kills = 1; kills <= 4; kills++) {
    const after = next()
    process.kill(current.pid, 'SIGKILL')
    const replacement = await after
    expect(replacement.pid).not.toBe(current.pid)
    expect(JSON.parse(readFileSync(pidFile(), 'utf8'))).toEqual(identify(replacement.pid))
    current = replacement
  }
  expect(deaths).toEqual(Array(4).fill({ how: 'was ended by SIGKILL', count: 1, againMs: 1 }))
  await supervised.stop()
  expect(identify(current.pid)).toBeNull()
  await supervised.done
})

test('a part that does nothing but end is given up, later each time', async () => {
  const supervised = await watched('console.log("no good"); process.exit(7)')
  await expect(supervised.done).rejects.toThrow(new CrashLoopError('part ended with exit code 7, 3 times in a row'))
  expect(deaths).toEqual([
    { how: 'ended with exit code 7', count: 1, againMs: 1 },
    { how: 'ended with exit code 7', count: 2, againMs: 2 },
    { how: 'ended with exit code 7', count: 3, againMs: null },
  ])
  expect(readFileSync(logFile(), 'utf8')).toBe('no good\n'.repeat(3))
  await supervised.stop()
  expect(starts).toBe(3)
})

test('a part that was of use once is started again for as long as it takes', async () => {
  const supervised = await watched('process.exit(7)', impatient, () => false)
  await expect.poll(() => deaths.length).toBeGreaterThan(2 * impatient.deaths)
  expect(deaths.at(-1)).toEqual({ how: 'ended with exit code 7', count: deaths.length, againMs: 4 })
  await supervised.stop()
  await supervised.done
})

test('a part that ignores SIGTERM is killed when its grace time is over', async () => {
  const supervised = await watched('process.on("SIGTERM", () => {}); console.log("up"); setInterval(() => {}, 1000)')
  const { pid, exited } = await started.promise
  await expect.poll(() => readFileSync(logFile(), 'utf8')).toBe('up\n')
  await supervised.stop()
  expect(await exited).toBe('was ended by SIGKILL')
  expect(identify(pid)).toBeNull()
  expect(existsSync(pidFile())).toBe(false)
  expect(deaths).toEqual([])
})

test('stopping while a part waits to be started again leaves nothing behind', async () => {
  const supervised = await watched('process.exit(1)', { ...impatient, firstDelayMs: 60_000, longestDelayMs: 60_000 })
  await expect.poll(() => deaths).toHaveLength(1)
  await supervised.stop()
  expect(starts).toBe(1)
})

test('a program that is not there is an error of the start', async () => {
  const start = () =>
    startProgram({ command: ['/no/such/program'], env: {}, logFile: logFile(), pidFile: pidFile(), graceMs: 1 })
  await expect(supervise({ name: 'part', start, onDeath: () => {}, givesUp: () => true })).rejects.toThrow(/ENOENT/)
})

test('what a killed supervisor left running is ended by its successor', async () => {
  const script = fileURLToPath(new URL('fixtures/stays.ts', import.meta.url))
  const parent = spawn(process.execPath, [script, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(createInterface(parent.stdout), 'line')) as [string]
  const left = identify(Number(line)) ?? expect.fail('the program is not running')
  parent.kill('SIGKILL')
  await once(parent, 'exit')
  expect(isRunning(left)).toBe(true)

  expect(await endRemembered(join(directory, 'pid.json'), 1_000)).toBe(true)
  expect(isRunning(left)).toBe(false)
  expect(await endRemembered(join(directory, 'pid.json'), 1_000)).toBe(false)
})
