// Messages, questions and cancels, to real agents in a sandbox.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { leftovers } from '../support/leftovers.ts'
import { script } from '../support/model-server.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import { type Stack, startStack } from '../support/stack.ts'

for (const host of ['direct', 'docker'] as const) {
  describe(`on the ${host} host`, () => {
    let stack: Stack
    let repository: SampleRepository

    beforeAll(async () => {
      repository = await sampleRepository()
      stack = await startStack({ host })
    })

    afterAll(async () => {
      await stack?.stop()
      await repository?.remove()
    })

    const start = (prompt: string, config: Record<string, unknown> = {}) =>
      stack.start({
        prompt,
        config: { harness: { type: 'codex' }, permission_policy: 'allow', idle_timeout_minutes: 0, ...config },
        environment: { repos: [{ url: repository.url }] },
      })
    const followUp = (runId: string, message: string, delivery: 'queue' | 'interrupt' = 'queue') =>
      stack.call('POST', `/api/v1/agent/runs/${runId}/followups`, { message, delivery })

    test('a follow-up during a turn waits for its end', async () => {
      const [first, second] = [randomUUID(), randomUUID()]
      const runId = await start(script(first, [{ chunks: 10, waitFor: first }]))
      await stack.model.waitUntilHeld(first)
      expect((await followUp(runId, script(second, [{ text: 'Second.' }]))).status).toBe(200)
      stack.model.release(first)
      await stack.until(runId, 'SUCCEEDED')
      expect(stack.model.steps(first)).toEqual([0])
      expect(stack.model.steps(second)).toEqual([0])
      expect((await stack.item(runId)).execution).toBe(1)
    })

    test('an interrupting follow-up stops the turn and goes on in the same session', async () => {
      const [first, second] = [randomUUID(), randomUUID()]
      const runId = await start(script(first, [{ chunks: 10, waitFor: first }, { text: 'Never said.' }]))
      await stack.model.waitUntilHeld(first)
      await followUp(runId, script(second, [{ text: 'Instead.' }]), 'interrupt')
      await stack.until(runId, 'SUCCEEDED')
      const asked = await stack.model.waitForRequest(({ scriptId }) => scriptId === second)
      expect(asked.history).toEqual([first, second])
      stack.model.release(first)
    })

    test('an interrupting follow-up ends a command with all it started, and harms none of the next', async () => {
      const command = [
        'sh',
        '-c',
        'echo "begin $0"; if [ "$0" != last ]; then setsid sleep 987 & sleep 987; fi; sleep 3; echo "end $0"',
        '{prompt}',
      ]
      const runId = await start('first', { harness: { type: 'command', command } })
      const said = (text: string) =>
        stack.untilEvent(runId, ({ kind, data }) => kind === 'output' && data.text === text)
      await said('begin first')
      for (const message of ['second', 'third', 'fourth', 'last']) {
        await followUp(runId, message, 'interrupt')
        await said(`begin ${message}`)
      }
      await stack.until(runId, 'SUCCEEDED')
      await said('end last')
      expect(await leftovers(runId)).toEqual([])
    })

    test('a follow-up after the end begins a new execution in the kept sandbox', async () => {
      const [first, second] = [randomUUID(), randomUUID()]
      const runId = await start(script(first, [{ text: 'One.', shell: 'echo one > one.txt' }, { text: 'Done.' }]), {
        idle_timeout_minutes: 5,
      })
      expect((await stack.until(runId, 'SUCCEEDED')).is_sandbox_running).toBe(true)
      await followUp(
        runId,
        script(second, [{ text: 'Two.', shell: 'cat one.txt && echo two > two.txt' }, { text: 'Done.' }]),
      )
      const run = await stack.until(runId, 'SUCCEEDED', { execution: 2 })
      expect(run.execution).toBe(2)
      expect((await stack.model.waitForRequest(({ scriptId }) => scriptId === second)).history).toEqual([first, second])
      const { body: diff } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
      expect(diff).toContain('+one')
      expect(diff).toContain('+two')
      await stack.call('POST', `/api/v1/agent/runs/${runId}/cancel`)
    })

    test('a follow-up after the sandbox was given up restores it, with what the agent knew', async () => {
      const [first, second] = [randomUUID(), randomUUID()]
      const runId = await start(script(first, [{ text: 'One.', shell: 'echo one > one.txt' }, { text: 'Done.' }]))
      await stack.until(runId, 'SUCCEEDED')
      await expect.poll(() => leftovers(runId)).toEqual([])
      await followUp(runId, script(second, [{ text: 'Two.', shell: 'cat one.txt' }, { text: 'Done.' }]))
      await stack.until(runId, 'SUCCEEDED', { execution: 2 })
      expect((await stack.model.waitForRequest(({ scriptId }) => scriptId === second)).history).toEqual([first, second])
      expect(stack.model.steps(second)).toEqual([0, 1])
    })

    test('a run that may ask is BLOCKED until a person allows, or denies', async () => {
      for (const [answer, expected] of [
        ['allow', '+touched'],
        ['deny', ''],
      ] as const) {
        const id = randomUUID()
        const runId = await start(
          script(id, [{ text: 'May I?', shell: 'echo touched > touched.txt' }, { text: 'Done.' }]),
          { permission_policy: 'ask' },
        )
        const run = await stack.until(runId, 'BLOCKED')
        expect(run.questions).toHaveLength(1)
        const wrong = await stack.call('POST', `/api/v1/agent/runs/${runId}/answers`, { option_id: 'no such option' })
        expect(wrong.status).toBe(400)
        await stack.call('POST', `/api/v1/agent/runs/${runId}/answers`, { option_id: answer })
        await stack.until(runId, 'SUCCEEDED')
        const { body: diff } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
        expect(diff).toContain(expected)
        if (answer === 'deny') expect(diff).not.toContain('touched')
      }
    })

    test.each(['text', 'command'])(
      'a cancel during a %s stops the agent and all it started within 5 s',
      async (during) => {
        const id = randomUUID()
        const step = during === 'text' ? { chunks: 4, waitFor: id } : { shell: 'setsid sleep 300 & sleep 300' }
        const runId = await start(script(id, [{ text: 'I begin.', ...step }, { text: 'Never said.' }]))
        if (during === 'text') await stack.model.waitUntilHeld(id)
        else await stack.untilEvent(runId, ({ kind }) => kind === 'tool_call')
        const before = performance.now()
        const { status, body } = await stack.call<string>('POST', `/api/v1/agent/runs/${runId}/cancel`)
        expect([status, String(body).replaceAll('"', '')]).toEqual([200, runId])
        await expect.poll(() => leftovers(runId), { timeout: 8_000, interval: 50 }).toEqual([])
        expect(performance.now() - before).toBeLessThan(5_000)
        await stack.until(runId, 'CANCELLED')
        expect((await stack.call('POST', `/api/v1/agent/runs/${runId}/cancel`)).status).toBe(400)
        stack.model.release(id)
      },
    )
  })
}
