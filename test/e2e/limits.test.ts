// What one run may take, by the server's word or its own; at the limit nothing is lost that was there.
import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BuildItem, EnvironmentItem } from '../../domain/environment.ts'
import { type BothHosts, hostKinds, poolOf, startBothHosts } from '../support/both-hosts.ts'
import { leftovers } from '../support/leftovers.ts'
import { script } from '../support/model-server.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import type { Stack } from '../support/stack.ts'

const MiB = 1024 ** 2

let both: BothHosts
let stack: Stack
let repository: SampleRepository
let slow: string
let renewed: Promise<BuildItem[]>

beforeAll(async () => {
  repository = await sampleRepository()
  const settings = { AMBIENT_TRANSCRIPT_MB: '2', AMBIENT_QUESTION_MINUTES: '0.02', AMBIENT_PUSH_CHECK_MINUTES: '0.02' }
  both = await startBothHosts(settings)
  stack = both.stack
  renewed = Promise.all([renewedBuild('age', { rebuild_hours: 0.001 }), renewedBuild('push', { rebuild_hours: 0 })])
  renewed.catch(() => {}) // Heard in its test.
  // Its end is a minute away: the other tests need not wait for it. On one host, for it is the workflow's own affair.
  const command = ['sh', '-c', 'setsid sleep 987 & sleep 987']
  slow = await start({ harness: { type: 'command', command }, max_turn_minutes: 1, worker_host: poolOf.direct })
})

afterAll(async () => {
  await both?.stop()
  await repository?.remove()
})

const start = (config: object, prompt = 'x') =>
  stack.start({
    prompt,
    config: { permission_policy: 'allow', idle_timeout_minutes: 0, ...config },
    environment: { repos: [{ url: repository.url, path: 'project' }] },
  })

describe.each(hostKinds)('on the %s host', (host) => {
  const startHere = (config: object, prompt?: string) => start({ worker_host: poolOf[host], ...config }, prompt)

  async function expectFull(runId: string, maxMiB: number): Promise<void> {
    const run = await stack.until(runId, 'FAILED')
    expect(run.failure).toMatchObject({
      code: 'transcript_limit',
      phase: 'turn',
      message: expect.stringContaining(`${maxMiB} MiB`),
      next_step: expect.stringContaining('AMBIENT_TRANSCRIPT_MB'),
      retryable: false,
    })
    const events = await stack.events(runId)
    expect(events.map(({ sequence }) => sequence)).toEqual(events.map((_, index) => index + 1))
    const bytes = JSON.stringify(events.map(({ data }) => data)).length
    expect(bytes).toBeGreaterThan(0.8 * maxMiB * MiB)
    // What was on its way when the limit was reached is kept, too.
    expect(bytes).toBeLessThan(maxMiB * MiB + 24 * MiB)
    expect(run.execution).toBe(1)
    const { body: diff } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
    expect(diff).toContain('+kept')
    expect(await leftovers(runId)).toEqual([])
  }

  /** Lines of a kilobyte, without end. */
  const flood = 'echo kept >work.txt; exec yes "$(head -c 1000 /dev/zero | tr "\\0" x)"'

  test("a command that floods its transcript ends at the server's limit, and its work is kept", async () => {
    const runId = await startHere({ harness: { type: 'command', command: ['sh', '-c', flood] } })
    await expectFull(runId, 2)
    // A transcript that is full stays so: a follow-up says the same at once.
    await stack.call('POST', `/api/v1/agent/runs/${runId}/followups`, { message: 'go on' })
    await stack.until(runId, 'QUEUED')
    const again = await stack.until(runId, 'FAILED', { execution: 2 })
    expect(again.failure).toMatchObject({ code: 'transcript_limit' })
  })

  test('an agent that talks too much is stopped at the limit of its own run', async () => {
    const id = randomUUID()
    const said = script(id, [
      { text: 'I begin.', shell: 'echo kept >work.txt' },
      { chunks: 30_000, waitFor: id },
    ])
    const runId = await startHere({ harness: { type: 'codex' }, max_transcript_mb: 1 }, said)
    await expectFull(runId, 1)
    expect((await stack.item(runId)).agent_config).toMatchObject({ max_transcript_mb: 1 })
  })

  test('a run that fills the disk ends at its limit, and a follow-up can clear it, however long that takes', async () => {
    const command = ['sh', '-c', 'sh -c "$0"', '{prompt}']
    const runId = await startHere(
      { harness: { type: 'command', command }, max_disk_gb: 0.02 },
      'head -c 25000000 /dev/urandom >large; sleep 987',
    )
    const run = await stack.until(runId, 'FAILED')
    expect(run.failure).toMatchObject({
      code: 'disk_limit',
      phase: 'turn',
      message: expect.stringMatching(/takes 0\.03 GiB of the disk; it may take 0\.02 GiB/),
      next_step: expect.stringContaining('AMBIENT_DISK_GB'),
    })
    expect(run.execution).toBe(1)
    expect(await leftovers(runId)).toEqual([])
    await stack.call('POST', `/api/v1/agent/runs/${runId}/followups`, { message: 'sleep 7; rm large' })
    await stack.until(runId, 'SUCCEEDED', { execution: 2 })
  })
})

