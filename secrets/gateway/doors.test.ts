// A run's credentials at every door of the gateway (models, tools, MCP servers, git), as the gateway's process wires them.
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Dispatcher } from 'undici'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { loadConfig } from '../../config.ts'
import { brokerUrl, gitPlace } from '../../domain/git/url.ts'
import type { CredentialBinding } from '../../domain/host-api.ts'
import { MCP_SERVERS_PATH } from '../../domain/mcp/server.ts'
import { InlineEnvironment } from '../../domain/run.ts'
import { TOOLS_PATH } from '../../domain/tools.ts'
import { isClosed } from '../../environments/egress/addresses.ts'
import { findGitGrant, issueRunGitToken } from '../../store/git/tokens.ts'
import { lockRun } from '../../store/locking.ts'
import {
  bindingOf,
  claimCredential,
  findCredential,
  findToolCredential,
  issueCredentials,
} from '../../store/runs/credentials.ts'
import { changeSandbox } from '../../store/runs/sandboxes.ts'
import { changeState } from '../../store/runs/states.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { bareRepository, type HttpGitServer, httpGitServer } from '../../test/support/git-server.ts'
import { type McpServerStandIn, startHttpServer } from '../../test/support/mcp-servers.ts'
import { givenRun } from '../../test/support/runs.ts'
import { outsideAgent } from '../../webhooks/outside.ts'
import { createGitBroker } from '../git/broker.ts'
import { mayUseGit } from '../git/place.ts'
import { createGitSources } from '../git/sources.ts'
import { createUpstream, type Upstream } from '../git/upstream.ts'
import { createMcpDoor } from '../mcp/door.ts'
import { resolveServer } from '../mcp/resolve.ts'
import { createToolsDoor } from '../tools/door.ts'
import { placeOf } from './binding.ts'
import { createGateway, type Gateway } from './gateway.ts'

const TOKEN = 'real-token-of-the-team-01'
const log = { warn: () => {}, info: () => {} }

let api: TestApi
let directory: string
let git: HttpGitServer
let mcp: McpServerStandIn
let model: http.Server
let upstream: Upstream
let outside: Dispatcher
let gateway: Gateway
let port: number
let clock: number

beforeAll(async () => {
  api = await startTestApi()
  directory = await mkdtemp(join(tmpdir(), 'ambient-doors-'))
  await bareRepository(directory, 'private/app.git', { file: 'one\n' })
  git = await httpGitServer(directory, { 'x-access-token': TOKEN })
  mcp = await startHttpServer('echo')
  model = http.createServer((request, response) => request.resume().on('end', () => response.end('{}')))
  await new Promise<void>((resolve) => model.listen(0, '127.0.0.1', resolve))
  const made = await api.call('POST', '/agent/git-credentials', { name: 'Git', url: git.url, token: TOKEN })
  expect(made.status).toBe(201)
})
afterAll(async () => {
  await git?.stop()
  await mcp?.close()
  model?.close()
  await api?.close()
  await rm(directory, { recursive: true, force: true })
})

beforeEach(async () => {
  clock = Date.now()
  const now = () => clock
  const { db, vault } = api
  upstream = createUpstream((at) => !isClosed(at, ['127.0.0.1']))
  outside = outsideAgent(['127.0.0.1'])
  const target = { baseUrl: `http://127.0.0.1:${(model.address() as AddressInfo).port}`, apiKey: 'real' }
  const tools = {
    authorize: (token: string) => findToolCredential(db, token),
    place: async (run: { runId: string; execution: number }, request: http.IncomingMessage) =>
      placeOf(await bindingOf(db, run), request, (address) => claimCredential(db, run, address)),
    log,
  }
  gateway = createGateway({
    authorize: (token) => findCredential(db, token),
    claim: (run, address) => claimCredential(db, run, address),
    route: async () => ({ target, priced: true }),
    tools: createToolsDoor({ ...tools, serverUrl: api.url, maxBytes: 100_000 }),
    mcpServers: createMcpDoor({
      ...tools,
      resolve: (runId, name) => resolveServer(db, vault, runId, name),
      dispatcher: outside,
    }),
    git: createGitBroker({
      findGrant: (token) => findGitGrant(db, token),
      sources: createGitSources({ db, vault, upstream, config: loadConfig({}), now }),
      upstream,
      mayUse: (grant, request) => mayUseGit(db, grant, request),
      log,
      now,
    }),
    log,
    now,
  })
  port = await gateway.listen(0, '127.0.0.1')
})
afterEach(async () => {
  await gateway.close(0)
  upstream.close()
  await outside.close()
})

