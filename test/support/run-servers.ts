// The MCP servers of a run as an agent is given them: by way of the gateway's door, and a program that asks it.
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { McpServer as AgentServer } from '@agentclientprotocol/sdk/unstable'
import { mcpProgram } from '../../activities/host/mcp-program.ts'
import { agentServerOf } from '../../activities/host/mcp-servers.ts'
import type { McpServer } from '../../domain/mcp/server.ts'
import { createMcpDoor } from '../../secrets/mcp/door.ts'
import { resolve } from '../../secrets/mcp/resolve.ts'
import { outsideAgent } from '../../webhooks/outside.ts'
import { startHttpServer, startSseServer, stdioServer } from './mcp-servers.ts'

export interface RunServers {
  /** What stands for `KEY` in all of them. */
  value: string
  names: readonly string[]
  /** One of each. */
  tools: readonly string[]
  given(options: { node: string; token: string }): AgentServer[]
  /** Tool, arguments and authorization of each call over HTTP. */
  calls(): unknown[][]
  close(): Promise<void>
}

export async function startRunServers(token: string): Promise<RunServers> {
  const value = `key-${randomUUID()}`
  const directory = await mkdtemp(join(tmpdir(), 'run-servers-'))
  const program = join(directory, 'mcp-servers.mjs')
  await writeFile(program, mcpProgram)
  const [overHttp, overSse] = await Promise.all([startHttpServer('http_tool'), startSseServer('sse_tool')])
  const authorization = `Bearer \${KEY}`
  const servers: Record<string, McpServer> = {
    files: { command: process.execPath, args: ['-e', stdioServer('stdio_tool', 'TOKEN')], env: { TOKEN: `\${KEY}` } },
    web: { url: overHttp.url, headers: { authorization } },
    older: { url: overSse.url, type: 'sse', headers: { authorization } },
  }
  const door = createMcpDoor({
    authorize: async (given) => (given === token ? { runId: 'run', execution: 1 } : null),
    place: async () => 'inside',
    resolve: async (_, name) =>
      servers[name] ? resolve(servers[name], new Map([['KEY', { value, isSecret: true }]])) : null,
    dispatcher: outsideAgent(['127.0.0.1']),
    log: { warn: () => {} },
  })
  const gateway = createServer((request, response) => void door.handle(request, response))
  await new Promise<void>((done) => gateway.listen(0, '127.0.0.1', done))
  const { port } = gateway.address() as AddressInfo
  const types = { files: 'stdio', web: 'http', older: 'sse' } as const
  return {
    value,
    names: Object.keys(types),
    tools: ['stdio_tool', 'http_tool', 'sse_tool'],
    given: ({ node, token: told }) =>
      Object.entries(types).map(([name, type]) =>
        agentServerOf(
          { name, type },
          { url: `http://127.0.0.1:${port}/mcp-servers/${name}`, node, program, token: told },
        ),
      ),
    calls: () =>
      [...overHttp.calls, ...overSse.calls].map(({ tool, arguments: given, headers }) => [
        tool,
        given,
        headers.authorization,
      ]),
    async close() {
      gateway.closeAllConnections()
      await Promise.all([overHttp.close(), overSse.close(), new Promise((done) => gateway.close(done))])
      await rm(directory, { recursive: true, force: true })
    },
  }
}
