// Kill -9 of any worker in the middle of a turn: the same agent goes on, every event is there once, no request is repeated.
import { randomUUID } from 'node:crypto'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { EnvironmentItem } from '../../domain/environment.ts'
import { leftovers } from '../support/leftovers.ts'
import { script } from '../support/model-server.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import { type Part, type Stack, startStack } from '../support/stack.ts'

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

    async function ends(runId: string) {
      const { body } = await stack.call<{ events: { event_type: string }[] }>(
        'GET',
        `/api/v1/agent/runs/${runId}/timeline`,
      )
      return body.events.filter(({ event_type: type }) => /^oz_run_(done|failed|errored|cancelled)$/.test(type))
    }

    const ours: Part[] = ['host', 'worker', 'server']
    const cases: Part[][] = [
      ...ours.map((part) => [part]),
      ['postgres'],
      ['temporal'],
      ours,
      // But the gateway, with which the model's answer would break off.
      [...ours, 'postgres', 'temporal'],
    ]
    test.each(cases.map((parts) => [parts.join(', '), parts] as const))(
      'a turn outlives kill -9 of: %s',
      async (_, parts) => {
        const id = randomUUID()
        const gate = `middle of ${id}`
        const runId = await stack.start({
          prompt: script(id, [
            { text: 'First a command.', shell: 'echo "pid of the agent: $PPID"; echo once >> count.txt' },
            {
              text: `${'Many small pieces. '.repeat(5)}And another one.`,
              chunks: 40,
              waitFor: gate,
              shell: 'cat count.txt',
            },
            { text: 'The end.' },
          ]),
          config: { harness: { type: 'codex' }, permission_policy: 'allow', idle_timeout_minutes: 0 },
          environment: { repos: [{ url: repository.url }] },
        })
        await stack.model.waitUntilHeld(gate)
        await Promise.all(parts.map((part) => stack.kill(part)))
        stack.model.release(gate)
        await stack.until(runId, 'SUCCEEDED')

        expect(stack.model.steps(id)).toEqual([0, 1, 2])
        const events = await stack.events(runId)
        expect(events.map(({ sequence }) => sequence)).toEqual(events.map((_, index) => index + 1))
        const text = events
          .filter(({ kind }) => kind === 'message')
          .map(({ data }) => data.text)
          .join('')
        for (const piece of ['First a command.', 'And another one.', 'The end.']) {
          expect(text.split(piece)).toHaveLength(2)
        }
        expect(events.filter(({ kind }) => kind === 'prompt')).toHaveLength(1)
        expect(events.filter(({ kind }) => kind === 'turn_end')).toHaveLength(1)
        const { body: diff } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
        expect(diff.match(/^\+once$/gm)).toHaveLength(1)
        expect(await ends(runId)).toHaveLength(1)
        expect(await leftovers(runId)).toEqual([])
      },
    )

    test.runIf(host === 'docker')(
      'an agent that reaches only what its environment names outlives its host, and its run lists what was refused',
      async () => {
        const id = randomUUID()
        const gate = `middle of ${id}`
        const refused = 'curl -s -o /dev/null -w "%{http_code} " http://169.254.169.254/ https://evil.example/'
        const runId = await stack.start({
          prompt: script(id, [
            { text: 'Out of bounds.', shell: `${refused} > before.txt` },
            { text: 'Many small pieces. '.repeat(5), chunks: 40, waitFor: gate, shell: `${refused} > after.txt` },
            { text: 'The end.' },
          ]),
          config: { harness: { type: 'codex' }, permission_policy: 'allow', idle_timeout_minutes: 0 },
          environment: { repos: [{ url: repository.url }], egress: { allow: ['registry.example.org'] } },
        })
        await stack.model.waitUntilHeld(gate)
        // It is told while the run goes on.
        await stack.untilEvent(runId, ({ data }) => data.code === 'egress_blocked' && data.host === 'evil.example')
        await stack.kill('host')
        stack.model.release(gate)
        const run = await stack.until(runId, 'SUCCEEDED')

        // The answer that was on its way came through: no request was repeated.
        expect(stack.model.steps(id)).toEqual([0, 1, 2])
        const { body: diff } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
        expect(diff.match(/^\+403 000/gm)).toHaveLength(2)
        expect(run.blocked_hosts.map(({ host: name, port, count }) => [name, port, count])).toEqual([
          ['169.254.169.254', 80, 2],
          ['evil.example', 443, 2],
        ])
        const events = await stack.events(runId)
        const warnings = events.filter(({ data }) => data.code === 'egress_blocked').map(({ data }) => data.host)
        expect(warnings).toEqual(['169.254.169.254', 'evil.example'])
        expect(await leftovers(runId)).toEqual([])
        const proxies = await execa('docker', ['ps', '-aq', '--filter', `volume=${stack.data}/runs/.egress`])
        expect(proxies.stdout).toBe('')
      },
    )

    test('a build goes on when its host is killed, and runs start from what it made', async () => {
      const environments = '/api/v1/agent/environments'
      const { body: made } = await stack.call<EnvironmentItem>('POST', environments, {
        name: 'prepared',
        repos: [{ url: repository.url }],
        // The time in which the host is killed.
        setup_commands: ['echo begun; sleep 3; echo made >>"$HOME/made"; git rev-parse HEAD'],
      })
      const newest = async () =>
        (await stack.call<EnvironmentItem>('GET', `${environments}/${made.uid}`)).body.builds[0]
      const log = async () => {
        const path = `${environments}/${made.uid}/builds/${(await newest())?.build_id}/log`
        return (await stack.call<{ lines?: { text: string }[] }>('GET', path)).body.lines?.map(({ text }) => text) ?? []
      }
      await expect.poll(log).toContain('begun')
      await stack.kill('host')
      await expect.poll(async () => (await newest())?.state, { timeout: 60_000 }).toBe('READY')
      expect((await log()).filter((text) => text === 'begun')).toHaveLength(1)

      const runId = await stack.start({
        prompt: 'How often was it made?',
        config: {
          harness: { type: 'command', command: ['/bin/sh', '-c', 'cat "$HOME/made"; git status --short'] },
          environment_id: made.uid,
          idle_timeout_minutes: 0,
        },
      })
      await stack.until(runId, 'SUCCEEDED')
      const events = await stack.events(runId)
      expect(events.flatMap(({ kind, data }) => (kind === 'output' ? [data.text] : []))).toEqual(['made'])
      const said = events.flatMap(({ kind, data }) => (kind === 'setup' ? [String(data.text)] : []))
      expect(said).toEqual([expect.stringMatching(/^Started from the prepared environment/)])
      await expect.poll(async () => (await newest())?.used_at).not.toBe(null)
      await stack.call('DELETE', `${environments}/${made.uid}`)
    })

    test('what a command says while Postgres and Temporal are killed is there once, and so is the end', async () => {
      const lines = Array.from({ length: 120 }, (_, index) => `line ${index + 1}`)
      const runId = await stack.start({
        prompt: 'count',
        config: {
          harness: { type: 'command', command: ['sh', '-c', `for i in $(seq 120); do echo line $i; sleep 0.05; done`] },
          idle_timeout_minutes: 0,
        },
      })
      const saying = (text: string) =>
        stack.untilEvent(runId, ({ kind, data }) => kind === 'output' && data.text === text)
      await saying('line 20')
      await stack.kill('postgres')
      await saying('line 60')
      await stack.kill('temporal')
      await stack.until(runId, 'SUCCEEDED')

      const events = await stack.events(runId)
      expect(events.map(({ sequence }) => sequence)).toEqual(events.map((_, index) => index + 1))
      expect(events.filter(({ kind }) => kind === 'output').map(({ data }) => data.text)).toEqual(lines)
      expect(await ends(runId)).toHaveLength(1)
      expect(await leftovers(runId)).toEqual([])
    })

    test('a question outlives kill -9 of everything that watches, and its answer reaches the same agent', async () => {
      const id = randomUUID()
      const runId = await stack.start({
        prompt: script(id, [{ text: 'May I?', shell: 'echo allowed > allowed.txt' }, { text: 'Thank you.' }]),
        config: { harness: { type: 'codex' }, permission_policy: 'ask', idle_timeout_minutes: 0 },
        environment: { repos: [{ url: repository.url }] },
      })
      await stack.until(runId, 'BLOCKED')
      await Promise.all((['host', 'worker', 'server'] as const).map((part) => stack.kill(part)))
      const { status } = await stack.call('POST', `/api/v1/agent/runs/${runId}/answers`, { option_id: 'allow' })
      expect(status).toBe(200)
      await stack.until(runId, 'SUCCEEDED')
      expect(stack.model.steps(id)).toEqual([0, 1])
      const { body: diff } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
      expect(diff).toContain('+allowed')
    })

    test('a set-up command outlives the host worker, and is not run again', async () => {
      const runId = await stack.start({
        prompt: 'count',
        config: { harness: { type: 'command', command: ['cat', 'count.txt'] }, idle_timeout_minutes: 0 },
        environment: {
          repos: [{ url: repository.url }],
          setup_commands: ['echo once >> count.txt; echo begun; sleep 3; echo over'],
        },
      })
      await stack.untilEvent(runId, ({ kind, data }) => kind === 'setup' && data.text === 'begun')
      await stack.kill('host')
      await stack.until(runId, 'SUCCEEDED')
      const events = await stack.events(runId)
      expect(events.filter(({ kind }) => kind === 'output').map(({ data }) => data.text)).toEqual(['once'])
      expect(events.filter(({ kind, data }) => kind === 'setup' && data.text === 'begun')).toHaveLength(1)
    })
  })
}
