import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CheckpointItem } from '../domain/checkpoint.ts'
import { ambient } from './testing/command.ts'
import { startTestServer, type TestServer } from './testing/server.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.stop())

const RUN = 'cccc0000-0000-4000-8000-000000000001'

const checkpoint = (number: number, more: Partial<CheckpointItem> = {}): CheckpointItem => ({
  checkpoint_id: `dddd0000-0000-4000-8000-00000000000${number}`,
  run_id: RUN,
  number,
  execution: 1,
  message_id: null,
  taken_at: new Date(Date.now() - 3_600_000).toISOString(),
  bytes: 12_345,
  files_changed: 2,
  repositories: [{ path: 'app', head_commit: 'a'.repeat(40), branch: 'fix', files_changed: 2 }],
  session: true,
  left_out: [],
  newest: false,
  late: false,
  ...more,
})

test('a run is forked from one of its checkpoints, with what is said otherwise and nothing else', async () => {
  server.run({ run_id: RUN })
  const from = server.requests.length
  server.onStart = () => server.run({ forked_from: { run_id: RUN, checkpoint: 2, session: 'fresh' } })
  const args = ['--checkpoint', '2', '--session', 'fresh', '--model', 'm2', '--metadata', 'try=2', '--no-follow']
  const { code, stdout } = await ambient(['fork', 'cccc', 'Another way', ...args], { url: server.url })
  expect(code).toBe(0)
  const started = server.requests.slice(from).find(({ method }) => method === 'POST')
  expect(started?.body).toEqual({
    prompt: 'Another way',
    fork_from: { run_id: RUN, checkpoint: 2, session: 'fresh' },
    config: { harness: { model_id: 'm2' } },
    metadata: { try: '2' },
  })
  const { stdout: shown } = await ambient(['runs', 'show', stdout.trim()], { url: server.url })
  expect(shown).toContain(`Forked from ${RUN}, checkpoint 2\n`)
})

test('a fork needs something to do', async () => {
  const { code, stderr } = await ambient(['fork', 'cccc'], { url: server.url })
  expect([code, stderr]).toEqual([2, expect.stringContaining('What shall the agent do from there?')])
})

test('the checkpoints of a run are listed as a table', async () => {
  const run = server.run({ run_id: 'eeee0000-0000-4000-8000-000000000001' })
  expect((await ambient(['checkpoints', 'eeee'], { url: server.url })).stdout).toContain('The run has no checkpoint.')
  run.checkpoints = [
    checkpoint(3, { late: true, session: false, left_out: ['app/target, which git ignores: too large'] }),
    checkpoint(2, { newest: true }),
  ]
  const { stdout } = await ambient(['checkpoints', 'eeee'], { url: server.url })
  expect(stdout).toMatchInlineSnapshot(`
    "NUMBER  AGE  EXECUTION  CHANGED  SIZE     HEAD
    3       1 h  1          2        12.3 kB  fix@aaaaaaaaaa  late, no session, without 1 of its files
    2       1 h  1          2        12.3 kB  fix@aaaaaaaaaa  newest
    "
  `)
  const { stdout: json } = await ambient(['checkpoints', 'eeee', '--json'], { url: server.url })
  expect(JSON.parse(json).checkpoints).toEqual(run.checkpoints)
})
