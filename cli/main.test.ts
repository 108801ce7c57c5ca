import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ambient } from './testing/command.ts'
import { startTestServer, type TestServer } from './testing/server.ts'

let server: TestServer

beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.stop())

const cli = (...args: string[]) => ambient(args, { url: server.url })

describe('what goes wrong is said, with its exit code', () => {
  test('an unknown command is answered with the one that is meant', async () => {
    const { code, stderr } = await cli('rnus')
    expect({ code, stderr }).toEqual({ code: 2, stderr: "ambient: unknown command 'rnus'\n(Did you mean runs?)\n" })
  })

  test('so is a word after a command that does something by itself', async () => {
    const { code, stderr } = await cli('runs', 'shwo', 'abcd')
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: 'ambient: There is no runs shwo.\n  Did you mean runs show?\n',
    })
  })

  test('a server that is not there', async () => {
    const { code, stderr } = await ambient(['runs'], { url: 'http://127.0.0.1:9' })
    expect(code).toBe(69)
    expect(stderr).toMatch(
      /^ambient: No Ambient server answers at http:\/\/127\.0\.0\.1:9 .*\n {2}Start it with: npm start/,
    )
  })

  test('something there that is not Ambient', async () => {
    server.refuseNext(/runs/, 418, {})
    const { code, stderr } = await cli('runs')
    expect({ code, stderr }).toEqual({ code: 2, stderr: "ambient: The server answered 418 I'm a Teapot\n" })
  })

  test('no key', async () => {
    const { code, stderr } = await ambient(['runs'], { url: server.url, env: { AMBIENT_API_KEY: '' } })
    expect(code).toBe(77)
    expect(stderr).toContain('There is no API key')
  })

  test('a key that is not the server’s', async () => {
    const { code, stderr } = await ambient(['runs'], { url: server.url, env: { AMBIENT_API_KEY: 'another' } })
    expect(code).toBe(77)
    expect(stderr).toContain('Authentication required: the key is not known')
  })

  test('a setting that does not fit', async () => {
    const { code, stderr } = await ambient(['runs'], { env: { AMBIENT_PORT: 'many' } })
    expect(code).toBe(2)
    expect(stderr).toContain('AMBIENT_PORT')
  })

  test('a request that the server refuses', async () => {
    server.refuseNext(/runs/, 400, { title: 'Invalid request', detail: 'prompt: too long', error: 'invalid_request' })
    const { code, stderr } = await cli('run', 'x')
    expect({ code, stderr }).toEqual({ code: 2, stderr: 'ambient: Invalid request: prompt: too long\n' })
  })

  test('as a problem document with --json, also for a wrong call', async () => {
    server.refuseNext(/runs/, 500, { title: 'Internal error', error: 'internal_error', retryable: false })
    const refused = await cli('runs', '--json')
    expect(refused.code).toBe(3)
    expect(JSON.parse(refused.stderr)).toEqual({
      title: 'Internal error',
      status: 500,
      error: 'internal_error',
      retryable: false,
      exit_code: 3,
    })
    const wrong = await cli('runs', '--limit', 'all', '--json')
    expect(wrong.code).toBe(2)
    expect(JSON.parse(wrong.stderr)).toMatchObject({ error: 'usage', exit_code: 2 })
  })

  test.each([
    ['run x --secret A --no-secrets', "'--no-secrets'"],
    ['mcp-servers create a --url https://a.example --command y', 'not both'],
    ['mcp-servers create a --url https://a.example --arg 1', '--arg is only for a --command'],
    ['mcp-servers create a --command y --sse', '--sse is only for a --url'],
    ['profiles update p', 'Nothing to change'],
    ['profiles create p --secret A --no-secrets', "'--no-secrets'"],
    ['profiles update p --clear model', 'One of secret, skill, mcp'],
  ])('options that say nothing together are no silence: %s', async (words, told) => {
    const { code, stderr } = await cli(...words.split(' '))
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(told) })
  })

  test('a request that a restarting server dropped is sent again, with the same idempotency key', async () => {
    const from = server.requests.length
    server.refuseNext(/runs/, 503, { title: 'Restarting', retryable: true })
    const { code } = await cli('run', 'once', '--no-follow')
    expect(code).toBe(0)
    const posts = server.requests.slice(from).filter(({ method }) => method === 'POST')
    expect(posts).toHaveLength(2)
    expect(posts[0]?.headers['idempotency-key']).toBe(posts[1]?.headers['idempotency-key'])
  })
})

