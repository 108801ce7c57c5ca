import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { agents } from '../../agents/index.ts'
import { createDirectHost } from '../../environments/direct/host.ts'
import { runCommand } from './command.ts'
import { type HostDeps, openRunState } from './deps.ts'
import type { Execution } from './execution.ts'
import type { HostServer } from './server.ts'

test('a command that is followed by another worker keeps the credential it was started with', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'command-turn-'))
  const log = pino({ level: 'silent' })
  const host = await createDirectHost({
    runsDirectory: directory,
    nodePath: process.execPath,
    log,
    path: '/usr/sbin:/usr/bin:/sbin:/bin',
  })
  const ref = { runId: randomUUID(), execution: 1 }
  const said: string[] = []
  let issued = 0
  const server = { credential: async () => `token-${++issued}` } as unknown as HostServer
  const never = new AbortController().signal
  const execution = async (): Promise<Execution> => ({
    deps: { hostId: 'host', host, server, log, runsDirectory: directory, gatewayUrl: 'http://gateway' } as HostDeps,
    ref,
    order: {
      run_id: ref.runId,
      execution: 1,
      agent: 'command',
      model: null,
      reasoning_level: null,
      command: ['/bin/sh', '-c', 'echo "$OPENAI_API_KEY"'],
      policy: null,
      base_prompt: null,
      environment: { repos: [], setup_commands: [], env: {} },
      former: null,
      has_checkpoint: false,
    },
    agent: agents.command,
    policy: 'allow',
    state: await openRunState(directory, ref.runId),
    transcript: {
      storedLine: async () => 0,
      record: async (_journal, events) => {
        for (const { kind, data } of events) if (kind === 'output') said.push(String(data.text))
      },
      notes: () => ({ add: async () => {} }),
    },
    signals: { interrupt: never, detach: never },
    stop: never,
  })
  try {
    await host.open({ runId: ref.runId, generation: 1, image: null, toolkit: null })
    const { set } = await openRunState(directory, ref.runId)
    await set({ generation: 1 })
    const messageId = randomUUID()
    await runCommand(await execution(), { messageId, attempt: 1, text: 'go', preamble: null })
    await runCommand(await execution(), { messageId, attempt: 1, text: 'go', preamble: null })
    expect(said).toEqual(['token-1', 'token-1'])
    expect(issued).toBe(1)
  } finally {
    await host.remove(ref.runId)
    await rm(directory, { recursive: true, force: true })
  }
})
