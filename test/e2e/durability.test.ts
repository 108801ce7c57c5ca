// Kill -9 of any worker in the middle of a turn: the same agent goes on, every event is there once, no request is repeated.
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { EnvironmentItem } from '../../domain/environment.ts'
import { type BothHosts, type HostKind, hostKinds, poolOf, startBothHosts } from '../support/both-hosts.ts'
import { leftovers } from '../support/leftovers.ts'
import { script } from '../support/model-server.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import type { Part, Stack } from '../support/stack.ts'

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

const on = (host: HostKind) => ({ worker_host: poolOf[host], idle_timeout_minutes: 0 })
/** On both hosts at once: what is killed is killed under both. */
const onEach = <T>(act: (host: HostKind) => Promise<T>): Promise<T[]> => Promise.all(hostKinds.map(act))

async function ends(runId: string) {
  const { body } = await stack.call<{ events: { event_type: string }[] }>('GET', `/api/v1/agent/runs/${runId}/timeline`)
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
    const runs = await onEach(async (host) => {
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
        config: { ...on(host), harness: { type: 'codex' }, permission_policy: 'allow' },
        environment: { repos: [{ url: repository.url }] },
      })
      await stack.model.waitUntilHeld(gate)
      return { host, id, gate, runId }
    })
    await Promise.all(parts.map((part) => both.kill(part)))
    for (const { gate } of runs) stack.model.release(gate)

    for (const { host, id, runId } of runs) {
      const { request_usage: used } = await stack.until(runId, 'SUCCEEDED')
      expect(stack.model.steps(id), host).toEqual([0, 1, 2])
      // What it has cost is what the model's server has counted, whatever was killed.
      const own = stack.model.requests.filter(({ scriptId }) => scriptId === id)
      const counted = own.reduce((sum, { usage }) => sum + (usage ? usage.inputTokens + usage.outputTokens : 0), 0)
      expect(used?.total_tokens, host).toBe(counted)
      const events = await stack.events(runId)
      expect(
        events.map(({ sequence }) => sequence),
        host,
      ).toEqual(events.map((_, index) => index + 1))
      const text = events
        .filter(({ kind }) => kind === 'message')
        .map(({ data }) => data.text)
        .join('')
      for (const piece of ['First a command.', 'And another one.', 'The end.']) {
        expect(text.split(piece), host).toHaveLength(2)
      }
      for (const kind of ['prompt', 'turn_end'])
        expect(
          events.filter((event) => event.kind === kind),
          host,
        ).toHaveLength(1)
      const { body: diff } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
      expect(diff.match(/^\+once$/gm), host).toHaveLength(1)
      expect(await ends(runId), host).toHaveLength(1)
      expect(await leftovers(runId), host).toEqual([])
    }
  },
)

