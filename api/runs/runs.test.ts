import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadConfig } from '../../config.ts'
import { type AgentConfig, RunItem } from '../../domain/run.ts'
import { resolveHarness } from '../../runs/harness.ts'
import { recordState } from '../../store/runs/states.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'

// No Temporal answers in these tests: what they ask for is accepted all the same.
let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

const start = async (body: object = {}): Promise<string> =>
  (await api.call('POST', '/agent/runs', { prompt: 'Do it', ...body })).body.run_id

describe('starting a run', () => {
  test('is answered at once, queued, even while Temporal is away', async () => {
    const { status, body } = await api.call('POST', '/agent/runs', { prompt: 'Fix the bug\nin the parser' })
    expect(status).toBe(200)
    expect(body).toEqual({ run_id: expect.any(String), task_id: body.run_id, state: 'QUEUED', at_capacity: true })
    const run = await api.call('GET', `/agent/runs/${body.run_id}`)
    expect(RunItem.parse(run.body)).toMatchObject({
      run_id: body.run_id,
      title: 'Fix the bug',
      prompt: 'Fix the bug\nin the parser',
      state: 'QUEUED',
      source: 'API',
      agent_config: { harness: { type: 'oz', agent: 'opencode' }, worker_host: 'default' },
      root_run_id: body.run_id,
      demo: true,
    })
  })

  test.each([
    ['memory_stores', { config: { memory_stores: [{ uid: 'x', access: 'read_only', instructions: 'x' }] } }],
    ['mode', { mode: 'plan', config: { harness: { type: 'command', command: ['true'] } } }],
  ])('refuses %s, which it could only ignore', async (field, body) => {
    const { status, body: problem } = await api.call('POST', '/agent/runs', { prompt: 'Do it', ...body })
    expect(status).toBe(422)
    expect(problem.detail).toContain(field)
  })

  test('keeps what was asked for, and shows no value of env', async () => {
    const environment = {
      image: 'node:24',
      repos: [{ url: 'https://git.example/a.git', ref: 'main' }],
      setup_commands: ['npm ci'],
      env: { TOKEN: 'hush' },
    }
    const id = await start({
      title: 'Given',
      config: {
        name: 'nightly',
        base_prompt: 'Be brief',
        permission_policy: 'ask',
        idle_timeout_minutes: 5,
        future: 1,
      },
      environment,
      metadata: { ticket_id: 'A 1' },
    })
    const { body } = await api.call('GET', `/agent/runs/${id}`)
    expect(body).toMatchObject({
      title: 'Given',
      agent_config: { name: 'nightly', base_prompt: 'Be brief', idle_timeout_minutes: 5, future: 1 },
      environment: { ...environment, env: { TOKEN: '***' } },
      metadata: { ticket_id: 'A 1' },
    })
    expect(JSON.stringify(body)).not.toContain('hush')
    await api.hold(id)
    const order = await api.host('GET', `/runs/${id}/executions/1`)
    expect(order.body).toMatchObject({ policy: 'ask', base_prompt: 'Be brief', environment })
  })

  test('shows no credentials of a repository, and hands them to the host', async () => {
    const repos = [
      { url: 'https://me:hush@git.example/a.git' },
      { url: 'https://me:hu@sh@git.example/b.git' },
      { url: 'ssh://me:hush@git.example/c.git' },
      { url: 'git@git.example:d.git' },
    ]
    const id = await start({ environment: { repos } })
    const { body } = await api.call('GET', `/agent/runs/${id}`)
    expect(body.environment.repos).toEqual([
      { url: 'https://git.example/a.git' },
      { url: 'https://git.example/b.git' },
      { url: 'ssh://me@git.example/c.git' },
      { url: 'git@git.example:d.git' },
    ])
    await api.hold(id)
    const order = await api.host('GET', `/runs/${id}/executions/1`)
    expect(order.body.environment.repos).toEqual(repos)
  })

  test.each(['.', './a', 'a/./b', '../a', '/a', 'a/', 'a//b', 'a/.git', 'a\nb'])(
    'refuses a repository at %j, which is no place inside the workspace',
    async (path) => {
      const environment = { repos: [{ url: 'https://git.example/a.git', path }] }
      const { status, body } = await api.call('POST', '/agent/runs', { prompt: 'Do it', environment })
      expect({ status, detail: body.detail }).toEqual({
        status: 400,
        detail: 'environment.repos.0.path: must be a relative path inside the workspace',
      })
    },
  )

  test.each([{ name: 'a\0' }, { model_id: 'a\0' }, { harness: { type: 'claude', reasoning_level: 'a\0' } }])(
    'refuses a NUL in %j, which no column can hold',
    async (config) => {
      const { status, body } = await api.call('POST', '/agent/runs', { prompt: 'Do it', config })
      expect(status).toBe(400)
      expect(body.detail).toContain('NUL')
    },
  )

  test('names a long prompt by the first 50 characters of its first line', async () => {
    const { body } = await api.call('GET', `/agent/runs/${await start({ prompt: `${'ä'.repeat(80)}\nmore` })}`)
    expect(body.title).toBe(`${'ä'.repeat(49)}…`)
  })

  test('is known as coming from the command line or from where its header says', async () => {
    const sourceWith = async (headers: Record<string, string>) => {
      const { body } = await api.call('POST', '/agent/runs', { prompt: 'x' }, headers)
      return (await api.call('GET', `/agent/runs/${body.run_id}`)).body.source
    }
    expect(await sourceWith({ 'user-agent': 'ambient-cli/0.1.0' })).toBe('CLI')
    expect(await sourceWith({ 'x-oz-api-source': 'GITHUB_ACTION' })).toBe('GITHUB_ACTION')
    expect(await sourceWith({ 'x-oz-api-source': 'nonsense' })).toBe('API')
  })

  test('below a parent takes over its metadata and is listed with it', async () => {
    const parent = await start({ metadata: { team: 'a', ticket: '1' } })
    const child = await start({ parent_run_id: parent, metadata: { ticket: '2' } })
    const grandchild = await start({ parent_run_id: child })
    expect((await api.call('GET', `/agent/runs/${grandchild}`)).body).toMatchObject({
      parent_run_id: child,
      root_run_id: parent,
      metadata: { team: 'a', ticket: '2' },
    })
    expect((await api.call('GET', `/agent/runs/${parent}`)).body.children).toEqual([child])
    const below = await api.call('GET', `/agent/runs?ancestor_run_id=${parent}&sort_by=created_at`)
    expect(below.body.runs.map((run: RunItem) => run.run_id)).toEqual([grandchild, child])
  })

  test.each([
    [{}, 'prompt'],
    [{ prompt: ' ' }, 'prompt: must not be empty'],
    [{ prompt: 'nul \0' }, 'prompt: contains a NUL character'],
    [{ prompt: 'x', metadata: { 'a b': 'c' } }, 'metadata.a b'],
    [{ prompt: 'x', environment: { repos: [{ url: 'ext::sh -c id' }] } }, 'environment.repos.0.url: must be a git URL'],
    [{ prompt: 'x', environment: { repos: [{ url: 'https://a/b', path: '../x' }] } }, 'environment.repos.0.path'],
    [{ prompt: 'x', config: { idle_timeout_minutes: 61 } }, 'config.idle_timeout_minutes'],
    [
      { prompt: 'x', config: { max_turn_minutes: 361 } },
      'config.max_turn_minutes: is more than this server allows: 360',
    ],
    [{ prompt: 'x', config: { max_run_minutes: 1e6 } }, 'config.max_run_minutes: is more than this server allows'],
    [{ prompt: 'x', config: { max_transcript_mb: 1e6 } }, '(AMBIENT_TRANSCRIPT_MB)'],
    [{ prompt: 'x', config: { max_disk_gb: 0 } }, 'config.max_disk_gb'],
    [{ prompt: 'x', max_turn_minutes: 1 }, 'max_turn_minutes: is in the wrong place; it belongs in config'],
    [{ prompt: 'x', config: { harness: { type: 'command' } } }, 'config.harness.command: is required'],
    [{ prompt: 'x', config: { harness: { type: 'claude', command: ['a'] } } }, 'config.harness.command: is only for'],
    [{ prompt: 'x', config: { harness: { type: 'cobol' } } }, 'config.harness.type'],
    [{ prompt: 'x', parent_run_id: randomUUID() }, 'parent_run_id: there is no run'],
  ])('that does not fit is refused with the name of the field: %j', async (body, named) => {
    const { status, headers, body: problem } = await api.call('POST', '/agent/runs', body)
    expect(status).toBe(400)
    expect(headers.get('content-type')).toContain('application/problem+json')
    expect(headers.get('x-should-retry')).toBe('false')
    expect(problem).toEqual({
      type: '/errors/invalid-request',
      title: 'Invalid request',
      status: 400,
      detail: expect.stringContaining(named),
      instance: '/api/v1/agent/runs',
      error: `Invalid request (${problem.detail})`,
      retryable: false,
      trace_id: headers.get('x-request-id'),
    })
  })
})