interface Answer {
  status: number
  body: string
}
/** Asks the gateway for something, from an address of this machine. */
type Ask = (from: string) => Promise<Answer>
const doors = ['models', 'tools', 'MCP servers', 'git'] as const

/** A run at work, and what its agent asks of each door. */
async function runAtWork(binding: CredentialBinding | null) {
  const repository = `${git.url}/private/app.git`
  const { runId } = await givenRun(api.db, {
    config: { mcp_servers: { echo: { url: mcp.url } } },
    environment: InlineEnvironment.parse({ repos: [{ url: repository }] }),
  })
  await api.hold(runId)
  const ref = { runId, execution: 1 }
  const { token, toolToken } = await issueCredentials(api.db, ref, binding)
  const gitToken = await issueRunGitToken(api.db, ref, { forHost: false, binding })
  const place = gitPlace(repository)
  if (place === null) throw new Error('no place')
  const rpc = (method: string, params: object) => JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const asTool = {
    authorization: `Bearer ${toolToken}`,
    'content-type': 'application/json',
    accept: 'application/json',
  }
  const refs = `${brokerUrl('', place)}/info/refs?service=git-upload-pack`
  const basic = `Basic ${Buffer.from(`ambient:${gitToken}`).toString('base64')}`
  const progress = { name: 'post_progress', arguments: { message: 'Half of it' } }
  const asks: Record<(typeof doors)[number], Ask> = {
    models: (from) => ask(from, '/anthropic/v1/messages', { 'x-api-key': token }, '{"model":"m"}'),
    tools: (from) => ask(from, TOOLS_PATH, asTool, rpc('tools/call', progress)),
    'MCP servers': (from) => ask(from, `${MCP_SERVERS_PATH}/echo`, asTool, rpc('initialize', {})),
    git: (from) => ask(from, refs, { authorization: basic }),
  }
  return { runId, asks }
}

function ask(from: string, path: string, headers: Record<string, string>, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST'
    const options = { host: '127.0.0.1', port, path, method, headers, localAddress: from, agent: false }
    const request = http.request(options, (response) => {
      text(response).then((answer) => resolve({ status: response.statusCode ?? 0, body: answer }), reject)
    })
    request.on('error', reject)
    request.end(body)
  })
}

test('after the end of its run each of its credentials is refused at its door, in words', async () => {
  const { runId, asks } = await runAtWork(null)
  for (const door of doors) expect(await asks[door]('127.0.0.1'), door).toMatchObject({ status: 200 })
  await api.db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, runId)
    await changeState(tx, run, { execution: 1, key: 'end', state: 'SUCCEEDED' })
    await changeSandbox(tx, run, { running: false, workspaceKept: true }, 24)
  })
  // A good answer is remembered for some seconds.
  clock += 6_000
  const refused = { models: 401, tools: 401, 'MCP servers': 401, git: 403 }
  for (const door of doors) {
    const { status, body } = await asks[door]('127.0.0.1')
    expect([door, status]).toEqual([door, refused[door]])
    expect(body).toMatch(/good only while its run's sandbox is held|ends with its run's sandbox/)
  }
})

test.each(doors)(
  'where nobody can tell where a sandbox is, the address that uses one of its credentials first (%s) is the only one for all',
  async (first) => {
    const { asks } = await runAtWork({ kind: 'first' })
    expect(await asks[first]('127.0.0.2')).toMatchObject({ status: 200 })
    for (const door of doors) expect(await asks[door]('127.0.0.3'), door).toMatchObject(REFUSED)
    for (const door of doors) expect(await asks[door]('127.0.0.2'), door).toMatchObject({ status: 200 })
    for (const door of doors) expect(await asks[door]('127.0.0.3'), door).toMatchObject(REFUSED)
  },
)

const REFUSED = {
  status: 403,
  body: expect.stringMatching(/inside of its run's sandbox|in the sandbox that it was given to/),
}
