// A cancel before the agent is there: whatever the run is at ends with it, at once. Later phases: steering.test.ts.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { leftovers } from '../support/leftovers.ts'
import { type Stack, startStack } from '../support/stack.ts'

/** What a cancel is promised to take at most, in milliseconds. */
const PROMISED_MS = 5_000

describe.each(['direct', 'docker'] as const)('on the %s host', (host) => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack({ host, env: { AMBIENT_CAPACITY: '2' } })
  })
  afterAll(() => stack?.stop())

  const start = (environment: object) =>
    stack.start({ prompt: 'Go', config: { harness: { type: 'command', command: ['sleep', '987'] } }, environment })

  /** Cancels it, and waits until nothing of it is there. */
  async function cancel(runId: string, alsoGone: Promise<unknown> = Promise.resolve()): Promise<void> {
    const before = performance.now()
    expect((await stack.call('POST', `/api/v1/agent/runs/${runId}/cancel`)).status).toBe(200)
    await alsoGone
    await expect.poll(() => leftovers(runId), { timeout: 8_000, interval: 50 }).toEqual([])
    expect(performance.now() - before).toBeLessThan(PROMISED_MS)
    const run = await stack.until(runId, 'CANCELLED')
    expect(run.is_sandbox_running).toBe(false)
    const { body } = await stack.call<{ events: { event_type: string }[] }>(
      'GET',
      `/api/v1/agent/runs/${runId}/timeline`,
    )
    const ends = body.events.filter(({ event_type: type }) => /_(done|failed|errored|cancelled)$/.test(type))
    expect(ends.map(({ event_type: type }) => type)).toEqual(['oz_run_cancelled'])
  }

  test('a cancel reaches a repository that is being cloned', async () => {
    const asked = Promise.withResolvers<void>()
    const left = Promise.withResolvers<void>()
    const server = createServer((request) => {
      request.socket.once('close', () => left.resolve())
      asked.resolve()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    try {
      const { port } = server.address() as AddressInfo
      const runId = await start({ repos: [{ url: `http://127.0.0.1:${port}/slow.git` }] })
      await asked.promise
      await cancel(runId, left.promise)
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })

  test('a cancel reaches a set-up command and all it started', async () => {
    const runId = await start({ repos: [], setup_commands: ['echo begun; setsid sleep 987 & sleep 987'] })
    await stack.untilEvent(runId, ({ kind, data }) => kind === 'setup' && data.text === 'begun')
    expect(await leftovers(runId)).not.toEqual([])
    await cancel(runId)
  })

  test('a cancel reaches a run that waits in line', async () => {
    const working = [await start({ repos: [] }), await start({ repos: [] })]
    for (const runId of working) await stack.until(runId, 'INPROGRESS')
    const waiting = await start({ repos: [] })
    await stack.until(waiting, 'QUEUED')
    await cancel(waiting)
    for (const runId of working) await cancel(runId)
  })
})
