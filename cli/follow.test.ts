import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RunItem } from '../domain/run.ts'
import { ambient, command } from './testing/command.ts'
import { MESSAGE, startTestServer, type TestRun, type TestServer } from './testing/server.ts'

let server: TestServer

beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.stop())

const failure: RunItem['failure'] = {
  code: 'setup_command_failed',
  phase: 'setup',
  message: 'A set-up command failed.',
  command: 'npm ci',
  exit_code: 3,
  log_tail: 'ENOENT: package.json',
  next_step: 'Correct the command, and start the run again.',
  retryable: false,
}

/** The next run that is started is this one; it plays when it is followed. */
function nextRun(play: (run: TestRun) => void, more: Partial<RunItem> = {}): TestRun {
  const run = server.run(more)
  server.onStart = () => run
  play(run)
  return run
}

const question = {
  question_id: 'q1',
  title: 'git push origin',
  tool_call: null,
  options: [
    { option_id: 'yes', name: 'Allow once', kind: 'allow_once' },
    { option_id: 'no', name: 'Reject', kind: 'reject_once' },
  ],
}

function block(run: TestRun): void {
  run.add('question', { question_id: 'q1', tool_call: { title: question.title }, options: question.options })
  run.state('BLOCKED', { questions: [question] })
}

describe('following a run', () => {
  test('shows the transcript and a summary', async () => {
    const run = nextRun((made) => {
      made.state('INPROGRESS')
      made.add('message', { text: 'I fixed it.' })
      made.add('usage', { cost: { amount: 0.0123, currency: 'USD' } })
      made.add('turn_end', { stop_reason: 'end_turn', usage: { totalTokens: 12345 } })
      made.add('result', { repos: [{ path: 'app', files_changed: 2, insertions: 10, deletions: 3, commits: 1 }] })
      made.state('SUCCEEDED', { run_time: 'PT1M5S', demo: true })
    })
    const { code, stdout, stderr } = await ambient(['run', 'Fix it', '--follow'], { url: server.url })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(`\n${stdout.replaceAll(run.item.run_id.slice(0, 8), 'SHORT-ID')}`).toMatchInlineSnapshot(`
      "
      Run SHORT-ID · codex · demo: a scripted model, no model key is set
      · the agent works

      I fixed it.

      ✓ Succeeded · 1 min 5 s · 2 files changed +10 −3, 1 commit · 12,345 tokens
        A demo: no model key is set, so a scripted model stands in for a real one. It costs nothing.
        ambient diff SHORT-ID            see the changes
        ambient apply SHORT-ID --branch  bring them home as a branch
        ambient send SHORT-ID "…"        go on with another message
      "
    `)
  })

  test('tells a failure with its command, its log and the next step, and exits with 1', async () => {
    const run = nextRun((made) => made.state('FAILED', { failure }))
    const { code, stdout } = await ambient(['run', 'x', '--follow'], { url: server.url })
    expect(code).toBe(1)
    expect(stdout.replaceAll(run.item.run_id.slice(0, 8), 'SHORT-ID')).toMatchInlineSnapshot(`
      "Run SHORT-ID · codex

      ✗ Failed
        A set-up command failed. (setup_command_failed, phase setup)
        $ npm ci → exit code 3
        │ ENOENT: package.json
        Next: Correct the command, and start the run again.
        ambient send SHORT-ID "…"  go on with another message
      "
    `)
  })

  test.each([
    ['SUCCEEDED', 0],
    ['FAILED', 1],
    ['ERROR', 3],
    ['CANCELLED', 4],
  ] as const)('ends with the exit code of %s: %i', async (state, expected) => {
    const run = server.run()
    run.state(state)
    const { code } = await ambient(['logs', run.item.run_id, '--follow'], { url: server.url })
    expect(code).toBe(expected)
  })

  test('prints JSON lines: the run, each event, and the run as it ended', async () => {
    const run = nextRun((made) => {
      made.add('message', { text: 'Hello.' })
      made.state('SUCCEEDED')
    })
    const { code, stdout } = await ambient(['run', 'x', '--json'], { url: server.url })
    expect(code).toBe(0)
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines).toEqual([run.item, ...run.events, run.item])
  })

  test('bridges a restart of the server without a lost or doubled event', async () => {
    const run = server.run()
    for (let count = 1; count <= 5; count++) run.add('output', { stream: 'stdout', text: `line ${count}` })
    const streams = server.requests.filter(({ headers }) => headers.accept === 'text/event-stream').length
    const following = command(['logs', run.item.run_id, '--follow'], { url: server.url })
    await following.output(/line 5/)
    await server.stop()
    await following.output(/connection lost/)
    for (let count = 6; count <= 10; count++) run.add('output', { stream: 'stdout', text: `line ${count}` })
    await server.start()
    await following.output(/line 10/)
    server.drop()
    await server.streams(streams + 3)
    run.state('SUCCEEDED')
    const { code, stdout, stderr } = await following.finished
    expect(code).toBe(0)
    expect(stdout.match(/line \d+/g)).toEqual(Array.from({ length: 10 }, (_, index) => `line ${index + 1}`))
    expect(stderr.match(/connected again/g)).toHaveLength(2)
    const resumed = server.requests.filter(({ headers }) => headers.accept === 'text/event-stream').slice(streams)
    expect(resumed.map(({ headers }) => headers['last-event-id'])).toEqual(['0', '5', '10'])
  })

  test('ends with 77 when the key is no longer accepted', async () => {
    const run = server.run()
    run.add('output', { text: 'one' })
    const following = command(['logs', run.item.run_id, '--follow'], { url: server.url })
    await following.output(/one/)
    server.refuseNext(/events/, 401, { title: 'Authentication required' })
    server.drop()
    const { code, stderr } = await following.finished
    expect(code).toBe(77)
    expect(stderr).toContain('Authentication required')
  })

  test('Ctrl-C leaves the run alone, and says how to go on', async () => {
    const run = server.run({ state: 'INPROGRESS' })
    run.add('output', { text: 'at work' })
    const id = run.item.run_id.slice(0, 8)
    const following = command(['logs', run.item.run_id, '--follow'], { url: server.url })
    await following.output(/at work/)
    following.signal('SIGINT')
    const { code, stderr } = await following.finished
    expect(code).toBe(130)
    expect(stderr).toContain(`ambient logs ${id} --follow`)
    expect(stderr).toContain(`ambient cancel ${id}`)
    expect(stderr).not.toContain('bin/ambient')
    expect(server.requests.filter(({ path }) => path.endsWith('/cancel') && path.includes(id))).toEqual([])
  })

  test('a message to an ended run is followed to the end of its own execution, not the former one', async () => {
    const run = server.run()
    run.add('message', { text: 'The former answer.' })
    run.state('SUCCEEDED')
    server.onPost = (made, action) => {
      if (action !== 'followups') return
      made.item.execution = 2
      made.state('QUEUED')
      made.add('prompt', { message_id: MESSAGE, text: 'And now?' })
      made.add('message', { text: 'The new answer.' })
      made.state('SUCCEEDED')
    }
    const { code, stdout } = await ambient(['send', run.item.run_id, 'And now?', '--follow'], { url: server.url })
    expect(code).toBe(0)
    expect(stdout).toContain('› And now?\n\nThe new answer.\n')
    expect(stdout).not.toContain('The former answer.')
  })

  test('after a message, the former end is not taken for the new one, however long the new execution waits', async () => {
    const run = server.run()
    run.state('SUCCEEDED')
    server.onPost = () => undefined
    const sent = await ambient(['send', run.item.run_id, 'And now?', '--json'], { url: server.url })
    expect(JSON.parse(sent.stdout)).toMatchObject({ run_id: run.item.run_id, state: 'QUEUED' })

    const following = command(['logs', run.item.run_id, '--follow'], { url: server.url })
    await expect.poll(() => server.requests.some(({ path }) => path.endsWith(`${run.item.run_id}/events`))).toBe(true)
    run.item.execution = 2
    run.add('prompt', { message_id: MESSAGE, text: 'And now?' })
    run.state('FAILED', { failure })
    const { code, stdout } = await following.finished
    expect(code).toBe(1)
    expect(stdout).toContain('› And now?')
  })
})