test('a question that waits for too long gives its sandbox up, and the answer is told in another one, whatever dies meanwhile', async () => {
  const shell = 'echo touched >> touched.txt'
  const runs = await Promise.all(
    hostKinds.map(async (host) => {
      const id = randomUUID()
      const said = script(id, [{ text: 'May I?', shell }, { text: 'As I said.', shell }, { text: 'Thank you.' }])
      const config = { harness: { type: 'codex' }, permission_policy: 'ask', worker_host: poolOf[host] }
      const runId = await start(config, said)
      await stack.until(runId, 'BLOCKED')
      await expect.poll(() => leftovers(runId), { message: host }).toEqual([])
      return { host, id, runId }
    }),
  )
  const parts = ['host', 'worker', 'server', 'gateway', 'postgres', 'temporal'] as const
  await Promise.all(parts.map((part) => both.kill(part)))

  for (const { host, id, runId } of runs) {
    expect(await stack.item(runId), host).toMatchObject({ state: 'BLOCKED', execution: 1, is_sandbox_running: false })
    const answer = await stack.call('POST', `/api/v1/agent/runs/${runId}/answers`, { option_id: 'allow' })
    expect(answer.status, host).toBe(200)
    expect((await stack.until(runId, 'SUCCEEDED')).execution, host).toBe(2)
    expect(stack.model.steps(id), host).toEqual([0, 1, 2])
    const told = await stack.model.waitForRequest(({ scriptId, step }) => scriptId === id && step === 1)
    const { conversation } = told.request
    expect(conversation.at(-1), host).toMatchObject({
      role: 'user',
      text: expect.stringContaining(`You had asked: ${shell}\n\nThe answer is: Yes, proceed`),
    })
    expect(JSON.stringify(conversation), host).not.toMatch(/reject|denied|declined/i)
    // Asked again, it is answered by that.
    const questions = (await stack.events(runId)).filter(({ kind }) => kind === 'question')
    expect(questions, host).toHaveLength(1)
    const { body: diff } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
    expect(diff.match(/^\+touched$/gm), host).toHaveLength(1)
    expect(await leftovers(runId), host).toEqual([])
  }
})

/** The build that follows by itself on the one of a new environment, which a run has used. */
async function renewedBuild(reason: BuildItem['reason'], fields: object): Promise<BuildItem> {
  const { url, path, git, remove } = await sampleRepository()
  try {
    const environments = '/api/v1/agent/environments'
    const body = { name: reason, repos: [{ url }], setup_commands: ['true'], setup_inputs: ['*.lock'], ...fields }
    const { body: made } = await stack.call<EnvironmentItem>('POST', environments, body)
    const ready = async (wanted: (build: BuildItem) => boolean) => {
      const { builds } = (await stack.call<EnvironmentItem>('GET', `${environments}/${made.uid}`)).body
      return builds.find((build) => build.state === 'READY' && wanted(build)) ?? null
    }
    await expect.poll(() => ready(() => true), { timeout: 60_000 }).not.toBeNull()
    const config = {
      harness: { type: 'command', command: ['true'] },
      worker_host: poolOf.docker,
      environment_id: made.uid,
    }
    await stack.until(await stack.start({ prompt: 'x', config: { ...config, idle_timeout_minutes: 0 } }), 'SUCCEEDED')
    if (reason === 'push') {
      await writeFile(join(path, 'all.lock'), 'new')
      await git('add', '.')
      await git('commit', '--quiet', '--message', 'Other packages')
    }
    await expect.poll(() => ready((build) => build.reason === reason), { timeout: 150_000 }).not.toBeNull()
    return (await ready((build) => build.reason === reason)) as BuildItem
  } finally {
    await remove()
  }
}

test('an environment that is used is built again by itself: when it is old, and when what its set-up depends on is pushed', async () => {
  const builds = await renewed
  expect(builds.map(({ reason, state }) => [reason, state])).toEqual([
    ['age', 'READY'],
    ['push', 'READY'],
  ])
})

test('a turn that takes longer than its run allows is ended', async () => {
  const run = await stack.until(slow, 'FAILED')
  expect(run.failure).toMatchObject({ code: 'time_limit', phase: 'turn' })
  expect(run.failure?.next_step).toContain('max_turn_minutes')
  expect(await leftovers(slow)).toEqual([])
})
