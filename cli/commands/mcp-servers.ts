// `ambient mcp-servers`: the stored servers of tools.
import { readFile } from 'node:fs/promises'
import { text as readAll } from 'node:stream/consumers'
import { callerVariable, typed } from '../../config.ts'
import { readMcpJson } from '../../domain/mcp/mcp-json.ts'
import { type McpServer, type McpServerConfig, type McpServerItem, typeOf } from '../../domain/mcp/server.ts'
import type { Api } from '../api/client.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findNamed } from '../find-named.ts'
import { readEnv } from '../input.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { clean, oneLine } from '../render/text.ts'
import { createScreen } from '../screen.ts'

export interface McpServerOptions {
  name?: string
  description?: string
  url?: string
  sse?: boolean
  header?: string[]
  command?: string
  arg?: string[]
  env?: string[]
  required?: boolean
  startSeconds?: number
  json?: boolean
}

export interface ImportOptions {
  replace?: boolean
  json?: boolean
}

export async function mcpServers({ json }: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const servers = await connect().mcpServers.list()
  if (json) screen.write(`${JSON.stringify({ mcp_servers: servers })}\n`)
  else if (servers.length === 0)
    screen.write(`No MCP server is stored. Store one: ${typed} mcp-servers create <name> --url <url>\n`)
  else screen.write(renderServers(servers, screen.style))
  return exitCodes.succeeded
}

const renderServers = (servers: readonly McpServerItem[], { colours }: Style): string =>
  table(
    ['NAME', 'UID', 'KIND', 'WHERE'],
    servers.map((server) => [clean(server.name), server.uid, typeOf(server), oneLine(placeOf(server), 80)]),
    colours.dim,
  )

const placeOf = ({ url, command, args = [] }: McpServer): string => url ?? [command, ...args].join(' ')

export async function show(given: string, { json }: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const item = await find(connect(), given)
  screen.write(json ? `${JSON.stringify(item)}\n` : renderServer(item, screen.style))
  return exitCodes.succeeded
}

function renderServer(item: McpServerItem, { colours }: Style): string {
  const values = (map: Record<string, string> = {}) => Object.entries(map).map(([name, value]) => `${name}=${value}`)
  const facts: [string, string | null | undefined][] = [
    ['MCP server', item.uid],
    ['Name', item.name],
    ['Description', item.description],
    ['Kind', typeOf(item)],
    [item.url === undefined ? 'Command' : 'URL', placeOf(item)],
    ...values(item.headers).map((header): [string, string] => ['Header', header]),
    ...values(item.env).map((variable): [string, string] => ['Variable', variable]),
    ['Fails', item.required ? 'the run' : 'alone: runs go on without it'],
    ['Starts', item.start_seconds === undefined ? null : `within ${item.start_seconds} s`],
    ['Changed', item.updated_at],
  ]
  return facts
    .filter(([, value]) => value != null && value !== '')
    .map(([name, value]) => `${colours.dim(name.padEnd(12))}${clean(String(value))}\n`)
    .join('')
}

export async function create(name: string, options: McpServerOptions): Promise<ExitCode> {
  return tell(await connect().mcpServers.create(withOptions({ name }, { ...options, name })), options, 'is stored')
}

export async function update(given: string, options: McpServerOptions): Promise<ExitCode> {
  const api = connect()
  const {
    uid,
    team: _,
    creator: _creator,
    created_at: _created,
    updated_at: _updated,
    ...config
  } = await find(api, given)
  return tell(await api.mcpServers.replace(uid, withOptions(config, options)), options, 'is changed')
}

function tell(item: McpServerItem, { json }: { json?: boolean }, what: string): ExitCode {
  const screen = createScreen()
  screen.write(json ? `${JSON.stringify(item)}\n` : `${clean(item.name)} ${what}: ${item.uid}\n`)
  if (!json) screen.note(`Give it to an agent: ${typed} run "…" --mcp ${item.name}`)
  return exitCodes.succeeded
}

export async function remove(given: string): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid, name } = await find(api, given)
  await api.mcpServers.remove(uid)
  screen.write(`${clean(name)} is deleted.\n`)
  return exitCodes.succeeded
}