const pathWithoutAmbient = () =>
  (process.env.PATH ?? '')
    .split(':')
    .filter((directory) => !existsSync(join(directory, 'ambient')))
    .join(':')

test('hints name the command as it was typed, where PATH does not lead to it', async () => {
  const run = server.run()
  run.state('SUCCEEDED')
  const { stdout } = await ambient(['runs', 'show', run.item.run_id], {
    url: server.url,
    env: { PATH: pathWithoutAmbient() },
  })
  expect(stdout).toMatch(/\/bin\/ambient send /)
})

test('so does what the server advises', async () => {
  const run = server.run()
  const advice = 'Raise that budget: `ambient budgets raise it --usd 2`.'
  run.state('BLOCKED', { questions: [{ ...question, options: [], about: 'budget', next_step: advice }] })
  const given = { url: server.url, env: { PATH: pathWithoutAmbient() } }
  const shown = await ambient(['runs', 'show', run.item.run_id], given)
  expect(shown.stdout).toMatch(/Next: Raise that budget: `\S+\/bin\/ambient budgets raise it --usd 2`/)
  const lost = server.run()
  lost.state('FAILED', { failure: { ...failure, next_step: 'Send a follow-up: `ambient send`.' } })
  const told = await ambient(['runs', 'show', lost.item.run_id], given)
  expect(told.stdout).toMatch(/Next: Send a follow-up: `\S+\/bin\/ambient send`/)
  const refused = await ambient(['answer', run.item.run_id, 'yes'], given)
  expect(refused).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/`\S+\/bin\/ambient budgets raise it --usd 2`/),
  })
})

