// More runs than there is room for, through everything: they wait, in order, never too many work, and all end.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Stack, startStack } from '../support/stack.ts'

let stack: Stack
let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-queue-'))
  stack = await startStack({ host: 'direct', env: { AMBIENT_CAPACITY: '2' } })
})
afterAll(async () => {
  await stack?.stop()
  await rm(directory, { recursive: true, force: true })
})

/** Says when it begins and ends. One with a gate works until the gate is opened. */
const work =
  'echo "begin $0" >> work; while [ -n "$1" ] && [ ! -e "$1" ]; do sleep 0.05; done; sleep 0.2; echo "end $0" >> work'
const start = (name: string, { gate = '', ...body }: Record<string, unknown> & { gate?: string } = {}) =>
  stack.start({
    prompt: name,
    // No idle timeout is set: sandboxes are kept for ten minutes, unless others wait.
    config: { harness: { type: 'command', command: ['sh', '-c', `cd '${directory}'; ${work}`, name, gate] } },
    ...body,
  })
const open = (gate: string) => writeFile(join(directory, gate), '')

async function worked(): Promise<[string, string][]> {
  const lines = (await readFile(join(directory, 'work'), 'utf8')).trim().split('\n')
  return lines.map((line) => line.split(' ') as [string, string])
}

/** The most that were at work at the same time. */
function mostAtOnce(lines: readonly [string, string][]): number {
  let now = 0
  return Math.max(...lines.map(([what]) => (now += what === 'begin' ? 1 : -1)))
}

test('ten runs on a host for two wait in line, go by priority and arrival and within their limits, and all end', async () => {
  const blockers = [await start('first', { gate: 'open-first' }), await start('second', { gate: 'open-second' })]
  for (const id of blockers) await stack.until(id, 'INPROGRESS')
  const staging = { concurrency: { group: 'staging', limit: 1 } }
  const waiting = {
    normal: await start('normal'),
    staging1: await start('staging1', { ...staging, priority: 1 }),
    staging2: await start('staging2', { ...staging, priority: 1 }),
    staging3: await start('staging3', staging),
    urgent: await start('urgent', { priority: 10 }),
    cancelled: await start('cancelled', { priority: 20 }),
    later: await start('later'),
    last: await start('last', { priority: -1 }),
  }
  const queued = (id: string) => stack.untilEvent(id, ({ data }) => String(data.message).startsWith('Place'))
  for (const id of Object.values(waiting)) await queued(id)

  const queue = { reason: 'at_capacity', scope: 'pool', name: 'default', limit: 2, in_use: 2 }
  expect(await stack.item(waiting.urgent)).toMatchObject({
    state: 'QUEUED',
    priority: 10,
    queue: { ...queue, position: 2 },
    status_message: { message: 'Place 2 in line: pool "default" is full, 2 of 2.' },
  })
  await stack.call('POST', `/api/v1/agent/runs/${waiting.cancelled}/cancel`)
  await stack.until(waiting.cancelled, 'CANCELLED')
  expect((await stack.item(waiting.urgent)).queue).toMatchObject({ position: 1 })
  expect((await stack.item(waiting.last)).queue).toMatchObject({ position: 7 })

  // One place at a time: the order is exact.
  await open('open-first')
  await stack.until(waiting.last, 'SUCCEEDED')
  const began = (await worked()).filter(([what]) => what === 'begin').map(([, name]) => name)
  const order = ['first', 'second', 'urgent', 'staging1', 'staging2', 'normal', 'staging3', 'later', 'last']
  // The first two begin at once.
  expect([...began.slice(0, 2).toSorted(), ...began.slice(2)]).toEqual(order)

  // Two at a time, of a group one.
  const more = await Promise.all(['a', 'b', 'c', 'd'].map((name) => start(`staging-${name}`, staging)))
  const others = await Promise.all(['e', 'f', 'g'].map((name) => start(name)))
  await open('open-second')
  for (const id of [...blockers, ...more, ...others]) await stack.until(id, 'SUCCEEDED')
  const lines = await worked()
  expect(mostAtOnce(lines)).toBe(2)
  expect(mostAtOnce(lines.filter(([, name]) => name.startsWith('staging')))).toBe(1)
  expect(lines).toHaveLength(2 * (order.length + 7))
  expect((await stack.item(blockers[0] ?? '')).status_message).toBeNull()
})

test('a run for a pool without hosts says so', async () => {
  const id = await start('nowhere', { config: { harness: { type: 'command', command: ['true'] }, worker_host: 'gpu' } })
  await stack.untilEvent(
    id,
    ({ data }) => data.message === 'Place 1 in line: no host of the pool "gpu" is connected and takes new runs.',
  )
  expect((await stack.item(id)).queue).toMatchObject({ reason: 'no_host', scope: 'pool', name: 'gpu' })
  await stack.call('POST', `/api/v1/agent/runs/${id}/cancel`)
  await stack.until(id, 'CANCELLED')
})

test('runs that wait are let in after everything was killed', async () => {
  const first = await start('held', { gate: 'open-held' })
  const second = await start('held-too', { gate: 'open-held' })
  const waiting = [await start('x'), await start('y')]
  for (const id of waiting) await stack.untilEvent(id, ({ data }) => String(data.message).startsWith('Place'))
  await Promise.all([stack.kill('server'), stack.kill('worker'), stack.kill('host')])
  await open('open-held')
  for (const id of [first, second, ...waiting]) await stack.until(id, 'SUCCEEDED')
})