describe('the agent of a run', () => {
  const resolve = (env: Record<string, string>, asked: AgentConfig | null = null) => {
    const { agent, model, demo } = resolveHarness(loadConfig(env), asked)
    return { agent, model, demo }
  }
  test('is the one that is set, else one that there is a key for, else a demo', () => {
    expect(resolve({})).toEqual({ agent: 'opencode', model: null, demo: true })
    expect(resolve({ OPENAI_API_KEY: 'k' })).toEqual({ agent: 'codex', model: null, demo: false })
    expect(resolve({ OPENAI_API_KEY: 'k', ANTHROPIC_API_KEY: 'k' }).agent).toBe('claude')
    expect(resolve({ GOOGLE_GEMINI_BASE_URL: 'http://127.0.0.1:9' })).toMatchObject({ agent: 'gemini', demo: false })
    expect(resolve({ AMBIENT_AGENT: 'qwen', ANTHROPIC_API_KEY: 'k' })).toMatchObject({ agent: 'qwen', demo: true })
  })
  test('has the model that was asked for, else the default of the default agent', () => {
    const env = { AMBIENT_AGENT: 'claude', AMBIENT_MODEL: 'default-model', ANTHROPIC_API_KEY: 'k' }
    expect(resolve(env).model).toBe('default-model')
    expect(resolve(env, { harness: { type: 'codex' } }).model).toBeNull()
    expect(resolve(env, { model_id: 'a' }).model).toBe('a')
    expect(resolve(env, { model_id: 'a', harness: { type: 'oz', model_id: 'b' } }).model).toBe('b')
  })
})

