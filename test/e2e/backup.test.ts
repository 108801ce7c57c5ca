// What docs/operations.md says of a backup, done: runs that had ended, waited, and were at work, on a machine that has only the copy.
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../../config.ts'
import type { RunEvent } from '../../domain/event.ts'
import type { RunState } from '../../domain/state.ts'
import type { VaultState } from '../../domain/vault/vault-state.ts'
import { AGENT_CACHE } from '../support/caches.ts'
import { script } from '../support/model-server.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import { endKeptSandboxes, type Stack, startStack } from '../support/stack.ts'

let stack: Stack
let repository: SampleRepository
let elsewhere: string

beforeAll(async () => {
  repository = await sampleRepository()
  elsewhere = await mkdtemp(join(tmpdir(), 'ambient-backup-'))
  // Room for the one that asks and the one that works: others wait in line.
  stack = await startStack({ host: 'direct', env: { AMBIENT_CAPACITY: '2' } })
})

afterAll(async () => {
  await stack?.stop()
  await repository?.remove()
  await rm(elsewhere, { recursive: true, force: true })
})

/** One run of each kind: over, waiting for a person, at work, waiting in line. */
async function givenRuns() {
  const config = { harness: { type: 'codex' }, idle_timeout_minutes: 0 }
  const environment = { repos: [{ url: repository.url }] }
  const ended = await stack.start({
    prompt: script(randomUUID(), [{ text: 'I write.', shell: 'echo one > one.txt' }, { text: 'Done.' }]),
    config: { ...config, permission_policy: 'allow' },
    environment,
  })
  await stack.until(ended, 'SUCCEEDED')
  const asking = await stack.start({
    prompt: script(randomUUID(), [{ text: 'May I?', shell: 'echo allowed > allowed.txt' }, { text: 'Thank you.' }]),
    config: { ...config, permission_policy: 'ask' },
    environment,
  })
  await stack.until(asking, 'BLOCKED')
  const gate = join(elsewhere, randomUUID())
  const working = await stack.start({
    prompt: 'work',
    config: {
      harness: {
        type: 'command',
        command: ['sh', '-c', `echo begun; while [ ! -e '${gate}' ]; do sleep 0.1; done; echo over`],
      },
      idle_timeout_minutes: 0,
    },
  })
  await stack.untilEvent(working, ({ kind, data }) => kind === 'output' && data.text === 'begun')
  const waiting = await stack.start({
    prompt: 'wait',
    config: { harness: { type: 'command', command: ['echo', 'my turn'] }, idle_timeout_minutes: 0 },
  })
  await stack.untilEvent(waiting, ({ data }) => String(data.message).startsWith('Place'))
  return { ended, asking, working, waiting, openGate: () => execa('touch', [gate]) }
}

/** All that a reader gets to see of a run. */
const seen = async (runId: string) => ({
  events: await stack.events(runId),
  diff: (await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)).body,
})

const output = (events: RunEvent[]) => events.filter(({ kind }) => kind === 'output').map(({ data }) => data.text)

async function followUp(runId: string, shell: string, until: RunState = 'SUCCEEDED'): Promise<string> {
  const message = script(randomUUID(), [{ text: 'I go on.', shell }, { text: 'Done again.' }])
  const { status } = await stack.call('POST', `/api/v1/agent/runs/${runId}/followups`, { message })
  expect(status).toBe(200)
  await stack.until(runId, until, { execution: 2 })
  return (await seen(runId)).diff
}

/** One sequence without holes, one terminal event for each execution that has ended. */
async function isWhole(runId: string, ends: number): Promise<RunEvent[]> {
  const events = await stack.events(runId)
  expect(events.map(({ sequence }) => sequence)).toEqual(events.map((_, index) => index + 1))
  const { body } = await stack.call<{ events: { event_type: string }[] }>('GET', `/api/v1/agent/runs/${runId}/timeline`)
  const over = body.events.filter(({ event_type: type }) => /^oz_run_(done|failed|errored|cancelled)$/.test(type))
  expect(over).toHaveLength(ends)
  return events
}

/** What the page says to type: how the data directory of `npm start` is backed up, and restored. */
async function recipes(): Promise<string[]> {
  const page = await readFile(join(root, 'docs', 'operations.md'), 'utf8')
  const found = [...page.matchAll(/^```sh\n(.+?)^```$/gms)].map(([, lines = '']) => lines)
  const ours = found.filter((lines) => lines.includes('"$COPY"'))
  expect(ours).toHaveLength(2)
  return ours
}

