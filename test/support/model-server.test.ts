import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ModelServer, script, startModelServer } from './model-server.ts'
import { ask, eventsOf, type ModelClient, modelClients, post, type Turn } from './model-server-clients.ts'

let server: ModelServer
beforeEach(async () => {
  server = await startModelServer()
})
afterEach(() => server.close())

const stops = {
  chat: { call: 'tool_calls', end: 'stop' },
  responses: { call: 'completed', end: 'completed' },
  anthropic: { call: 'tool_use', end: 'end_turn' },
  gemini: { call: 'STOP', end: 'STOP' },
}

describe.each(modelClients.map((client) => [client.format, client] as const))('%s', (format, client) => {
  test.each([true, false])('a script is played step by step over its tool results (stream: %s)', async (stream) => {
    const prompt = script('steps', [
      { thought: 'Let me see.', text: 'First a look.', chunks: 4, shell: 'ls' },
      { text: 'All done.', usage: { inputTokens: 7, outputTokens: 3 } },
    ])
    const turns: Turn[] = [{ user: prompt }]

    const first = await ask(client, server.url, { stream, turns, shell: 'bash' })
    expect(first).toEqual({
      thought: 'Let me see.',
      text: 'First a look.',
      calls: [{ id: expect.any(String), name: 'bash', arguments: { command: 'ls' } }],
      inputTokens: 100,
      outputTokens: 20,
      stop: stops[format].call,
    })

    turns.push({ said: first, results: ['README.md'] })
    expect(await ask(client, server.url, { stream, turns, shell: 'bash' })).toEqual({
      thought: '',
      text: 'All done.',
      calls: [],
      inputTokens: 7,
      outputTokens: 3,
      stop: stops[format].end,
    })

    expect(server.steps('steps')).toEqual([0, 1])
    expect(server.requests.map(({ request, at, body, ...rest }) => rest)).toEqual(
      [0, 1].map((step) => ({
        format,
        model: 'test-model',
        credential: 'test-key',
        scriptId: 'steps',
        step,
        history: ['steps'],
        state: 'complete',
        usage: step === 0 ? { inputTokens: 100, outputTokens: 20 } : { inputTokens: 7, outputTokens: 3 },
      })),
    )
    expect(server.requests[1]?.request.toolResults).toEqual([
      { id: first.calls[0]?.id, name: 'bash', output: 'README.md' },
    ])
  })

  test('a second prompt starts its own script at its first step, and the first stays in the history', async () => {
    const turns: Turn[] = [{ user: script('one', [{ text: 'a', shell: 'ls' }, { text: 'b' }]) }]
    const said = await ask(client, server.url, { stream: true, turns, shell: 'bash' })
    turns.push({ said, results: ['x'] }, { user: script('two', [{ text: 'from two' }]) })

    expect((await ask(client, server.url, { stream: true, turns, shell: 'bash' })).text).toBe('from two')
    expect(server.requests.at(-1)).toMatchObject({ scriptId: 'two', step: 0, history: ['one', 'two'] })
  })

  test('a gate holds the answer between its pieces until the test opens it', async () => {
    const prompt = script('held', [{ chunks: 20, waitFor: 'go', holdAfter: 5 }])
    const reader = await openStream(client, prompt)
    await server.waitUntilHeld('go')

    const before = await reader.readUntil('piece 5\\n')
    expect(before).not.toContain('piece 6')
    expect(server.requests[0]?.state).toBe('open')

    server.release('go')
    const said = client.read(eventsOf(before + (await reader.rest())))
    expect(said.text).toBe(Array.from({ length: 20 }, (_, index) => `piece ${index + 1}\n`).join(''))
  })

  test('an answer whose caller goes away is recorded as cut', async () => {
    const caller = new AbortController()
    const reader = await openStream(client, script('left', [{ chunks: 4, waitFor: 'never' }]), caller.signal)
    await server.waitUntilHeld('never')
    await reader.readUntil('piece 2')
    caller.abort()

    const request = await server.waitForRequest((known) => known.state !== 'open', 5000)
    expect(request).toMatchObject({ scriptId: 'left', state: 'cut' })
  })

  test('an error is answered in the shape of the format, as often as the script says', async () => {
    const question = {
      stream: true,
      turns: [{ user: script('fails', [{ error: 529, times: 1, text: 'better' }]) }],
      shell: null,
    }
    const response = await post(client, server.url, question)
    expect(response.status).toBe(529)
    expect(await response.json()).toMatchObject({ error: { message: 'Script fails answers with 529.' } })
    expect((await ask(client, server.url, question)).text).toBe('better')
    expect(server.steps('fails')).toEqual([0, 0])
  })

  test('a connection that the script cuts breaks in the middle of the answer', async () => {
    const question = { stream: true, turns: [{ user: script('cut', [{ text: 'half a', cut: true }]) }], shell: null }
    const response = await post(client, server.url, question)
    expect(response.status).toBe(200)
    await expect(response.text()).rejects.toThrow()
    await server.waitForRequest((known) => known.scriptId === 'cut' && known.state === 'cut', 5000)
  })

  test('a body of another shape is refused', async () => {
    const response = await fetch(server.url + client.path(true), { method: 'POST', body: '{"input":7}' })
    expect(response.status).toBe(400)
    expect(server.requests).toEqual([])
  })

  test('a step that needs a tool the agent does not have is refused, and says so', async () => {
    const question = { stream: true, turns: [{ user: script('toolless', [{ shell: 'ls' }]) }], shell: null }
    const response = await post(client, server.url, question)
    expect([response.status, await response.text()]).toEqual([400, expect.stringContaining('No tool for this step')])
  })

  /** Reads a stream by hand, to see what has come before the rest. */
  async function openStream(from: ModelClient, prompt: string, signal?: AbortSignal) {
    const response = await post(from, server.url, { stream: true, turns: [{ user: prompt }], shell: null }, signal)
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    if (!reader) throw new Error('no body')
    return {
      async readUntil(what: string) {
        let text = ''
        while (!text.includes(what)) {
          const { value, done } = await reader.read()
          if (done) throw new Error(`ended before ${what}: ${text}`)
          text += value
        }
        return text
      },
      async rest() {
        let text = ''
        for (;;) {
          const { value, done } = await reader.read()
          if (done) return text
          text += value
        }
      },
    }
  }
})

