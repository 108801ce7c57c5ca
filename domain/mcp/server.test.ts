import { expect, test } from 'vitest'
import { readMcpJson } from './mcp-json.ts'
import { expand, McpServer, McpServers } from './server.ts'

const values: Record<string, string> = { A: 'one', B: `has $\${A} in it` }
const expanded = (text: string) => expand(text, (name) => values[name])

test.each([
  [`Bearer \${A}`, { text: 'Bearer one', missing: [] }],
  [`\${A}/\${NONE:-there}`, { text: 'one/there', missing: [] }],
  [`\${NONE} \${NEITHER}`, { text: `\${NONE} \${NEITHER}`, missing: ['NONE', 'NEITHER'] }],
  // For a shell; and what a value says is nobody's to read.
  [`echo $A $\${A} \${B}`, { text: `echo $A \${A} has $\${A} in it`, missing: [] }],
])('puts values in the place of their names: %s', (text, told) => {
  expect(expanded(text)).toEqual(told)
})

test.each([
  [{}, 'exactly one of'],
  [{ warp_id: 'a', url: 'https://a.example' }, 'exactly one of'],
  [{ command: 'a', headers: {} }, 'only for a url'],
  [{ url: 'https://a.example', args: [] }, 'only for a command'],
  [{ url: 'https://a.example', type: 'stdio' }, 'only for a command'],
  [{ url: 'file:///etc/passwd' }, 'must be a URL'],
  [{ url: `https://\${HOST}/mcp` }, 'whose host is no'],
  [{ url: 'https://me:secret@a.example' }, 'no user name'],
  [{ url: 'https://a.example', headers: { host: 'b' } }, 'not to be set'],
  [{ command: 'a', env: { AMBIENT_MCP_TOKEN: 'b' } }, 'reserved'],
  [{ command: 'a', header: {} }, 'Unrecognized'],
])('a server that could not be reached as it is meant is refused: %j', (server, words) => {
  const { error } = McpServer.safeParse(server)
  expect(JSON.stringify(error?.issues)).toContain(words)
})

test.each(['ambient', 'Ambient_post', 'with space', ''])(
  'a name that could pass for that of our own tools, or be no part of a name, is refused: %j',
  (name) => {
    expect(McpServers.safeParse({ [name]: { command: 'a' } }).success).toBe(false)
  },
)

test('reads what other programs keep of their servers, and says what it cannot', () => {
  const file = {
    mcpServers: {
      'My files': { command: 'npx', args: ['-y', 'files'], env: { TOKEN: `\${env:TOKEN}`, LEVEL: 3 } },
      web: { type: 'streamable-http', url: 'https://a.example/mcp', headers: { authorization: `Bearer \${KEY}` } },
      old: { url: 'https://a.example/sse' },
      gemini: { httpUrl: 'https://a.example/sse' },
      asks: { command: 'a', env: { KEY: `\${input:key}` } },
      off: { command: 'a', disabled: true },
      none: {},
    },
  }
  expect(readMcpJson(JSON.stringify(file)).map(({ name, outcome }) => [name, Object.values(outcome).at(-1)])).toEqual([
    ['My-files', { command: 'npx', args: ['-y', 'files'], env: { TOKEN: `\${TOKEN}`, LEVEL: '3' } }],
    ['web', { url: 'https://a.example/mcp', headers: { authorization: `Bearer \${KEY}` } }],
    ['old', { url: 'https://a.example/sse', type: 'sse' }],
    ['gemini', { url: 'https://a.example/sse' }],
    ['asks', `\${input:key} means nothing here: name a secret, such as \${TOKEN}`],
    ['off', 'it is switched off there'],
    ['none', 'must have exactly one of warp_id, command and url'],
  ])
  expect(readMcpJson('{"servers":{"a":{"command":"b"}}}')).toHaveLength(1)
  expect(() => readMcpJson('{}')).toThrow('no "mcpServers"')
})
