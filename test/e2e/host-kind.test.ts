// AMBIENT_HOST is changed between two starts, with a run at work: nothing of the former kind stays, and the run goes on.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { leftovers } from '../support/leftovers.ts'
import { script } from '../support/model-server.ts'
import { type SampleRepository, sampleRepository } from '../support/repository.ts'
import { type Stack, startStack } from '../support/stack.ts'

let stack: Stack
let repository: SampleRepository
beforeAll(async () => {
  repository = await sampleRepository()
  stack = await startStack({ host: 'direct' })
})
afterAll(async () => {
  await stack?.stop()
  await repository?.remove()
})

async function startAgainWith(kind: 'direct' | 'docker'): Promise<void> {
  await stack.end('SIGTERM')
  stack.env.AMBIENT_HOST = kind
  await stack.startAgain()
}

test.each([
  ['direct', 'docker'],
  ['docker', 'direct'],
] as const)('from %s to %s: a run at work goes on over its files, in a sandbox of the new kind', async (from, to) => {
  if (stack.env.AMBIENT_HOST !== from) await startAgainWith(from)
  const [id, later] = [randomUUID(), randomUUID()]
  const runId = await stack.start({
    prompt: script(id, [
      { text: 'I begin.', shell: 'echo once >>count.txt' },
      { chunks: 10, waitFor: id, shell: 'cat count.txt' },
      { text: 'The end.' },
    ]),
    config: { harness: { type: 'codex' }, permission_policy: 'allow', idle_timeout_minutes: 0 },
    environment: { repos: [{ url: repository.url }] },
  })
  await stack.model.waitUntilHeld(id)
  const before = await leftovers(runId)
  expect(before).not.toEqual([])

  await startAgainWith(to)
  stack.model.release(id)
  const run = await stack.until(runId, 'SUCCEEDED', { execution: 2 })

  // What the first sandbox was in the middle of was lost with it, and that is said.
  expect(run.execution).toBe(2)
  const events = await stack.events(runId)
  const told = events.filter(({ kind }) => kind === 'state').map(({ data }) => data.message)
  expect(told).toContainEqual(expect.stringContaining('sandbox is lost'))
  expect(events.filter(({ data }) => data.code === 'session_not_resumed')).toHaveLength(1)
  const { body: diff } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
  expect(diff.match(/^\+once$/gm)).toHaveLength(2)
  expect(await leftovers(runId)).toEqual([])

  // The next message finds the same files.
  await stack.call('POST', `/api/v1/agent/runs/${runId}/followups`, {
    message: script(later, [{ text: 'Once more.', shell: 'echo again >>count.txt' }, { text: 'Done.' }]),
  })
  await stack.until(runId, 'SUCCEEDED', { execution: 3 })
  const { body: last } = await stack.call<string>('GET', `/api/v1/agent/runs/${runId}/diff`)
  expect(last).toContain('+again')
})
