// Files by which other programs know their MCP servers: `.mcp.json` of Claude Code and others, `mcp.json` of VS Code.
import { z } from 'zod'
import { issueWords } from '../issue-words.ts'
import { McpServer, McpServerName } from './server.ts'

export interface ReadServer {
  name: string
  /** As the file has it. */
  outcome: { kind: 'server'; server: McpServer } | { kind: 'refused'; reason: string }
}

const text = z.string()
const Entry = z.looseObject({
  type: text.optional(),
  command: text.optional(),
  args: z.array(text).optional(),
  env: z.record(text, z.union([text, z.number(), z.boolean()]).transform(String)).optional(),
  url: text.optional(),
  // As Gemini CLI, and Windsurf, say it.
  httpUrl: text.optional(),
  serverUrl: text.optional(),
  headers: z.record(text, text).optional(),
  disabled: z.boolean().optional(),
})

/**
 * The servers of such a file. A name that agents could not use is made one that they can.
 * @throws {SyntaxError} for what is no JSON, or has no servers in it.
 */
export function readMcpJson(content: string): ReadServer[] {
  const file: unknown = JSON.parse(content)
  const all = z
    .looseObject({
      mcpServers: z.record(text, z.unknown()).optional(),
      servers: z.record(text, z.unknown()).optional(),
    })
    .safeParse(file)
  const servers = all.success ? (all.data.mcpServers ?? all.data.servers) : undefined
  if (servers === undefined) throw new SyntaxError('It has no "mcpServers".')
  return Object.entries(servers).map(([given, entry]) => {
    const name = given.replace(/[^A-Za-z0-9_-]+/g, '-').replace(/^[-_]+|-+$/g, '')
    return { name: name === '' ? given : name, outcome: read(name, entry) }
  })
}

function read(name: string, given: unknown): ReadServer['outcome'] {
  const refused = (reason: string): ReadServer['outcome'] => ({ kind: 'refused', reason })
  const named = McpServerName.safeParse(name)
  if (!named.success) return refused(`its name ${wordsOf(named.error)}`)
  const parsed = Entry.safeParse(given)
  if (!parsed.success) return refused(wordsOf(parsed.error))
  const entry = parsed.data
  if (entry.disabled) return refused('it is switched off there')
  const url = entry.httpUrl ?? entry.url ?? entry.serverUrl
  // Gemini CLI's `url` alone is the older protocol; all others say so.
  const isSse =
    entry.type === 'sse' || (entry.type === undefined && entry.httpUrl === undefined && /\/sse\/?$/.test(url ?? ''))
  const fields =
    entry.command !== undefined
      ? { command: entry.command, args: entry.args, env: entry.env }
      : { url, headers: entry.headers, ...(isSse && { type: 'sse' }) }
  const asOurs = JSON.parse(JSON.stringify(fields).replace(/\$\{env:([A-Za-z_]\w*)\}/g, '$${$1}'))
  const foreign = /\$\{([^}]*[^A-Za-z0-9_}:-][^}]*|\w+:(?!-)[^}]*)\}/.exec(JSON.stringify(asOurs))
  if (foreign !== null) return refused(`${foreign[0]} means nothing here: name a secret, such as \${TOKEN}`)
  const server = McpServer.safeParse(asOurs)
  return server.success ? { kind: 'server', server: server.data } : refused(wordsOf(server.error))
}

const wordsOf = ({ issues: [issue] }: z.ZodError): string =>
  issue === undefined ? 'does not fit' : `${issue.path.join('.')} ${issueWords(issue)}`.trim()