/** One that cannot be stored hinders no other. */
export async function importFile(file: string, { replace, json }: ImportOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const there = new Map((await api.mcpServers.list()).map((item) => [item.name, item]))
  const stored: McpServerItem[] = []
  let isWhole = true
  const pass = (name: string, why: string) => {
    isWhole = false
    screen.note(`! ${clean(name)} is left out: ${clean(why)}.`)
  }
  for (const { name, outcome } of await readServers(file)) {
    const former = there.get(name)
    if (outcome.kind === 'refused') pass(name, outcome.reason)
    else if (former && !replace) pass(name, 'there is one of this name already; --replace replaces it')
    else {
      const config = { ...outcome.server, name } as McpServerConfig
      const item = await (former ? api.mcpServers.replace(former.uid, config) : api.mcpServers.create(config))
      stored.push(item)
      if (!json) screen.write(`${clean(name)} is ${former ? 'replaced' : 'stored'}: ${item.uid}\n`)
    }
  }
  if (json) screen.write(`${JSON.stringify({ mcp_servers: stored })}\n`)
  return isWhole ? exitCodes.succeeded : exitCodes.error
}

async function readServers(file: string) {
  const text =
    file === '-'
      ? await readAll(process.stdin)
      : await readFile(file, 'utf8').catch((error: Error) => {
          throw usageError(`The file ${file} cannot be read (${(error as NodeJS.ErrnoException).code}).`)
        })
  try {
    return readMcpJson(text)
  } catch (error) {
    if (error instanceof SyntaxError) throw usageError(`${file} names no MCP servers: ${error.message}`)
    throw error
  }
}

/**
 * `--mcp` of a run: names of stored servers, and files such as `.mcp.json`, whose
 * servers are the run's alone.
 */
export async function namedServers(api: Api, given: readonly string[]): Promise<Record<string, McpServer>> {
  const servers: Record<string, McpServer> = {}
  for (const word of given) {
    if (/[/.]/.test(word)) {
      for (const { name, outcome } of await readServers(word)) {
        if (outcome.kind === 'refused') throw usageError(`${word}: ${clean(name)}: ${clean(outcome.reason)}.`)
        servers[name] = outcome.server
      }
    } else {
      const { uid, name } = await find(api, word)
      servers[name] = { warp_id: uid }
    }
  }
  return servers
}

const find = async (api: Api, given: string): Promise<McpServerItem> =>
  findNamed(await api.mcpServers.list(), given, { one: 'MCP server', all: 'mcp-servers' }, (item) => item)

/** What options name takes the place of what is there; headers and variables join those that are. */
function withOptions(base: McpServerConfig, options: McpServerOptions): McpServerConfig {
  const { url, command, header = [], env = [], arg } = options
  // The other way of reaching it goes with what belonged to it.
  const { url: _url, headers, type, command: _command, args, env: variables, ...common } = base
  if (url !== undefined && command !== undefined) throw usageError('A server has a --url or a --command, not both.')
  const isUrl = command === undefined && (url ?? base.url) !== undefined
  if (isUrl && arg !== undefined) throw usageError('--arg is only for a --command: this server has a URL.')
  if (!isUrl && options.sse) throw usageError('--sse is only for a --url: this server has a command.')
  const allHeaders = { ...headers, ...readHeaders(header) }
  const allVariables = { ...variables, ...readEnv(env, callerVariable) }
  const given = {
    name: options.name,
    description: options.description,
    required: options.required,
    start_seconds: options.startSeconds,
  }
  return {
    ...common,
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    ...(isUrl
      ? {
          url: url ?? base.url,
          ...(Object.keys(allHeaders).length > 0 && { headers: allHeaders }),
          ...(options.sse ? { type: 'sse' as const } : type && type !== 'stdio' && { type }),
          // The server says what is wrong with them.
          ...(env.length > 0 && { env: allVariables }),
        }
      : {
          command: command ?? base.command,
          ...((arg ?? args) && { args: arg ?? args }),
          ...(Object.keys(allVariables).length > 0 && { env: allVariables }),
          ...(header.length > 0 && { headers: allHeaders }),
        }),
  }
}

function readHeaders(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [, name, value] = /^([^=:\s]+)\s*[=:]\s*(.*)$/s.exec(pair) ?? []
      if (name === undefined || value === undefined) throw usageError('A --header is written as name=value.')
      return [name, value]
    }),
  )
}