test('titles and suggestions are answered without being part of any turn', async () => {
  const scripted = script('main', [{ text: 'no' }])
  const bodies = [
    [
      '/chat/completions',
      { model: 'm', messages: [{ role: 'system', content: 'You are a title generator.' }, user()] },
    ],
    ['/messages', { model: 'm', messages: [user(), { role: 'user', content: '[SUGGESTION MODE: go on]' }] }],
    ['/responses', { model: 'm', input: scripted, text: { format: { type: 'json_schema', schema: titleSchema } } }],
  ] as const
  const answers = await Promise.all(
    bodies.map(async ([path, body]) => {
      const response = await fetch(server.url + path, { method: 'POST', body: JSON.stringify(body) })
      return response.text()
    }),
  )
  expect(answers).toEqual([
    expect.stringContaining('A scripted title'),
    expect.stringContaining('A scripted title'),
    expect.stringContaining('{\\"title\\":\\"A scripted title\\"}'),
  ])
  expect(server.requests).toEqual([])

  function user() {
    return { role: 'user', content: scripted }
  }
})

const titleSchema = { type: 'object', properties: { title: { type: 'string' } } }

test("Codex's tool in free form runs a shell command by a program", async () => {
  const response = await fetch(`${server.url}/responses`, {
    method: 'POST',
    body: JSON.stringify({
      model: 'm',
      input: [
        {
          type: 'additional_tools',
          role: 'developer',
          tools: [{ type: 'namespace', name: 'functions', tools: [{ type: 'custom', name: 'exec' }] }],
        },
        { role: 'user', content: [{ type: 'input_text', text: script('free', [{ shell: 'echo "hi"' }]) }] },
      ],
    }),
  })
  const { output } = (await response.json()) as { output: unknown[] }
  expect(output).toEqual([
    {
      type: 'custom_tool_call',
      id: expect.any(String),
      status: 'completed',
      call_id: expect.any(String),
      name: 'exec',
      input: 'text((await tools.exec_command({"cmd":"echo \\"hi\\"","yield_time_ms":30000})).output)',
    },
  ])
})

test('tokens are counted for the agents that ask', async () => {
  const count = async (path: string) =>
    (await fetch(server.url + path, { method: 'POST', body: '{"messages":[]}' })).json()
  expect(await count('/v1/messages/count_tokens?beta=true')).toEqual({ input_tokens: 4 })
  expect(await count('/v1beta/models/m:countTokens')).toEqual({ totalTokens: 4 })
})

test('a script that cannot be played is refused when it is written', () => {
  expect(() => script('two calls', [{ shell: 'ls', write: { path: 'a', content: '' } }])).toThrow('one call a step')
  expect(() => script('thin', [{ text: 'abc', chunks: 4 }])).toThrow('more chunks than characters')
})
