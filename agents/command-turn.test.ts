import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Journal } from '../domain/journal.ts'
import { AgentStuckError } from './acp/failures.ts'
import { type LocalProcess, startProcess } from './acp/testing/local-process.ts'
import { memoryTranscript } from './acp/testing/memory.ts'
import { type CommandTurn, runCommandTurn } from './command-turn.ts'

let directory: string
let started: LocalProcess[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'command-'))
})

afterEach(async () => {
  for (const each of started) await each.kill()
  started = []
  await rm(directory, { recursive: true, force: true })
})

function command(script: string) {
  const job = startProcess({
    name: 'command-1',
    directory,
    command: ['/bin/sh', '-c', script],
    env: { PATH: '/usr/bin:/bin' },
    cwd: directory,
  })
  started.push(job)
  const transcript = memoryTranscript()
  const never = new AbortController().signal
  const follow = (changes: Partial<CommandTurn> = {}) =>
    runCommandTurn({
      journal: job.journal,
      messageId: 'm1',
      text: 'go',
      storedLine: transcript.storedLine('command-1'),
      record: transcript.record,
      signals: { interrupt: never, detach: never },
      ...changes,
    })
  return { job, transcript, follow }
}

/** Resolves once the process has said something. */
async function spoken(journal: Journal): Promise<void> {
  for await (const _ of journal.read(0, AbortSignal.timeout(5_000))) return
  throw new Error('it said nothing')
}

test('each line of a command is told, and exit code 0 ends the turn well', async () => {
  const { transcript, follow } = command('echo one; echo two')
  expect(await follow()).toEqual({ kind: 'ended', stopReason: 'end_turn' })
  expect(transcript.events.map(({ line, kind, data }) => ({ line, kind, data }))).toEqual([
    { line: 1, kind: 'prompt', data: { message_id: 'm1', text: 'go' } },
    { line: 1, kind: 'output', data: { stream: 'stdout', text: 'one' } },
    { line: 2, kind: 'output', data: { stream: 'stdout', text: 'two' } },
  ])
})

test('another exit code is a failure that shows the end of the log', async () => {
  const { follow } = command('for i in $(seq 3000); do echo "line $i"; done; exit 3')
  const outcome = await follow()
  expect(outcome).toMatchObject({
    kind: 'failed',
    failure: { code: 'command_failed', phase: 'turn', message: 'The command ended with exit code 3.', exitCode: 3 },
  })
  const log = outcome.kind === 'failed' ? (outcome.failure.logTail ?? '') : ''
  expect(log.endsWith('line 3000')).toBe(true)
  expect(log.length).toBeLessThanOrEqual(2_000)
})

test('a command that nobody knows the end of is a lost sandbox', async () => {
  const { job, follow } = command('echo here')
  const journal: Journal = { ...job.journal, exit: async () => null }
  expect(await follow({ journal })).toMatchObject({
    kind: 'failed',
    failure: { code: 'sandbox_lost', logTail: 'here' },
  })
})

test('whoever follows can leave, and the next one tells the rest once', async () => {
  const { job, transcript, follow } = command(`echo one; until [ -e "${'$'}PWD/go" ]; do sleep 0.02; done; echo two`)
  await spoken(job.journal)
  const detach = new AbortController()
  const first = follow({ signals: { interrupt: new AbortController().signal, detach: detach.signal } })
  detach.abort(new Error('leaving'))
  await expect(first).rejects.toThrow('leaving')
  const second = follow()
  startProcess({ name: 'go', directory, command: ['/usr/bin/touch', 'go'], env: {}, cwd: directory })
  expect(await second).toEqual({ kind: 'ended', stopReason: 'end_turn' })
  expect(transcript.of('output').map(({ text }) => text)).toEqual(['one', 'two'])
  expect(transcript.of('prompt').length).toBe(1)
})

test('an interrupt says that the command has to be ended from outside', async () => {
  const { job, transcript, follow } = command('echo one; tail -f /dev/null')
  await spoken(job.journal)
  const interrupt = new AbortController()
  const outcome = follow({ signals: { interrupt: interrupt.signal, detach: new AbortController().signal } })
  interrupt.abort(new Error('enough'))
  await expect(outcome).rejects.toThrow(AgentStuckError)
  expect(transcript.of('prompt').length).toBe(1)
})