test('a data directory that was copied while all was stopped goes on where it was, on a machine that has nothing else', async () => {
  const { ended, asking, working, waiting, openGate } = await givenRuns()
  const before = await seen(ended)
  await stack.call('POST', '/api/v1/agent/secrets', { name: 'DEPLOY_KEY', value: 'kept-over-the-restore' })
  const vault = async () => (await stack.call<VaultState>('GET', '/api/v1/agent/vault')).body
  const { keys: vaultKeys } = await vault()

  await stack.end('SIGTERM')
  const copy = join(elsewhere, 'ambient.tar.gz')
  const keys = join(elsewhere, 'keys')
  await mkdir(keys)
  const place = { AMBIENT_DATA: stack.data, COPY: copy, KEYS: keys }
  const [backUp = '', restore = ''] = await recipes()
  await execa('sh', ['-euc', backUp], { env: place })
  const copied = (await execa('tar', ['-tzf', copy])).stdout.split('\n')
  expect(copied).toContain('./admin-key')
  // With the vault's key beside it, a copy would tell all that is kept secret.
  expect(copied.filter((name) => /vault-key|^\.\/(agents|bin|cache)\b/.test(name))).toEqual([])
  // The machine is lost, with the agents that were still at work on it.
  await endKeptSandboxes(stack.data)
  await rm(stack.data, { recursive: true, force: true })

  await execa('sh', ['-euc', restore], { env: place })
  await symlink(AGENT_CACHE, join(stack.data, 'agents'))
  await stack.startAgain()

  expect(await seen(ended)).toEqual(before)
  // What was sealed can be opened.
  expect(await vault()).toMatchObject({ trouble: null, keys: vaultKeys, sealed: [{ is_here: true }] })
  // Its question is open still, and the answer is told to an agent that has the session.
  expect(await stack.item(asking)).toMatchObject({ state: 'BLOCKED', questions: [{ title: expect.any(String) }] })
  await stack.call('POST', `/api/v1/agent/runs/${asking}/answers`, { option_id: 'allow' })
  await stack.until(asking, 'SUCCEEDED')
  expect(JSON.stringify(await isWhole(asking, 1))).toContain('Thank you.')

  // What was at work is begun again in another sandbox, and says so.
  await openGate()
  await stack.until(working, 'SUCCEEDED')
  const worked = await isWhole(working, 1)
  expect(output(worked)).toEqual(['begun', 'begun', 'over'])
  expect(JSON.stringify(worked)).toContain('The sandbox is lost.')

  await stack.until(waiting, 'SUCCEEDED')
  expect(output(await isWhole(waiting, 1))).toEqual(['my turn'])

  // In the kept workspace, with the agent's session.
  const diff = await followUp(ended, 'echo two > two.txt')
  expect(diff).toContain('+one')
  expect(diff).toContain('+two')
  const warnings = (await isWhole(ended, 2)).filter(({ kind }) => kind === 'warning')
  expect(warnings).toEqual([])
})

test('with Postgres alone, no ended run and no schedule is lost, those in line begin anew, and those at work end and say why', async () => {
  const { ended, asking, working, waiting } = await givenRuns()
  const before = await seen(ended)
  const schedules = '/api/v1/agent/schedules'
  const { body: schedule } = await stack.call<{ id: string }>('POST', schedules, {
    ...{ name: 'yearly', cron_schedule: '0 9 1 1 *', prompt: 'Look' },
    agent_config: { harness: { type: 'command', command: ['echo', 'a new year'] }, idle_timeout_minutes: 0 },
  })
  const next = async () =>
    (await stack.call<{ times: string[] }>('GET', `${schedules}/${schedule.id}/upcoming`)).body.times
  const times = await next()
  expect(times).toHaveLength(10)

  await stack.end('SIGTERM')
  await rm(join(stack.data, 'temporal'), { recursive: true })
  await stack.startAgain()

  expect(await seen(ended)).toEqual(before)
  for (const runId of [asking, working]) {
    await stack.until(runId, 'CANCELLED')
    expect(await stack.item(runId)).toMatchObject({
      status_message: { message: expect.stringContaining('Temporal no longer knows what this run was at') },
      questions: [],
    })
    await isWhole(runId, 1)
  }
  // Their places are free.
  await stack.until(waiting, 'SUCCEEDED')
  expect(output(await isWhole(waiting, 1))).toEqual(['my turn'])
  // Its clock is made again from Postgres.
  expect(await next()).toEqual(times)
  const { body: now } = await stack.call<{ run_id: string }>('POST', `${schedules}/${schedule.id}/run`)
  await stack.until(now.run_id, 'SUCCEEDED')

  const diff = await followUp(ended, 'echo two > two.txt')
  expect(diff).toContain('+one')
  expect(diff).toContain('+two')
  // It asks before it acts, now as then.
  await followUp(asking, 'echo three > three.txt', 'BLOCKED')
  await stack.call('POST', `/api/v1/agent/runs/${asking}/answers`, { option_id: 'allow' })
  await stack.until(asking, 'SUCCEEDED', { execution: 2 })
  expect((await seen(asking)).diff).toContain('+three')
})