describe('a run that asks', () => {
  test('ends the following with 5 where nobody can be asked, and says how to answer', async () => {
    const run = nextRun(block)
    const { code, stdout } = await ambient(['run', 'x', '--follow'], { url: server.url })
    expect(code).toBe(5)
    expect(stdout.match(/git push origin/g)).toHaveLength(2)
    expect(stdout.match(/Allow once/g)).toHaveLength(1)
    expect(stdout).toContain(
      `    yes  Allow once\n    no   Reject\n  ambient answer ${run.item.run_id.slice(0, 8)} allow `,
    )
    const json = await ambient(['logs', run.item.run_id, '--follow', '--json'], { url: server.url })
    expect(json.code).toBe(5)
  })

  test('is not taken to be waiting when the question was answered long ago', async () => {
    const run = server.run()
    block(run)
    run.add('answer', { question_id: 'q1', option_id: 'yes', by: 'person' })
    run.state('INPROGRESS', { questions: [] })
    run.state('SUCCEEDED')
    const { code } = await ambient(['logs', run.item.run_id, '--follow'], { url: server.url })
    expect(code).toBe(0)
  })

  test('is answered at the terminal, and goes on', async () => {
    const run = nextRun(block)
    server.onPost = (made, action, body) => {
      if (action !== 'answers') return
      made.add('answer', { ...(body as object), by: 'person' })
      made.state('INPROGRESS', { questions: [] })
      made.add('message', { text: 'Pushed.' })
      made.state('SUCCEEDED')
    }
    const running = command(['run', 'x'], { url: server.url, terminal: true })
    await running.output(/Answer \(1–2/)
    running.type('perhaps\r')
    await running.output(/None of the answers/)
    running.type('1\r')
    const { code, stdout } = await running.finished
    expect(code).toBe(0)
    expect(stdout).toContain('Pushed.')
    const answers = server.requests.filter(({ path }) => path.endsWith(`${run.item.run_id}/answers`))
    expect(answers.map(({ body }) => body)).toEqual([{ option_id: 'yes', question_id: 'q1' }])
  })

  test('is answered by a command that shows what comes of it', async () => {
    const run = server.run()
    run.add('message', { text: 'I begin.' })
    block(run)
    server.onPost = (made, action, body) => {
      if (action !== 'answers') return
      made.add('answer', { ...(body as object), by: 'person' })
      made.state('INPROGRESS', { questions: [] })
      made.add('message', { text: 'Pushed.' })
      made.state('FAILED')
    }
    const { code, stdout } = await ambient(['answer', run.item.run_id, 'yes', '--follow'], { url: server.url })
    expect(code).toBe(1)
    expect(stdout).toContain('Pushed.')
    expect(stdout).not.toContain('I begin.')
  })

  test('does not go on asking when somebody else has answered', async () => {
    const run = nextRun(block)
    server.onPost = () => undefined
    const running = command(['run', 'x'], { url: server.url, terminal: true })
    await running.output(/Answer \(1–2/)
    run.add('answer', { question_id: 'q1', option_id: 'no', by: 'person' })
    run.state('INPROGRESS', { questions: [] })
    run.state('SUCCEEDED')
    const { code } = await running.finished
    expect(code).toBe(0)
    expect(server.requests.filter(({ path }) => path.endsWith(`${run.item.run_id}/answers`))).toEqual([])
  })

  test('may be left with Ctrl-C at the question', async () => {
    nextRun(block)
    const running = command(['run', 'x'], { url: server.url, terminal: true })
    await running.output(/Answer \(1–2/)
    running.type('\u0003')
    const { code, stdout } = await running.finished
    expect(code).toBe(130)
    expect(stdout).toContain('Detached: the run goes on.')
  })
})

describe('on a terminal', () => {
  test('a run is followed without being asked to, in colours, with the running tool on the last line', async () => {
    const run = nextRun((made) => {
      made.state('INPROGRESS')
      made.add('tool_call', { toolCallId: 't', title: 'npm test', kind: 'execute', status: 'in_progress' })
    })
    const running = command(['run', 'x'], { url: server.url, terminal: true })
    await running.output(/… npm test/)
    run.add('tool_update', { toolCallId: 't', status: 'completed' })
    run.state('SUCCEEDED')
    const { code, stdout } = await running.finished
    expect(code).toBe(0)
    expect(stdout).toContain('\r\u001b[K')
    expect(stdout).toContain('\u001b[32m✓\u001b[39m \u001b[1mnpm test')
  })

  test('NO_COLOR leaves the colours out', async () => {
    nextRun((made) => made.state('SUCCEEDED'))
    const { stdout } = await ambient(['run', 'x'], { url: server.url, terminal: true, env: { NO_COLOR: '1' } })
    expect(stdout).toContain('✓ Succeeded')
    expect(stdout).not.toContain('\u001b[3')
  })
})
