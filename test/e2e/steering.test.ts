// Messages, questions and cancels, to real agents in a sandbox.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type BothHosts, hostKinds, poolOf, startBothHosts } from '../support/both-hosts.ts'
import { leftovers } from '../support/leftovers.ts'
import { script } from '../support/model-server.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import type { Stack } from '../support/stack.ts'

let both: BothHosts
let stack: Stack
let repository: SampleRepository

beforeAll(async () => {
  repository = await sampleRepository()
  both = await startBothHosts()
  stack = both.stack
})

afterAll(async () => {
  await both?.stop()
  await repository?.remove()
})

for (const host of hostKinds) {
  describe(`on the ${host} host`, () => {
    const start = (prompt: string, config: Record<string, unknown> = {}) =>
      stack.start({
        prompt,
        config: {
          harness: { type: 'codex' },
          permission_policy: 'allow',
          idle_timeout_minutes: 0,
          worker_host: poolOf[host],
          ...config,
        },
        environment: { repos: [{ url: repository.url }] },
      })
    const followUp = (runId: string, message: string, delivery: 'queue' | 'interrupt' = 'queue') =>
      stack.call('POST', `/api/v1/agent/runs/${runId}/followups`, { message, delivery })

    test('a follow-up during a turn waits for its end, and is told with its mode', async () => {
      const [first, second] = [randomUUID(), randomUUID()]
      const runId = await start(script(first, [{ chunks: 10, waitFor: first }]))
      await stack.model.waitUntilHeld(first)
      const message = script(second, [{ text: 'Second.' }])
      const sent = { message, mode: 'plan' }
      expect((await stack.call('POST', `/api/v1/agent/runs/${runId}/followups`, sent)).status).toBe(200)
      stack.model.release(first)
      await stack.until(runId, 'SUCCEEDED')
      // What a mode means is told to the agent, and is no part of what a person said.
      const asked = await stack.model.waitForRequest(({ scriptId }) => scriptId === second)
      expect(JSON.stringify(asked.request)).toContain('plan it')
      expect((await stack.events(runId)).filter(({ kind }) => kind === 'prompt').at(-1)?.data.text).toBe(message)
      expect(stack.model.steps(first)).toEqual([0])
      expect(stack.model.steps(second)).toEqual([0])
      expect((await stack.item(runId)).execution).toBe(1)
    })

    test.runIf(host === 'docker')(
      'a run at the end of its budget is paused, and goes on in the same sandbox and session when it is raised',
      async () => {
        const id = randomUUID()
        const usage = { inputTokens: 2_000, outputTokens: 100 }
        const steps = [{ text: 'One.', shell: 'echo one > one.txt', usage }, { text: 'Two.' }]
        const runId = await start(script(id, steps), {
          harness: { type: 'claude', model_id: 'claude-sonnet-5-5' },
          budget: { usd: 0.001 },
        })
        const route = `/api/v1/agent/runs/${runId}`
        await stack.until(runId, 'BLOCKED')
        const blocked = await stack.item(runId)
        expect(blocked).toMatchObject({
          status_message: { error_code: 'budget_exceeded', message: expect.stringContaining('is used up') },
          questions: [{ about: 'budget', options: [] }],
          is_sandbox_running: true,
          request_usage: { total_tokens: expect.any(Number) },
        })
        expect(blocked.request_usage?.inference_cost_usd).toBeGreaterThan(0.001)
        expect((await stack.call('POST', `${route}/answers`, { option_id: 'allow' })).status).toBe(409)
        expect(stack.model.steps(id)).toEqual([0])
        expect((await stack.call('POST', `${route}/budget`, { usd: 100 })).status).toBe(200)
        await stack.until(runId, 'SUCCEEDED')
        expect(await stack.item(runId)).toMatchObject({ execution: 1, questions: [] })
        // What it had done is known to the agent, and stands in the same place.
        const goesOn = await stack.model.waitForRequest(
          ({ body, history }) => history.includes(id) && body.includes('Go on with your task'),
        )
        expect(goesOn.history).toEqual([id])
        const budget = (await stack.events(runId)).filter(({ kind }) => kind === 'budget').map(({ data }) => data.what)
        expect(budget).toEqual(expect.arrayContaining(['alert', 'stopped', 'raised']))
        const { events } = (await stack.call<{ events: { event_type: string }[] }>('GET', `${route}/timeline`)).body
        const types = events.map((event) => event.event_type)
        expect(types.filter((type) => type === 'worker_container_ready')).toHaveLength(1)
      },
    )

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

    test('an agent finds what came with its message, hands over a file, and asks a person, whatever dies meanwhile', async () => {
      const [first, second] = [randomUUID(), randomUUID()]
      const tool = (name: string, args: Record<string, unknown>) => ({ tool: { name, arguments: args } })
      const runId = await stack.start({
        prompt: script(first, [
          { text: 'I look.', shell: 'cat ../.ambient/attachments/*/spec.txt > report.txt; ln -s /etc/passwd leak.txt' },
          tool('report_artifact', { type: 'file', path: 'report.txt' }),
          tool('report_artifact', { type: 'file', path: 'leak.txt' }),
          tool('ask_person', { question: 'Which colour?' }),
          { text: 'I wait.' },
        ]),
        config: {
          harness: { type: 'codex' },
          permission_policy: 'allow',
          idle_timeout_minutes: 0,
          worker_host: poolOf[host],
        },
        environment: { repos: [{ url: repository.url }] },
        attachments: [
          { file_name: 'spec.txt', mime_type: 'text/plain', data: Buffer.from('as told').toString('base64') },
        ],
      })
      const blocked = await stack.until(runId, 'BLOCKED')
      expect(blocked.questions).toMatchObject([{ title: 'Which colour?', options: [], free_text: true }])
      // What survives that, survives the rest: docs/artifacts.md.
      if (host === 'direct') for (const part of ['server', 'worker', 'host', 'gateway'] as const) await both.kill(part)
      const text = script(second, [tool('post_progress', { message: 'Blue it is' }), { text: 'Done.' }])
      const answer = await stack.call('POST', `/api/v1/agent/runs/${runId}/answers`, { text })
      expect(answer.status).toBe(200)
      const run = await stack.until(runId, 'SUCCEEDED')
      expect(run.execution).toBe(1)
      expect(stack.model.steps(second)).toEqual([0, 1])
      expect((await stack.model.waitForRequest(({ scriptId }) => scriptId === second)).history).toEqual([first, second])

      const events = await stack.events(runId)
      expect(events.filter(({ kind }) => kind === 'progress')).toMatchObject([{ data: { message: 'Blue it is' } }])
      const refused = events.filter(({ data }) => data.code === 'artifact_not_taken')
      expect(refused).toMatchObject([{ data: { message: expect.stringContaining('symbolic link') } }])
      expect(run.artifacts).toMatchObject([{ artifact_type: 'FILE', data: { filename: 'report.txt', size_bytes: 7 } }])
      const { body } = await stack.call<{ attachments: { download_url: string }[] }>(
        'GET',
        `/api/v1/agent/runs/${runId}/handoff/attachments`,
      )
      expect(await (await fetch(body.attachments[0]?.download_url ?? '')).text()).toBe('as told')
    })

    test('a command reaches the same tools with curl, or whatever it has', async () => {
      const program = `
        const call = (name, args) => fetch(process.env.AMBIENT_MCP_URL, {
          method: 'POST',
          headers: { authorization: 'Bearer ' + process.env.AMBIENT_MCP_TOKEN, 'content-type': 'application/json' },
          body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: args } }),
        })
        call('post_progress', { message: 'from a command' })
          .then(() => call('start_child_run', { prompt: 'say it', agent: 'codex' }))
          .then((answer) => answer.text()).then(console.log)`
      const node = host === 'docker' ? '/opt/ambient/node' : process.execPath
      const runId = await start('go', { harness: { type: 'command', command: [node, '-e', program] } })
      const run = await stack.until(runId, 'SUCCEEDED')
      const progress = (await stack.events(runId)).filter(({ kind }) => kind === 'progress')
      expect(progress).toMatchObject([{ data: { message: 'from a command' } }])
      expect(run.children).toHaveLength(1)
      await stack.call('POST', `/api/v1/agent/runs/${run.children[0]}/cancel`)
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