describe('a list of runs', () => {
  const listed = async (query: string) => {
    const { status, body } = await api.call('GET', `/agent/runs?${query}`)
    expect(status).toBe(200)
    return body.runs.map((run: RunItem) => run.run_id)
  }

  test('gives every run once, page by page, in each order', async () => {
    const name = randomUUID()
    const ids: string[] = []
    for (const title of ['b', 'a', 'c', 'a', 'b']) ids.push(await start({ title, config: { name } }))
    for (const sort of ['updated_at', 'created_at', 'title', 'agent']) {
      for (const direction of ['asc', 'desc']) {
        const seen: string[] = []
        let query = `name=${name}&limit=2&sort_by=${sort}&sort_order=${direction}`
        for (;;) {
          const { body } = await api.call('GET', `/agent/runs?${query}`)
          seen.push(...body.runs.map((run: RunItem) => run.run_id))
          if (!body.page_info.has_next_page) break
          query = `name=${name}&limit=2&sort_by=${sort}&sort_order=${direction}&cursor=${encodeURIComponent(body.page_info.next_cursor)}`
        }
        expect(seen).toHaveLength(5)
        expect(new Set(seen)).toEqual(new Set(ids))
        if (sort === 'created_at') expect(seen).toEqual(direction === 'asc' ? ids : ids.toReversed())
      }
    }
  })

  test('is narrowed by each filter', async () => {
    const name = randomUUID()
    const first = await start({ title: '100% of_it', config: { name, model_id: 'm1' }, metadata: { ticket: 'A 1' } })
    const before = (await api.call('GET', `/agent/runs/${first}`)).body.created_at
    const second = await start({ prompt: 'Rewrite the PARSER', config: { name }, metadata: { ticket: 'A 1', x: 'y' } })
    // Its first message was read: one that waits would have it read as QUEUED.
    await api.db.updateTable('mail').set({ accepted_at: new Date() }).where('run_id', '=', second).execute()
    await recordState(api.db, { runId: second, execution: 1, key: 'k', state: 'FAILED' })
    const of = (query: string) => listed(`name=${name}&${query}`)
    expect(await of('')).toEqual([second, first])
    expect(await of('state=QUEUED')).toEqual([first])
    expect(await of('state=QUEUED&state=FAILED')).toEqual([second, first])
    expect(await of('task_status=failed')).toEqual([second])
    expect(await of('source=CLI')).toEqual([])
    expect(await of('model_id=m1')).toEqual([first])
    expect(await of(`created_after=${encodeURIComponent(before)}`)).toEqual([second])
    expect(await of('created_before=2020-01-01')).toEqual([])
    expect(await of('updated_after=2020-01-01T00%3A00%3A00%2B00%3A00')).toEqual([second, first])
    expect(await of('q=parser')).toEqual([second])
    expect(await of('q=100%25+of_')).toEqual([first])
    expect(await of('q=%25f%25')).toEqual([])
    expect(await of(`q=${first.slice(0, 12)}`)).toEqual([first])
    expect(await of('metadata%5Bticket%5D=A%201')).toEqual([second, first])
    expect(await of('metadata[ticket]=A+1&metadata[x]=y')).toEqual([second])
    expect(await of('schedule_id=none')).toEqual([])
    expect(await of('environment_id=empty-environment')).toEqual([second, first])
  })

  test.each(['limit=0', 'limit=501', 'limit=ten', 'state=DONE', 'sort_by=id', 'created_after=yesterday', 'cursor=xyz'])(
    'refuses %s by name',
    async (query) => {
      const { status, body } = await api.call('GET', `/agent/runs?${query}`)
      expect(status).toBe(400)
      expect(body.detail).toContain(query.split('=')[0])
    },
  )

  test.each(['q=%00', 'name=%00', 'source=%00', 'created_after=0000-01-01', 'updated_after=9999-12-31T23:59:59-12:00'])(
    'refuses %s, which no run can have',
    async (query) => {
      expect(await api.call('GET', `/agent/runs?${query}`)).toMatchObject({ status: 400, body: { retryable: false } })
    },
  )

  test('refuses a cursor of another order', async () => {
    await start()
    await start()
    const { body } = await api.call('GET', '/agent/runs?limit=1&sort_by=title')
    const reused = await api.call('GET', `/agent/runs?limit=1&cursor=${body.page_info.next_cursor}`)
    expect(reused).toMatchObject({ status: 400, body: { detail: expect.stringContaining('cursor') } })
  })
})

