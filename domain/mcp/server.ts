// Servers of the Model Context Protocol that agents are given: how they are reached, and what stands in for their secrets.
import { z } from 'zod'
import { Profile, Uid } from '../account.ts'
import { TOOLS_SERVER } from '../tools.ts'

/** Most servers of one run, and stored ones of one team. */
export const MCP_SERVERS = 30
export const STORED_MCP_SERVERS = 200

/** How long a server may take to tell its tools, where nobody says otherwise. */
export const MCP_START_SECONDS = 30

const plain = (max: number) =>
  z
    .string()
    .max(max)
    .refine((value) => !value.includes('\0'), { error: 'contains a NUL character' })

const oneLine = (max: number) => plain(max).refine((value) => !/[\r\n]/.test(value), { error: 'must be one line' })

/** It becomes part of the names of its tools. One of ours must not be mistaken for it: agents use some of those unasked. */
export const McpServerName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$/, 'must be up to 50 letters, digits, dashes or underscores')
  .refine((name) => !name.toLowerCase().startsWith(TOOLS_SERVER), { error: `must not begin with "${TOOLS_SERVER}"` })

/** `${NAME}` or `${NAME:-otherwise}`. With a dollar before it, it stands for itself: for a shell among the arguments. */
const reference = /\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}/g

/** The URL as it would be with any value in place of its references; null where that is none. */
export const urlOf = (text: string) => URL.parse(text.replace(reference, 'x'))

const ServerUrl = oneLine(2048)
  .refine((text) => /^https?:$/.test(urlOf(text)?.protocol ?? '') && /^https?:\/\/[^/?#$]+([/?#]|$)/.test(text), {
    error: `must be a URL: https://… or http://…, whose host is no \${NAME}`,
  })
  .refine((text) => !urlOf(text)?.username && !urlOf(text)?.password, {
    error: 'must have no user name and password: give them as a header',
  })

const HeaderName = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/, 'must be the name of a header')
/** What a connection or the protocol itself says, nobody else does. */
const ownHeaders = /^(host|connection|content-length|transfer-encoding|upgrade|te|trailer|mcp-session-id|expect)$/i

const EnvName = z
  .string()
  .max(200)
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be letters, digits and underscores, and not begin with a digit')
  .refine((name) => !name.startsWith('AMBIENT_'), { error: 'is a reserved name' })

const fields = {
  command: plain(4096)
    .min(1)
    .optional()
    .describe('A program that is started in the sandbox and speaks on its stdin and stdout.'),
  args: z
    .array(plain(32 * 1024))
    .max(100)
    .optional()
    .describe('Of the program. Kept sealed; shown to those who may manage MCP servers, as `***` to all others.'),
  env: z
    .record(EnvName, plain(32 * 1024))
    .optional()
    .describe(`Variables of the program. \`\${NAME}\` stands for a secret or a variable of the run.`),
  url: ServerUrl.optional().describe(
    'A server that is reached over HTTP, by way of the model gateway. Its path is kept as `args`, values of its query as those of `headers`.',
  ),
  headers: z
    .record(
      HeaderName.refine((name) => !ownHeaders.test(name), { error: 'is not to be set' }),
      oneLine(32 * 1024),
    )
    .optional()
    .describe(`Sent with every request to the URL. \`\${NAME}\` as in \`env\`. They never enter the sandbox.`),
  type: z
    .enum(['stdio', 'http', 'sse'])
    .optional()
    .describe('Of a URL: `http`, unless it is one of the older protocol with an event stream, `sse`.'),
  required: z
    .boolean()
    .optional()
    .describe('True: the run fails where this server does not start. Absent: it goes on without.'),
  start_seconds: z
    .number()
    .int()
    .min(1)
    .max(600)
    .optional()
    .describe(`How long it may take to start and tell its tools. Absent: ${MCP_START_SECONDS}.`),
}

interface Ways {
  warp_id?: string | undefined
  command?: string | undefined
  args?: string[] | undefined
  env?: Record<string, string> | undefined
  url?: string | undefined
  headers?: Record<string, string> | undefined
  type?: 'stdio' | 'http' | 'sse' | undefined
}

