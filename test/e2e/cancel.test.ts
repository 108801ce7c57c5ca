// Cancels: of a run before its agent is there, and of one with all that it began. Of agents at work: steering.test.ts.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type BothHosts, hostKinds, poolOf, startBothHosts } from '../support/both-hosts.ts'
import { leftovers } from '../support/leftovers.ts'
import { script } from '../support/model-server.ts'
import type { Stack } from '../support/stack.ts'

/** What a cancel is promised to take at most, in milliseconds. */
const PROMISED_MS = 5_000

let both: BothHosts
let stack: Stack
beforeAll(async () => {
  both = await startBothHosts({ AMBIENT_CAPACITY: '4' })
  stack = both.stack
})
afterAll(() => both?.stop())

describe.each(hostKinds)('on the %s host', (host) => {
  const config = { harness: { type: 'command', command: ['sleep', '987'] }, worker_host: poolOf[host] }
  const start = (environment: object) => stack.start({ prompt: 'Go', config, environment })

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

  /** Takes requests and answers none. */
  async function silentServer() {
    const asked = Promise.withResolvers<void>()
    const left = Promise.withResolvers<void>()
    const server = createServer((request) => {
      request.socket.once('close', () => left.resolve())
      asked.resolve()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const close = () => {
      server.closeAllConnections()
      server.close()
    }
    return { address: `127.0.0.1:${port}`, asked: asked.promise, left: left.promise, close }
  }

  test('a cancel reaches a repository that is being cloned', async () => {
    const server = await silentServer()
    try {
      const runId = await start({ repos: [{ url: `http://${server.address}/slow.git` }] })
      await server.asked
      await cancel(runId, server.left)
    } finally {
      server.close()
    }
  })

  test.runIf(host === 'docker')('a cancel waits for no registry that an image is fetched from', async () => {
    const registry = await silentServer()
    try {
      const runId = await start({ image: `${registry.address}/slow:1`, repos: [] })
      await registry.asked
      // When the daemon hangs up is its own affair.
      await cancel(runId)
    } finally {
      registry.close()
    }
  })

  test('a cancel reaches a run that waits for an answer', async () => {
    const runId = await stack.start({
      prompt: script(randomUUID(), [{ text: 'May I?', shell: 'echo hello' }, { text: 'Done.' }]),
      config: { harness: { type: 'codex' }, permission_policy: 'ask', worker_host: poolOf[host] },
    })
    await stack.until(runId, 'BLOCKED')
    expect(await leftovers(runId)).not.toEqual([])
    await cancel(runId)
    expect((await stack.item(runId)).questions).toEqual([])
  })

  test('a cancel reaches a set-up command and all it started', async () => {
    const runId = await start({ repos: [], setup_commands: ['echo begun; setsid sleep 987 & sleep 987'] })
    await stack.untilEvent(runId, ({ kind, data }) => kind === 'setup' && data.text === 'begun')
    expect(await leftovers(runId)).not.toEqual([])
    await cancel(runId)
  })

  test('a cancel reaches a run that waits in line', async () => {
    const working = await Promise.all(Array.from({ length: 4 }, () => start({ repos: [] })))
    for (const runId of working) await stack.until(runId, 'INPROGRESS')
    const waiting = await start({ repos: [] })
    await stack.until(waiting, 'QUEUED')
    await cancel(waiting)
    for (const runId of working) await cancel(runId)
  })
})

describe('a run and all that it began', () => {
  const here = { worker_host: poolOf.direct, idle_timeout_minutes: 0 }
  const asleep = { harness: { type: 'command', command: ['sh', '-c', 'setsid sleep 987 & echo up; sleep 987'] } }
  const start = (parent: string | null, config: object = asleep) =>
    stack.start({ prompt: 'x', config: { ...here, ...config }, ...(parent && { parent_run_id: parent }) })
  const isUp = (runId: string) => stack.untilEvent(runId, ({ kind, data }) => kind === 'output' && data.text === 'up')

  async function ends(runId: string): Promise<unknown[]> {
    const { body } = await stack.call<{ events: { event_type: string }[] }>(
      'GET',
      `/api/v1/agent/runs/${runId}/timeline`,
    )
    return body.events.map(({ event_type: type }) => type).filter((type) => /done|failed|errored|cancelled/.test(type))
  }

  test('everything below a run ends with it, each once, and nothing is left', async () => {
    const root = await start(null)
    const child = await start(root)
    const grandchild = await start(child)
    for (const runId of [root, child, grandchild]) await isUp(runId)
    const asking = await stack.start({
      prompt: script('asks', [{ text: 'May I?', shell: 'echo hello' }, { text: 'Done.' }]),
      config: { harness: { type: 'codex' }, permission_policy: 'ask', ...here },
      parent_run_id: root,
    })
    await stack.until(asking, 'BLOCKED')
    // The host is full: this one waits in line.
    const inLine = await start(child)
    await stack.untilEvent(inLine, ({ data }) => String(data.message).startsWith('Place'))

    const began = Date.now()
    const post = (path: string, body: object) =>
      stack.call<Record<string, unknown>>('POST', `/api/v1/agent/runs${path}`, body)
    const [{ status, body }, ...late] = await Promise.all([
      post(`/${root}/cancel`, { cascade: true }),
      ...[root, child, grandchild, root].map((parent) =>
        post('', { prompt: 'x', config: { ...here, ...asleep }, parent_run_id: parent }),
      ),
    ])
    expect(status).toBe(200)
    const begun = late.filter((answer) => answer.status === 200).map((answer) => String(answer.body.run_id))
    expect(late.filter((answer) => answer.status !== 200).map((answer) => answer.status)).toEqual(
      Array.from({ length: 4 - begun.length }, () => 409),
    )
    const all = [root, child, grandchild, asking, inLine, ...begun]
    expect((body.cancelled_run_ids as string[]).toSorted()).toEqual(all.toSorted())
    for (const runId of all) await stack.until(runId, 'CANCELLED')
    for (const runId of all) await expect.poll(() => leftovers(runId)).toEqual([])
    expect(Date.now() - began).toBeLessThan(15_000)
    for (const runId of all) expect(await ends(runId)).toEqual(['oz_run_cancelled'])
  })

  test('without the word, what a run began goes on', async () => {
    const root = await start(null)
    const child = await start(root)
    await isUp(child)
    await stack.call('POST', `/api/v1/agent/runs/${root}/cancel`)
    await stack.until(root, 'CANCELLED')
    expect((await stack.item(child)).state).toBe('INPROGRESS')
    await stack.call('POST', `/api/v1/agent/runs/${root}/cancel`, { cascade: true })
    await stack.until(child, 'CANCELLED')
  })
})