describe('the door', () => {
  const without = (path: string, headers: Record<string, string> = {}) => fetch(`${api.url}${path}`, { headers })

  test.each(['/api/v1/agent/runs', '/internal/v1/runs', '/anything'])(
    'lets nobody in without a key: %s',
    async (path) => {
      for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: `Basic ${api.key}` }]) {
        const response = await without(path, headers as Record<string, string>)
        expect(response.status).toBe(401)
        expect(await response.json()).toMatchObject({ status: 401, title: 'Authentication required' })
        expect(response.headers.get('www-authenticate')).toBe('Bearer')
      }
    },
  )

  test('keeps the keys of people and hosts apart', async () => {
    const internal = await without(`/internal/v1/runs/${randomUUID()}/journals/a`, {
      authorization: `Bearer ${api.key}`,
    })
    expect(internal.status).toBe(401)
    const { status } = await api.host('GET', `/../../api/v1/agent/runs`)
    expect(status).toBe(401)
    expect(await api.host('GET', '/nothing')).toMatchObject({
      status: 404,
      body: { detail: 'There is no GET /internal/v1/nothing.' },
    })
  })

  test('answers what is not there, not allowed or not JSON with a problem', async () => {
    const cases = [
      [await api.call('GET', '/agent/nothing'), 404],
      [await api.call('GET', '/agent/runs/not-a-uuid'), 404],
      [await api.call('GET', `/agent/runs/${randomUUID()}`), 404],
      [await api.call('GET', `/agent/runs/${randomUUID()}/events`), 404],
      [await api.call('GET', `/agent/runs/${randomUUID()}/timeline`), 404],
      [await api.call('GET', `/agent/runs/${randomUUID()}/diff`), 404],
      [await api.call('POST', `/agent/runs/${randomUUID()}/cancel`), 404],
      [await api.call('POST', `/agent/runs/${randomUUID()}/followups`, { message: 'x' }), 404],
      [await api.call('DELETE', '/agent/runs'), 405],
      [await api.call('POST', '/agent/runs', '{"prompt": '), 400],
      [await api.call('POST', '/agent/runs', '"text"'), 400],
      [await api.call('POST', '/agent/runs', 'prompt=x', { 'content-type': 'application/x-www-form-urlencoded' }), 415],
      [await api.call('POST', '/agent/runs', { prompt: 'x', pad: 'y'.repeat(41 * 1024 * 1024) }), 413],
    ] as const
    for (const [reply, status] of cases) {
      expect(reply).toMatchObject({ status, body: { status, error: expect.any(String), retryable: false } })
    }
  })

  test('takes a bodyless POST that says it is JSON', async () => {
    const id = await start()
    const { status, body, headers } = await api.call('POST', `/agent/runs/${id}/cancel`, '')
    expect({ status, body }).toEqual({ status: 200, body: id })
    expect(headers.get('content-type')).toContain('text/plain')
  })
})
