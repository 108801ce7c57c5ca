import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { McpServer } from '../../domain/mcp/server.ts'
import type { Place } from '../../secrets/gateway/binding.ts'
import { createMcpDoor } from '../../secrets/mcp/door.ts'
import { resolve, type Value } from '../../secrets/mcp/resolve.ts'
import {
  listen,
  type McpServerStandIn,
  startHttpServer,
  startSseServer,
  stdioServer,
} from '../../test/support/mcp-servers.ts'
import { outsideAgent } from '../../webhooks/outside.ts'
import { mcpProgram } from './mcp-program.ts'

const TOKEN = 'tool-credential'
const SECRET = 'hush-hush-1234'
const values = new Map<string, Value>([
  ['KEY', { value: SECRET, isSecret: true }],
  ['PLAIN', { value: 'plain', isSecret: false }],
])

/** The gateway's door, over servers that are told to it. */
let door: { url: string; close(): Promise<void> }
const servers: Record<string, McpServer> = {}
let place: Place = 'inside'
const allowed = ['127.0.0.1']
let program: string
let directory: string
let overHttp: McpServerStandIn
let overSse: McpServerStandIn
let refusing: McpServerStandIn

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mcp-program-'))
  program = join(directory, 'mcp-servers.mjs')
  await writeFile(program, mcpProgram)
  ;[overHttp, overSse] = await Promise.all([startHttpServer('http_tool'), startSseServer('sse_tool')])
  refusing = await listen('/mcp', async ({ headers }, response) => {
    response.writeHead(401, { 'www-authenticate': 'Bearer' }).end(`who is ${headers.authorization}?`)
  })
  const handler = createMcpDoor({
    authorize: async (token) => (token === TOKEN ? { runId: 'run', execution: 1 } : null),
    place: async () => place,
    resolve: async (_, name) => (servers[name] ? resolve(servers[name], values) : null),
    dispatcher: outsideAgent(allowed, undefined, 'AMBIENT_MCP_ALLOW'),
    log: { warn: () => {} },
  })
  const server = createServer((request, response) => void handler.handle(request, response))
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  door = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp-servers`,
    async close() {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
  Object.assign(servers, {
    http: { url: overHttp.url, headers: { authorization: `Bearer \${KEY}` } },
    sse: { url: overSse.url, type: 'sse', headers: { 'x-key': `\${KEY}` } },
    stdio: { command: process.execPath, args: ['-e', stdioServer('stdio_tool', 'TOKEN')], env: { TOKEN: `\${KEY}` } },
    refused: { url: refusing.url, headers: { authorization: `Bearer \${KEY}` } },
    ends: {
      command: process.execPath,
      args: ['-e', 'console.error("no such database, " + process.env.TOKEN); process.exit(3)'],
      env: { TOKEN: `\${KEY}` },
    },
    absent: { command: 'no-such-program-anywhere' },
    silent: { command: process.execPath, args: ['-e', 'setInterval(() => {}, 1000)'] },
    unnamed: { url: overHttp.url, headers: { authorization: `\${NOBODY}\${NEITHER}` } },
    open: { command: 'echo', args: ['--token', `\${KEY}`] },
  } satisfies Record<string, McpServer>)
})

afterAll(async () => {
  await Promise.all([door?.close(), overHttp?.close(), overSse?.close(), refusing?.close()])
  await rm(directory, { recursive: true, force: true })
})

async function check(names: string[], seconds = 20) {
  const list = names.map((name) => {
    const server = servers[name]
    const type = server?.command ? 'stdio' : (server?.type ?? 'http')
    return { name, type, url: `${door.url}/${name}`, start_seconds: seconds }
  })
  const { stdout } = await execa(process.execPath, [program, 'check'], {
    input: JSON.stringify({ servers: list }),
    env: { AMBIENT_MCP_TOKEN: TOKEN },
  })
  const told = stdout.split('\n').map((line) => JSON.parse(line) as { name: string; [field: string]: unknown })
  return Object.fromEntries(told.map(({ name, milliseconds: _, ...rest }) => [name, rest]))
}

test('each kind of server tells its tools, and gets the values that its names stand for', async () => {
  expect(await check(['http', 'sse', 'stdio'])).toEqual({
    http: { ok: true, tools: ['http_tool'] },
    sse: { ok: true, tools: ['sse_tool'] },
    stdio: { ok: true, tools: ['stdio_tool'] },
  })
})

test('of a server that does not start it says why, without any value', async () => {
  const told = await check(['refused', 'ends', 'absent', 'unnamed', 'open', 'nowhere'])
  expect(told).toEqual({
    refused: { ok: false, reason: expect.stringMatching(/answers 401: who is \*\*\*\?$/) },
    ends: {
      ok: false,
      reason: 'It ended with exit code 3 before it had told its tools.',
      exit_code: 3,
      log_tail: 'no such database, ***',
    },
    absent: { ok: false, reason: expect.stringContaining('no-such-program-anywhere cannot be started') },
    unnamed: {
      ok: false,
      reason: `\${NOBODY} and \${NEITHER} are neither a secret that the run may have nor a variable of its environment.`,
    },
    open: { ok: false, reason: expect.stringContaining(`\${KEY} is a secret, and an argument can be read`) },
    nowhere: { ok: false, reason: 'The run has no MCP server nowhere.' },
  })
  expect(JSON.stringify(told)).not.toContain(SECRET)
})

test('one that says nothing is ended, with all that it has started, when its time is over', async () => {
  expect(await check(['silent'], 1)).toEqual({
    silent: { ok: false, reason: 'It has not told its tools within 1 s.' },
  })
})

describe('the way to them', () => {
  const ask = (name: string, token = TOKEN, init: RequestInit = {}) =>
    fetch(`${door.url}/${name}`, { ...init, headers: { authorization: `Bearer ${token}` } })

  test('is closed to whoever has no credential of the run, or comes from outside of its sandbox', async () => {
    expect((await ask('http', 'another')).status).toBe(401)
    place = 'outside'
    expect((await ask('stdio/command')).status).toBe(403)
    place = 'inside'
    expect(await (await ask('stdio/command')).json()).toMatchObject({ env: { TOKEN: SECRET } })
  })

  test('waits for the host to say where the sandbox is', async () => {
    place = 'not yet'
    const asked = ask('stdio/command')
    await new Promise((done) => setTimeout(done, 50))
    place = 'inside'
    expect((await asked).status).toBe(200)
  })

  test('tells nobody the values of a server that it speaks for', async () => {
    expect((await ask('http/command')).status).toBe(404)
  })

  test('leads to no private address that is not allowed', async () => {
    const closed = createMcpDoor({
      authorize: async () => ({ runId: 'run', execution: 1 }),
      place: async () => 'inside',
      resolve: async () => resolve(servers.http ?? {}, values),
      dispatcher: outsideAgent([], undefined, 'AMBIENT_MCP_ALLOW'),
      log: { warn: () => {} },
    })
    const server = createServer((request, response) => void closed.handle(request, response))
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    const answer = await fetch(`http://127.0.0.1:${port}/mcp-servers/http`, { headers: { 'x-api-key': 'any' } })
    expect(answer.status).toBe(502)
    expect(await answer.text()).toContain('can open it by AMBIENT_MCP_ALLOW')
    server.close()
  })

  test('leads from an event stream to no other server', async () => {
    const answer = await fetch(`${door.url}/sse`, {
      method: 'POST',
      body: '{}',
      headers: { authorization: `Bearer ${TOKEN}`, 'x-ambient-mcp-endpoint': refusing.url },
    })
    expect(answer.status).toBe(400)
  })
})