/** What belongs to another way of reaching it than the one that is given. */
function refuseOthers(server: Ways, context: z.RefinementCtx): void {
  const refuse = (field: keyof Ways, words: string) =>
    context.addIssue({ code: 'custom', path: [field], message: words })
  if (server.url === undefined && server.headers !== undefined) refuse('headers', 'is only for a url')
  if (server.command === undefined)
    for (const field of ['args', 'env'] as const)
      if (server[field] !== undefined) refuse(field, 'is only for a command')
  if (server.type !== undefined && (server.type === 'stdio') !== (server.command !== undefined))
    refuse('type', server.command === undefined ? 'stdio is only for a command' : 'must be stdio for a command')
}

const oneOf = (ways: (keyof Ways)[]) => (server: Ways) => ways.filter((way) => server[way] !== undefined).length === 1

/** Exactly one way to reach it. */
export const McpServer = z
  .strictObject({
    warp_id: z.string().min(1).max(100).optional().describe('A stored one of the team, by its uid or name.'),
    ...fields,
  })
  .refine(oneOf(['warp_id', 'command', 'url']), { error: 'must have exactly one of warp_id, command and url' })
  .superRefine(refuseOthers)
  .meta({ id: 'McpServer' })
export type McpServer = z.infer<typeof McpServer>

/** By the name that agents know them under. */
export const McpServers = z
  .record(McpServerName, McpServer)
  .refine((map) => Object.keys(map).length <= MCP_SERVERS, { error: `more than ${MCP_SERVERS} servers` })
export type McpServers = z.infer<typeof McpServers>

const storedFields = {
  name: McpServerName,
  description: plain(2_000).nullish(),
  ...fields,
}

/** Body of `POST /agent/mcp-servers`, and of `PUT`, which replaces everything; a value as it was shown stands for the stored one. */
export const McpServerConfig = z
  .strictObject(storedFields)
  .refine(oneOf(['command', 'url']), { error: 'must have exactly one of command and url' })
  .superRefine(refuseOthers)
  .meta({ id: 'McpServerConfig' })
export type McpServerConfig = z.infer<typeof McpServerConfig>

/** A stored one as it is served. */
export const McpServerItem = z
  .object({
    uid: Uid.describe('For `warp_id`.'),
    ...storedFields,
    team: z.string(),
    creator: Profile,
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: 'StoredMcpServer' })
export type McpServerItem = z.infer<typeof McpServerItem>

export const McpServerList = z
  .object({ mcp_servers: z.array(McpServerItem).describe('By name.') })
  .meta({ id: 'ListMcpServersResponse' })

/** What a host is told of a run's server: its values stay where they are. */
export const McpServerOrder = z.object({
  name: z.string(),
  type: z.enum(['stdio', 'http', 'sse']),
  required: z.boolean(),
  start_seconds: z.number(),
})
export type McpServerOrder = z.infer<typeof McpServerOrder>

export const typeOf = ({ command, type }: Pick<McpServer, 'command' | 'type'>): McpServerOrder['type'] =>
  command === undefined ? (type === 'sse' ? 'sse' : 'http') : 'stdio'

/** Where the gateway serves those of a run: `/mcp-servers/<name>`, and for a command `/mcp-servers/<name>/command` → {@link McpCommand}. */
export const MCP_SERVERS_PATH = '/mcp-servers'
/** Of a request to a server of the older protocol: where its event stream has said that messages go. */
export const MCP_ENDPOINT_HEADER = 'x-ambient-mcp-endpoint'

/** A command with its values. Only ever given to the sandbox that is to start it. */
export const McpCommand = z.object({
  command: z.string(),
  args: z.array(z.string()),
  env: z.record(z.string(), z.string()),
})
export type McpCommand = z.infer<typeof McpCommand>

/** The text with values in the place of references, or the names that stand for nothing. */
export function expand(
  text: string,
  lookUp: (name: string) => string | undefined,
): { text: string; missing: string[] } {
  const missing: string[] = []
  const expanded = text.replace(reference, (whole, name: string | undefined, otherwise: string | undefined) => {
    if (name === undefined) return whole.slice(1)
    const value = lookUp(name) ?? otherwise
    if (value === undefined) missing.push(name)
    return value ?? whole
  })
  return { text: expanded, missing }
}

/** The names that a text refers to. */
export const namesIn = (text: string): string[] => [...text.matchAll(reference)].flatMap(([, name]) => name ?? [])
