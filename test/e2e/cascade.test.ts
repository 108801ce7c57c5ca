// A run and all that it began, cancelled by one word: at work, waiting for a person, in line, or begun at that moment.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { leftovers } from '../support/leftovers.ts'
import { script } from '../support/model-server.ts'
import { type Stack, startStack } from '../support/stack.ts'

let stack: Stack
beforeAll(async () => {
  stack = await startStack({ host: 'direct', env: { AMBIENT_CAPACITY: '4' } })
})
afterAll(async () => {
  await stack?.stop()
})

const asleep = { harness: { type: 'command', command: ['sh', '-c', 'setsid sleep 987 & echo up; sleep 987'] } }
const start = (parent: string | null, config: object = asleep) =>
  stack.start({ prompt: 'x', config: { idle_timeout_minutes: 0, ...config }, ...(parent && { parent_run_id: parent }) })
const isUp = (runId: string) => stack.untilEvent(runId, ({ kind, data }) => kind === 'output' && data.text === 'up')

async function ends(runId: string): Promise<unknown[]> {
  const { body } = await stack.call<{ events: { event_type: string }[] }>('GET', `/api/v1/agent/runs/${runId}/timeline`)
  return body.events.map(({ event_type: type }) => type).filter((type) => /done|failed|errored|cancelled/.test(type))
}

test('everything below a run ends with it, each once, and nothing is left', async () => {
  const root = await start(null)
  const child = await start(root)
  const grandchild = await start(child)
  for (const runId of [root, child, grandchild]) await isUp(runId)
  const asking = await stack.start({
    prompt: script('asks', [{ text: 'May I?', shell: 'echo hello' }, { text: 'Done.' }]),
    config: { harness: { type: 'codex' }, permission_policy: 'ask', idle_timeout_minutes: 0 },
    parent_run_id: root,
  })
  await stack.until(asking, 'BLOCKED')
  // The host is full: this one waits in line.
  const inLine = await start(child)
  await stack.untilEvent(inLine, ({ data }) => String(data.message).startsWith('Place'))

  const began = Date.now()
  const post = (path: string, body: object) =>
    stack.call<Record<string, unknown>>('POST', `/api/v1/agent/runs${path}`, body)
  const [{ status, body }, ...late] = await Promise.all([
    post(`/${root}/cancel`, { cascade: true }),
    ...[root, child, grandchild, root].map((parent) =>
      post('', { prompt: 'x', config: asleep, parent_run_id: parent }),
    ),
  ])
  expect(status).toBe(200)
  const begun = late.filter((answer) => answer.status === 200).map((answer) => String(answer.body.run_id))
  expect(late.filter((answer) => answer.status !== 200).map((answer) => answer.status)).toEqual(
    Array.from({ length: 4 - begun.length }, () => 409),
  )
  const all = [root, child, grandchild, asking, inLine, ...begun]
  expect((body.cancelled_run_ids as string[]).toSorted()).toEqual(all.toSorted())
  for (const runId of all) await stack.until(runId, 'CANCELLED')
  for (const runId of all) await expect.poll(() => leftovers(runId), { timeout: 5_000 }).toEqual([])
  expect(Date.now() - began).toBeLessThan(15_000)
  for (const runId of all) expect(await ends(runId)).toEqual(['oz_run_cancelled'])
})

test('without the word, what a run began goes on', async () => {
  const root = await start(null)
  const child = await start(root)
  await isUp(child)
  await stack.call('POST', `/api/v1/agent/runs/${root}/cancel`)
  await stack.until(root, 'CANCELLED')
  expect((await stack.item(child)).state).toBe('INPROGRESS')
  await stack.call('POST', `/api/v1/agent/runs/${root}/cancel`, { cascade: true })
  await stack.until(child, 'CANCELLED')
})
