// What is asked wrongly is refused or fails with its reason; no run is stuck, nothing is left behind.
import { randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type BothHosts, type HostKind, hostKinds, poolOf, startBothHosts } from '../support/both-hosts.ts'
import { leftovers } from '../support/leftovers.ts'
import { script } from '../support/model-server.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import type { Stack } from '../support/stack.ts'

let both: BothHosts
let stack: Stack
let repository: SampleRepository
/** Agents try a model in trouble many times: the other tests need not wait for that. */
let inTrouble: Record<HostKind, { refused: string; down: string }>

beforeAll(async () => {
  repository = await sampleRepository()
  both = await startBothHosts()
  stack = both.stack
  const talk = (host: HostKind, status: number) =>
    stack.start({
      prompt: script(randomUUID(), [{ error: status }]),
      config: {
        harness: { type: 'codex' },
        permission_policy: 'allow',
        idle_timeout_minutes: 0,
        worker_host: poolOf[host],
      },
    })
  const on = async (host: HostKind) => ({ refused: await talk(host, 401), down: await talk(host, 500) })
  inTrouble = { direct: await on('direct'), docker: await on('docker') }
})

afterAll(async () => {
  await both?.stop()
  await repository?.remove()
})

const refused = [
  ['no prompt', {}, 'prompt'],
  ['an empty prompt', { prompt: '  ' }, 'prompt'],
  ['an unknown agent', { prompt: 'x', config: { harness: { type: 'nobody' } } }, 'harness'],
  ['a command agent without a command', { prompt: 'x', config: { harness: { type: 'command' } } }, 'command'],
  ['a git URL that runs a program', { prompt: 'x', environment: { repos: [{ url: 'ext::sh -c id' }] } }, 'url'],
  [
    'a path out of the workspace',
    { prompt: 'x', environment: { repos: [{ url: 'https://example.com/a.git', path: '../a' }] } },
    'path',
  ],
  ['a prompt of 3 MB', { prompt: 'x'.repeat(3_000_000) }, 'prompt'],
] as const
test.each(refused)('%s is refused, and the answer names the field', async (_, body, field) => {
  const answer = await stack.call<{ status: number; error: string }>('POST', '/api/v1/agent/runs', body)
  expect(answer.status).toBe(400)
  expect(answer.headers.get('content-type')).toContain('application/problem+json')
  expect(JSON.stringify(answer.body)).toContain(field)
})

for (const host of hostKinds) {
  describe(`on the ${host} host`, () => {
    const command = (...command: string[]) => ({
      harness: { type: 'command', command },
      idle_timeout_minutes: 0,
      worker_host: poolOf[host],
    })

    const failing = [
      [
        'a repository that is not there',
        { environment: { repos: [{ url: 'file:///nowhere/at/all.git' }] } },
        'repository_unreachable',
        'workspace',
      ],
      [
        'a set-up command that fails',
        { environment: { setup_commands: ['echo this went wrong >&2; exit 3'] } },
        'setup_command_failed',
        'setup',
      ],
      ...(host === 'docker'
        ? [
            [
              'an image that does not exist',
              { environment: { image: 'no-such-image:none' } },
              'image_not_found',
              'workspace',
            ] as const,
          ]
        : []),
      ['a command that fails', { config: command('sh', '-c', 'echo it broke >&2; exit 9') }, 'command_failed', 'turn'],
      ['a program that is not there', { config: command('no-such-program') }, 'command_failed', 'turn'],
    ] as const
    test.each(failing)('%s ends the run as FAILED, and says so', async (_, body, code, phase) => {
      const runId = await stack.start({ prompt: 'try', config: command('true'), ...body })
      const run = await stack.until(runId, 'FAILED')
      expect(run.failure).toMatchObject({ code, phase })
      expect(run.failure?.message).not.toBe('')
      if (code === 'setup_command_failed') {
        expect(run.failure).toMatchObject({ exit_code: 3 })
        expect(run.failure?.log_tail).toContain('this went wrong')
      }
      if (phase !== 'turn') await expect.poll(() => readdir(join(both.places[host].data, 'runs'))).not.toContain(runId)
      await expect.poll(() => leftovers(runId)).toEqual([])
    })

    test('a ref that the repository does not have is named', async () => {
      const runId = await stack.start({
        prompt: 'x',
        config: command('true'),
        environment: { repos: [{ url: repository.url, ref: 'no-such-ref' }] },
      })
      expect((await stack.until(runId, 'FAILED')).failure).toMatchObject({ code: 'ref_not_found' })
    })

    test('a prompt of 1 MB reaches the agent whole', async () => {
      const runId = await stack.start({ prompt: 'y'.repeat(1_000_000), config: command('wc', '-c') })
      await stack.until(runId, 'SUCCEEDED')
      const lines = (await stack.events(runId)).filter(({ kind }) => kind === 'output').map(({ data }) => data.text)
      expect(lines.join('').trim()).toBe('1000000')
    })

    test('a line of 20 MB is kept up to the limit, and the rest is counted', async () => {
      const runId = await stack.start({
        prompt: 'x',
        config: command('sh', '-c', "head -c 20000000 /dev/zero | tr '\\0' a; echo; echo after"),
      })
      await stack.until(runId, 'SUCCEEDED')
      const lines = (await stack.events(runId)).filter(({ kind }) => kind === 'output')
      expect(lines).toHaveLength(2)
      const [long, after] = lines
      expect(String(long?.data.text).length + Number(long?.data.truncated_chars)).toBe(20_000_000)
      expect(after?.data.text).toBe('after')
    })

    test('invalid UTF-8 and NUL characters are stored as replacements', async () => {
      const runId = await stack.start({ prompt: 'x', config: command('printf', 'a\\377b\\000c\\n') })
      await stack.until(runId, 'SUCCEEDED')
      const [line] = (await stack.events(runId)).filter(({ kind }) => kind === 'output')
      expect(line?.data.text).toBe('a\uFFFDb\uFFFDc')
    })

    test('a model that refuses the key ends the run, and the reason is told', async () => {
      const { failure } = await stack.until(inTrouble[host].refused, 'FAILED')
      expect(failure).toMatchObject({ code: 'model_unauthorized', phase: 'turn' })
    })

    test("a model that is down ends the run as the platform's failure, though the agent calls it a normal end", async () => {
      const { failure } = await stack.until(inTrouble[host].down, 'ERROR')
      expect(failure).toMatchObject({ code: 'model_unavailable', phase: 'turn' })
    })
  })
}
