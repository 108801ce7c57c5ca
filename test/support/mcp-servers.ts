// Other people's servers of the Model Context Protocol, as runs may name them: a command, and over HTTP in both protocols.
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

interface Call {
  tool: string
  arguments: unknown
  /** Of the request that it came with. */
  headers: IncomingHttpHeaders
}

export interface McpServerStandIn {
  readonly url: string
  readonly calls: readonly Call[]
  close(): Promise<void>
}

const answerTo = (tool: string, method: string, params: Record<string, unknown> | undefined) =>
  ({
    initialize: {
      protocolVersion: params?.protocolVersion,
      capabilities: { tools: {} },
      serverInfo: { name: 'stand-in', version: '1' },
    },
    'tools/list': {
      tools: [
        {
          name: tool,
          description: 'Says it back.',
          inputSchema: { type: 'object', properties: { say: { type: 'string' } } },
        },
      ],
    },
    'tools/call': { content: [{ type: 'text', text: [tool, 'was called.'].join(' ') }] },
    ping: {},
  })[method]

/** A program for `node -e`: it has one tool, which answers with what its variable says. */
export const stdioServer = (tool: string, variable: string): string => `
const answers = ${answerTo.toString()}
if (!process.env[${JSON.stringify(variable)}]) {
  console.error('the variable is missing')
  process.exit(7)
}
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params } = JSON.parse(line)
  if (id === undefined) return
  let result = answers(${JSON.stringify(tool)}, method, params)
  if (method === 'tools/call') {
    const value = process.env[${JSON.stringify(variable)}]
    result = { content: [{ type: 'text', text: 'It has ' + [...value].reverse().join('') }] }
  }
  const answer = result ? { result } : { error: { code: -32601, message: 'no such method' } }
  console.log(JSON.stringify({ jsonrpc: '2.0', id, ...answer }))
})`

/** With sessions, and answers as event streams. */
export const startHttpServer = (tool: string): Promise<McpServerStandIn> => {
  const sessions = new Set<string>()
  return listen('/mcp', async (request, response, calls) => {
    const session = request.headers['mcp-session-id']
    if (request.method === 'DELETE') return void response.writeHead(204).end()
    if (request.method !== 'POST') return void response.writeHead(405, { allow: 'POST, DELETE' }).end()
    const { id, method, params } = JSON.parse(await text(request))
    if (method === 'initialize') {
      const made = randomUUID()
      sessions.add(made)
      response.setHeader('mcp-session-id', made)
    } else if (!sessions.has(String(session))) return void response.writeHead(404).end()
    if (id === undefined) return void response.writeHead(202).end()
    if (method === 'tools/call')
      calls.push({ tool: params.name, arguments: params.arguments, headers: request.headers })
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(
      `event: message\ndata: ${JSON.stringify({ jsonrpc: '2.0', id, ...outcome(tool, method, params) })}\n\n`,
    )
  })
}

/** Of the older protocol: answers come in a stream that says first where messages go. */
export const startSseServer = (tool: string): Promise<McpServerStandIn> => {
  const streams = new Map<string, ServerResponse>()
  return listen('/sse', async (request, response, calls) => {
    const url = new URL(request.url ?? '', 'http://here')
    if (request.method === 'GET' && url.pathname === '/sse') {
      const id = randomUUID()
      streams.set(id, response)
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      return void response.write(`event: endpoint\ndata: /messages?session=${id}\n\n`)
    }
    const stream = streams.get(url.searchParams.get('session') ?? '')
    if (request.method !== 'POST' || !stream) return void response.writeHead(404).end()
    const { id, method, params } = JSON.parse(await text(request))
    response.writeHead(202).end('Accepted')
    if (id === undefined) return
    if (method === 'tools/call')
      calls.push({ tool: params.name, arguments: params.arguments, headers: request.headers })
    stream.write(
      `event: message\ndata: ${JSON.stringify({ jsonrpc: '2.0', id, ...outcome(tool, method, params) })}\n\n`,
    )
  })
}

function outcome(tool: string, method: string, params: Record<string, unknown> | undefined) {
  const result = answerTo(tool, method, params)
  return result === undefined ? { error: { code: -32601, message: 'no such method' } } : { result }
}

type Handler = (request: IncomingMessage, response: ServerResponse, calls: Call[]) => Promise<void>

/** A server of any manner, at a path of this machine. */
export async function listen(path: string, handle: Handler): Promise<McpServerStandIn> {
  const calls: Call[] = []
  const server = createServer((request, response) => {
    handle(request, response, calls).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}${path}`,
    calls,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
