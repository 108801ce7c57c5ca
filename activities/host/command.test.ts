import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { agents } from '../../agents/index.ts'
import { createRedactor } from '../../domain/vault/redaction.ts'
import { createDirectHost } from '../../environments/direct/host.ts'
import type { Host } from '../../environments/host.ts'
import { executionOrder } from '../../test/support/execution-order.ts'
import { runCommand } from './command.ts'
import { type HostDeps, openRunState } from './deps.ts'
import type { Execution } from './execution.ts'
import type { HostServer } from './server.ts'

let directory: string
let host: Host
let said: string[]
let issued: number
let ref: { runId: string; execution: number }

const log = pino({ level: 'silent' })
const never = new AbortController().signal

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'command-turn-'))
  const path = '/usr/sbin:/usr/bin:/sbin:/bin'
  host = await createDirectHost({ runsDirectory: directory, nodePath: process.execPath, log, path })
  ref = { runId: randomUUID(), execution: 1 }
  said = []
  issued = 0
  await host.open({ runId: ref.runId, generation: 1, image: null, toolkit: null })
  const { set } = openRunState(directory, ref.runId)
  await set({ generation: 1 })
})
afterEach(async () => {
  await host.remove(ref.runId)
  await rm(directory, { recursive: true, force: true })
})

/** The first line that is said calls `onOutput`. */
async function execution(script: string, onOutput: () => void = () => {}): Promise<Execution> {
  const server = {
    credential: async () => ({ token: `token-${++issued}`, tool_token: null, bound: true }),
  } as unknown as HostServer
  return {
    deps: { hostId: 'host', host, server, log, runsDirectory: directory, gatewayUrl: 'http://gateway' } as HostDeps,
    ref,
    order: executionOrder({ run_id: ref.runId, command: ['/bin/sh', '-c', script] }),
    agent: agents.command,
    policy: 'allow',
    redactor: createRedactor([]),
    state: openRunState(directory, ref.runId),
    transcript: {
      storedLine: async () => 0,
      record: async (_journal, events) => {
        for (const { kind, data } of events) if (kind === 'output') said.push(String(data.text))
        if (said.length > 0) onOutput()
      },
      notes: () => ({ add: async () => {} }),
    },
    signals: { interrupt: never, detach: never },
    stop: never,
  }
}

const message = () => ({ messageId: randomUUID(), attempt: 1, text: 'go', preamble: null })

test('from where a command’s credential is good is said with the request, and by itself to a server that has not heeded it', async () => {
  const told: unknown[] = []
  const bindings = async (bound: boolean) => {
    const given = await execution('true')
    const server = {
      credential: async (_runId, _execution, { binding }) => {
        told.push(binding?.kind)
        return { token: 'token', tool_token: null, bound }
      },
      bind: async (_runId, _execution, { kind }) => void told.push(kind),
    } as Partial<HostServer> as HostServer
    await runCommand({ ...given, deps: { ...given.deps, server, bindsCredentials: true } }, message())
    return told.splice(0)
  }
  // Nobody answers at this gateway: what it sees of whoever calls is then found out by the first call.
  expect(await bindings(true)).toEqual(['first'])
  expect(await bindings(false)).toEqual(['first', 'first'])
})

test('a command that is followed by another worker keeps the credential it was started with', async () => {
  const given = message()
  const script = 'echo "$OPENAI_API_KEY"'
  await runCommand(await execution(script), given)
  await runCommand(await execution(script), given)
  expect(said).toEqual(['token-1', 'token-1'])
  expect(issued).toBe(1)
})

test('a command that went down with its sandbox was lost, whoever asks and whenever', async () => {
  const given = message()
  const script = 'echo begun; sleep 987654'
  const stopped = Promise.withResolvers<void>()
  const outcome = runCommand(await execution(script, () => void host.stop(ref.runId).then(stopped.resolve)), given)
  await stopped.promise
  const lost = { kind: 'failed', failure: { code: 'sandbox_lost', phase: 'turn' } }
  expect(await outcome).toMatchObject(lost)
  // By a worker that opens another sandbox and finds that the command was started in the former one.
  expect(await runCommand(await execution(script), given)).toMatchObject(lost)
})

test('a command that is killed in a sandbox that lives has failed', async () => {
  const outcome = await runCommand(await execution('kill -9 $$'), message())
  expect(outcome).toMatchObject({ kind: 'failed', failure: { code: 'command_failed', exitCode: 137 } })
})

test('a command that nobody has stopped for the next message is ended before that begins', async () => {
  const [first, second] = [message(), message()]
  const detach = new AbortController()
  const sleep = `sleep ${Date.now()}`
  const watched = await execution(`echo begun; ${sleep}`, () => detach.abort(new Error('the worker is killed')))
  await expect(
    runCommand({ ...watched, signals: { interrupt: never, detach: detach.signal } }, first),
  ).rejects.toThrow()
  const next = await execution('echo next')
  await next.state.set({ messageId: second.messageId, previousMessageId: first.messageId })
  const sleeps = async () => (await execa('pgrep', ['-f', sleep], { reject: false })).stdout !== ''
  expect(await sleeps()).toBe(true)
  expect(await runCommand(next, second)).toMatchObject({ kind: 'ended' })
  expect(said).toEqual(['begun', 'next'])
  expect(await sleeps()).toBe(false)
})