describe('ambient run', () => {
  test('sends what was asked for, and without a terminal prints the id and returns', async () => {
    const from = server.requests.length
    const run = server.run()
    server.onStart = () => run
    const { code, stdout, stderr } = await ambient(
      [
        ...['run', 'Do it', '--repo', 'https://example.com/a/b.git#dev', '--agent', 'claude', '--model', 'm1'],
        ...['--image', 'debian', '--setup', 'npm ci', '--setup', 'npm test', '--env', 'A=1=2', '--env', 'TAKEN'],
        ...['--permission', 'ask', '--title', 'T', '--idle', '5', '--pool', 'gpu', '--metadata', 'team=x'],
        ...[
          '--depth',
          '3',
          '--push-branch',
          'agent/work',
          '--pull-request',
          '--author',
          'Ada Lovelace <ada@example.com>',
        ],
      ],
      { url: server.url, env: { TAKEN: 'from here' } },
    )
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${run.item.run_id}\n` })
    expect(stderr).toContain(`ambient logs ${run.item.run_id.slice(0, 8)} --follow`)
    expect(server.requests[from]?.body).toEqual({
      prompt: 'Do it',
      title: 'T',
      config: {
        harness: { type: 'claude', model_id: 'm1' },
        permission_policy: 'ask',
        idle_timeout_minutes: 5,
        worker_host: 'gpu',
        commit_identity: { name: 'Ada Lovelace', email: 'ada@example.com' },
      },
      environment: {
        image: 'debian',
        repos: [
          {
            ...{ url: 'https://example.com/a/b.git', ref: 'dev', depth: 3, push_branch: 'agent/work' },
            pull_request: { draft: true },
          },
        ],
        setup_commands: ['npm ci', 'npm test'],
        env: { A: '1=2', TAKEN: 'from here' },
      },
      metadata: { team: 'x' },
    })
  })

  test('the agent commits in the name that git has for the caller, unless that is not wanted', async () => {
    const home = await mkdtemp(join(tmpdir(), 'ambient-home-'))
    await writeFile(join(home, '.gitconfig'), '[user]\n\tname = Grace Hopper\n\temail = grace@example.com\n')
    const bodyOf = async (...args: string[]) => {
      const from = server.requests.length
      server.onStart = () => server.run()
      await ambient(['run', 'x', '--no-follow', ...args], { url: server.url, env: { HOME: home } })
      return server.requests[from]?.body as { config: Record<string, unknown> }
    }
    expect((await bodyOf()).config.commit_identity).toEqual({ name: 'Grace Hopper', email: 'grace@example.com' })
    expect((await bodyOf('--no-author')).config).not.toHaveProperty('commit_identity')
    await rm(home, { recursive: true })
  })

  test('takes the prompt from stdin', async () => {
    const from = server.requests.length
    await ambient(['run'], { url: server.url, stdin: 'From a pipe.\n' })
    await ambient(['run', '-'], { url: server.url, stdin: 'From a pipe.\n' })
    const prompts = server.requests
      .slice(from)
      .flatMap(({ body }) => (body ? [(body as { prompt: string }).prompt] : []))
    expect(prompts.map((prompt) => prompt.trim())).toEqual(['From a pipe.', 'From a pipe.'])
  })

  test('runs a command after two dashes', async () => {
    const from = server.requests.length
    await cli('run', '--agent', 'command', '--', 'make', '--json', 'all')
    expect(server.requests[from]?.body).toMatchObject({
      prompt: 'make --json all',
      config: { harness: { type: 'command', command: ['make', '--json', 'all'] } },
    })
  })

  test.each([
    ['no prompt', [], 'What shall the agent do?'],
    ['an empty prompt', [' '], 'The prompt is empty.'],
    ['a command without dashes', ['--agent', 'command', 'x'], 'needs the command'],
    ['a directory that is not a repository', ['x', '--repo', '/'], 'is not in a git repository'],
    ['a path that is not there', ['x', '--repo', './nowhere'], 'There is no directory'],
    ['a variable that is not set', ['x', '--env', 'NOT_SET_HERE'], 'is not set here'],
    [
      'a prompt taken for the name of a branch',
      ['--branch', 'Fix it all'],
      '"Fix it all" cannot be the name of a branch',
    ],
    ['a branch without waiting for it', ['x', '--branch', '--no-follow'], 'they need --follow'],
    ['an agent that there is not', ['x', '--agent', 'hal'], 'Allowed choices are'],
    ['an author without an address', ['x', '--author', 'Ada'], 'is no name with an address'],
    ['a branch to push to without a repository', ['x', '--push-branch', 'a'], '--push-branch needs a --repo'],
  ])('refuses %s before it starts anything', async (_, args, message) => {
    const from = server.requests.length
    const { code, stderr } = await cli('run', ...args)
    expect(code).toBe(2)
    expect(stderr).toContain(message)
    expect(server.requests.length).toBe(from)
  })
})

describe('runs and their ids', () => {
  test('are listed as a table', async () => {
    const own = await startTestServer()
    try {
      const long = 'A title that is much longer than the column which it has to fit in'
      own.run({ run_id: '11111111-0000-4000-8000-000000000001', state: 'SUCCEEDED', run_time: 'PT2M30S', demo: true })
      own.run({ run_id: '22222222-0000-4000-8000-000000000002', title: long })
      const { stdout } = await ambient(['runs'], { url: own.url })
      expect(stdout.replace(/(\d+ (d|h|min|m?s) ?)+(?= {2}|\n)/g, '<time>')).toMatchInlineSnapshot(`
        "ID        STATE      TITLE                                               AGENT         AGE   TIME
        11111111  SUCCEEDED  Fix the greeting                                    codex (demo)  <time>  <time>
        22222222  QUEUED     A title that is much longer than the column which…  codex         <time>
        "
      `)
      const filtered = await ambient(['runs', '--state', 'succeeded', '--json'], { url: own.url })
      expect(JSON.parse(filtered.stdout).runs).toHaveLength(1)
    } finally {
      await own.stop()
    }
  })

  test('are followed by the command for the next page, with all that narrows this one', async () => {
    const own = await startTestServer()
    try {
      for (let count = 0; count < 3; count++) own.run({ state: 'FAILED' })
      const { stderr } = await ambient(['runs', '--state', 'failed', '--search', "it's", '-n', '2'], { url: own.url })
      expect(stderr).toBe("There are more: ambient runs --state failed --search 'it'\\''s' --limit 2 --cursor 2\n")
    } finally {
      await own.stop()
    }
  })

  test('one is shown with its task, what it has changed, and what to do next', async () => {
    const run = server.run({ run_id: 'bbbb0000-0000-4000-8000-000000000001', prompt: 'Fix it.\nAnd test it.' })
    for (let count = 0; count < 600; count++) run.add('output', { text: 'talk' })
    run.add('turn_end', { stop_reason: 'end_turn', usage: { totalTokens: 1234 } })
    const push = { branch: 'agent/work', commit: '1'.repeat(40), outcome: 'pushed', message: null }
    run.add('result', { repos: [{ path: 'app', files_changed: 1, insertions: 2, deletions: 3, commits: 1, push }] })
    run.state('SUCCEEDED', { run_time: 'PT5S' })
    const { stdout } = await cli('runs', 'show', 'bbbb')
    expect(stdout).toContain('  app: pushed to agent/work\n')
    expect(stdout).toContain('› Fix it.\n› And test it.\n')
    expect(stdout).toContain('✓ Succeeded · 5.0 s · 1 file changed +2 −3, 1 commit · 1,234 tokens\n')
    expect(stdout).toContain('ambient apply bbbb0000 --branch')
  })

  test('may be shortened as far as they stay unique', async () => {
    server.run({ run_id: 'abcd0000-0000-4000-8000-000000000001' })
    server.run({ run_id: 'abcd1111-0000-4000-8000-000000000002' })
    const shown = await cli('runs', 'show', 'ABCD1', '--json')
    expect(JSON.parse(shown.stdout).run_id).toBe('abcd1111-0000-4000-8000-000000000002')
    const several = await cli('cancel', 'abcd')
    expect(several.code).toBe(2)
    expect(several.stderr).toContain('abcd0000-0000-4000-8000-000000000001')
    const none = await cli('cancel', 'ffff-not')
    expect(none.code).toBe(2)
    expect(none.stderr).toContain('is not the id of a run')
  })

  test('are found on later pages of the list too', async () => {
    const own = await startTestServer()
    try {
      const first = own.run({ run_id: 'eeeeeeee-0000-4000-8000-000000000001' })
      for (let count = 0; count < 499; count++) own.run()
      const last = own.run({ run_id: 'eeeeeeee-ffff-4000-8000-000000000002' })
      const { stderr } = await ambient(['cancel', 'eeeeeeee'], { url: own.url })
      expect(stderr).toContain(first.item.run_id)
      expect(stderr).toContain(last.item.run_id)
    } finally {
      await own.stop()
    }
  })
})

describe('messages to a run', () => {
  test('are sent as they are asked for', async () => {
    const { item } = server.run()
    const from = server.requests.length
    await cli('send', item.run_id, 'And now this.', '--interrupt')
    await cli('answer', item.run_id, 'allow', '--question', 'q1')
    const cancelled = await cli('cancel', item.run_id)
    expect(cancelled).toEqual({ code: 0, stdout: `Run ${item.run_id.slice(0, 8)} is being cancelled.\n`, stderr: '' })
    const posts = server.requests.slice(from).filter(({ method }) => method === 'POST')
    expect(posts.map(({ path, body }) => [path.split('/').at(-1), body])).toEqual([
      ['followups', { message: 'And now this.', delivery: 'interrupt' }],
      ['answers', { option_id: 'allow', question_id: 'q1' }],
      ['cancel', {}],
    ])
    const all = await cli('cancel', item.run_id, '--children')
    expect(all.stdout).toBe(`Being cancelled, 1 run: ${item.run_id.slice(0, 8)}.\n`)
    expect(server.requests.at(-1)).toMatchObject({ body: { cascade: true } })
  })

  test('an answer left out shows the question and its options', async () => {
    const options = [{ option_id: 'once', name: 'Allow once', kind: 'allow_once' }]
    const { item } = server.run({
      state: 'BLOCKED',
      questions: [{ question_id: 'q', title: 'git push', tool_call: null, options }],
    })
    const { code, stderr } = await cli('answer', item.run_id)
    expect(code).toBe(2)
    expect(stderr).toContain('? git push')
    expect(stderr).toContain('once  Allow once')
  })
})

test('the agents are told with the default of the server, not of this shell', async () => {
  server.harnesses = {
    default_harness: 'gemini',
    harnesses: [{ type: 'qwen', provider: 'openai', default_model_id: null, demo: true }],
  }
  const { stdout } = await ambient(['agents'], { url: server.url, env: { AMBIENT_AGENT: 'codex' } })
  expect(stdout).toMatch(/^gemini .* default$/m)
  expect(stdout).toMatch(/^qwen .* demo: no key$/m)
  expect(stdout.match(/default/g)).toHaveLength(1)
  const alone = await ambient(['agents'], { url: 'http://127.0.0.1:9', env: { AMBIENT_AGENT: 'codex' } })
  expect(alone.stdout).toMatch(/^codex .* default$/m)
  expect(alone.stderr).toContain('No server answers')
})

test('what the server left out of a request is passed on', async () => {
  server.onStart = () => server.run()
  server.warnings = ['titel is not known here and has no effect.']
  const { code, stderr } = await cli('run', 'x', '--no-follow')
  server.warnings = []
  expect(code).toBe(0)
  expect(stderr).toContain('! titel is not known here and has no effect.')
})
