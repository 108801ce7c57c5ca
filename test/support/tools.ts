// What an agent does with its tools, over the Model Context Protocol.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { TOOLS_PASS_HEADER } from '../../domain/tools.ts'
import { toolList } from '../../secrets/tools/handshake.ts'
import type { Db } from '../../store/database.ts'
import { findToolCredential } from '../../store/runs/credentials.ts'

export interface ToolAnswer {
  status: number
  isError: boolean
  text: string
}

/** What the gateway shows the server with a call that it hands on. */
export async function passOf(db: Db, token: string): Promise<Record<string, string>> {
  const holder = await findToolCredential(db, token)
  return holder === null ? {} : { [TOOLS_PASS_HEADER]: holder.pass }
}

export async function callTool(
  url: string,
  token: string,
  name: string,
  args: Record<string, unknown>,
  headers: Record<string, string> = {},
): Promise<ToolAnswer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...headers,
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: args } }),
  })
  const body = (await response.json()) as { result?: { isError?: boolean; content: { text: string }[] } }
  const { result } = body
  return {
    status: response.status,
    isError: result?.isError ?? false,
    text: result?.content[0]?.text ?? JSON.stringify(body),
  }
}

export interface ToolServer {
  readonly url: string
  readonly calls: readonly { name: string; arguments: unknown; authorization: string | undefined }[]
  close(): Promise<void>
}

/** A server of the tools that every agent gets, which notes what it is asked. */
export async function startToolServer(): Promise<ToolServer> {
  const calls: ToolServer['calls'][number][] = []
  const server = createServer(async (request, response) => {
    if (request.method !== 'POST') return void response.writeHead(405, { allow: 'POST' }).end()
    const message = JSON.parse(await text(request))
    const { id, method, params } = message
    if (id === undefined) return void response.writeHead(202).end()
    const { authorization } = request.headers
    if (method === 'tools/call') calls.push({ ...params, authorization })
    const result = {
      initialize: {
        protocolVersion: params?.protocolVersion,
        capabilities: { tools: {} },
        serverInfo: { name: 'ambient', version: '1' },
      },
      'tools/list': { tools: toolList },
      'tools/call': { content: [{ type: 'text', text: 'Done by the server.' }] },
    }[method as string]
    const answer = result === undefined ? { error: { code: -32601, message: 'no such method' } } : { result }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ jsonrpc: '2.0', id, ...answer }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    calls,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