test('an agent that reaches only what its environment names outlives its host, and its run lists what was refused', async () => {
  const id = randomUUID()
  const gate = `middle of ${id}`
  const refused = 'curl -s -o /dev/null -w "%{http_code} " http://169.254.169.254/ https://evil.example/'
  const runId = await stack.start({
    prompt: script(id, [
      { text: 'Out of bounds.', shell: `${refused} > before.txt` },
      { text: 'Many small pieces. '.repeat(5), chunks: 40, waitFor: gate, shell: `${refused} > after.txt` },
      { text: 'The end.' },
    ]),
    config: { ...on('docker'), harness: { type: 'codex' }, permission_policy: 'allow' },
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
})

test('a build goes on when its host is killed, and runs start from what it made', async () => {
  const environments = '/api/v1/agent/environments'
  const { body: made } = await stack.call<EnvironmentItem>('POST', environments, {
    name: 'prepared',
    repos: [{ url: repository.url }],
    // The time in which the host is killed.
    setup_commands: ['echo begun; sleep 4; echo made >>"$HOME/made"; git rev-parse HEAD'],
  })
  const hostId = async (host: HostKind) => (await readFile(join(both.places[host].data, 'host-id'), 'utf8')).trim()
  // Without a word, those of the pool to which runs go that name none.
  await stack.call('POST', `${environments}/${made.uid}/builds`, { worker_id: await hostId('direct') })
  const newest = async (host: HostKind) => {
    const { body } = await stack.call<EnvironmentItem>('GET', `${environments}/${made.uid}`)
    const id = await hostId(host)
    return body.builds.find(({ worker_id: builder }) => builder === id)
  }
  const log = async (host: HostKind) => {
    const path = `${environments}/${made.uid}/builds/${(await newest(host))?.build_id}/log`
    return (await stack.call<{ lines?: { text: string }[] }>('GET', path)).body.lines?.map(({ text }) => text) ?? []
  }
  for (const host of hostKinds) await expect.poll(() => log(host), { message: host }).toContain('begun')
  await both.kill('host')
  for (const host of hostKinds) {
    await expect.poll(async () => (await newest(host))?.state, { timeout: 60_000, message: host }).toBe('READY')
    expect((await log(host)).filter((text) => text === 'begun')).toHaveLength(1)

    const runId = await stack.start({
      prompt: 'How often was it made?',
      config: {
        ...on(host),
        harness: { type: 'command', command: ['/bin/sh', '-c', 'cat "$HOME/made"; git status --short'] },
        environment_id: made.uid,
      },
    })
    await stack.until(runId, 'SUCCEEDED')
    const events = await stack.events(runId)
    expect(events.flatMap(({ kind, data }) => (kind === 'output' ? [data.text] : []))).toEqual(['made'])
    const said = events.flatMap(({ kind, data }) => (kind === 'setup' ? [String(data.text)] : []))
    expect(said).toEqual([expect.stringMatching(/^Started from the prepared environment/)])
    await expect.poll(async () => (await newest(host))?.used_at).not.toBe(null)
  }
  await stack.call('DELETE', `${environments}/${made.uid}`)
})

test('what a command says while Postgres and Temporal are killed is there once, and so is the end', async () => {
  const lines = Array.from({ length: 120 }, (_, index) => `line ${index + 1}`)
  const command = ['sh', '-c', `for i in $(seq 120); do echo line $i; sleep 0.05; done`]
  const runs = await onEach((host) =>
    stack.start({ prompt: 'count', config: { ...on(host), harness: { type: 'command', command } } }),
  )
  const saying = (text: string) =>
    Promise.all(
      runs.map((runId) => stack.untilEvent(runId, ({ kind, data }) => kind === 'output' && data.text === text)),
    )
  await saying('line 20')
  await stack.kill('postgres')
  await saying('line 60')
  await stack.kill('temporal')

  for (const runId of runs) {
    await stack.until(runId, 'SUCCEEDED')
    const events = await stack.events(runId)
    expect(events.map(({ sequence }) => sequence)).toEqual(events.map((_, index) => index + 1))
    expect(events.filter(({ kind }) => kind === 'output').map(({ data }) => data.text)).toEqual(lines)
    expect(await ends(runId)).toHaveLength(1)
    expect(await leftovers(runId)).toEqual([])
  }
})

test('a question outlives kill -9 of everything that watches, and its answer reaches the same agent', async () => {
  const runs = await onEach(async (host) => {
    const id = randomUUID()
    const runId = await stack.start({
      prompt: script(id, [{ text: 'May I?', shell: 'echo allowed > allowed.txt' }, { text: 'Thank you.' }]),
      config: { ...on(host), harness: { type: 'codex' }, permission_policy: 'ask' },
      environment: { repos: [{ url: repository.url }] },
    })
    await stack.until(runId, 'BLOCKED')
    return { id, runId }
  })
  await Promise.all((['host', 'worker', 'server'] as const).map((part) => both.kill(part)))
  for (const { runId } of runs) {
    const { status } = await stack.call('POST', `/api/v1/agent/runs/${runId}/answers`, { option_id: 'allow' })
    expect(status).toBe(200)
  }
  for (const { id, runId } of runs) {
    await stack.until(runId, 'SUCCEEDED')
    expect(stack.model.steps(id)).toEqual([0, 1])
    const { body: diff } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
    expect(diff).toContain('+allowed')
  }
})

test('a set-up command outlives the host worker, and is not run again', async () => {
  const runs = await onEach(async (host) => {
    const runId = await stack.start({
      prompt: 'count',
      config: { ...on(host), harness: { type: 'command', command: ['cat', 'count.txt'] } },
      environment: {
        repos: [{ url: repository.url }],
        setup_commands: ['echo once >> count.txt; echo begun; sleep 4; echo over'],
      },
    })
    await stack.untilEvent(runId, ({ kind, data }) => kind === 'setup' && data.text === 'begun')
    return runId
  })
  await both.kill('host')
  for (const runId of runs) {
    await stack.until(runId, 'SUCCEEDED')
    const events = await stack.events(runId)
    expect(events.filter(({ kind }) => kind === 'output').map(({ data }) => data.text)).toEqual(['once'])
    expect(events.filter(({ kind, data }) => kind === 'setup' && data.text === 'begun')).toHaveLength(1)
  }
})
