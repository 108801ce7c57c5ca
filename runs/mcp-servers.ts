// The MCP servers of a new run: those that are stored are copied, so that the run keeps what it began with.
import type { AgentName } from '../domain/harness.ts'
import type { McpServers } from '../domain/mcp/server.ts'
import { HttpError, invalid } from '../domain/problem.ts'
import type { AgentConfig } from '../domain/run.ts'
import type { Queryable } from '../store/database.ts'
import { mcpServersNamed } from '../store/mcp-servers.ts'

/**
 * The configuration with each stored server in the place of its name.
 * @throws {HttpError} 400 for one that the team has not; 422 for an agent that can have none.
 */
export async function withMcpServers<T extends Pick<AgentConfig, 'mcp_servers' | 'repository_mcp_servers'>>(
  db: Queryable,
  team: string,
  agent: AgentName,
  config: T,
): Promise<T> {
  const { mcp_servers: asked, repository_mcp_servers: ofRepository } = config
  const isAsked = Object.keys(asked ?? {}).length > 0
  if (agent === 'command' && (isAsked || ofRepository))
    throw new HttpError(
      422,
      'operation_not_supported',
      `config.${isAsked ? 'mcp_servers' : 'repository_mcp_servers'}: a command has no MCP servers. Name an agent, or give it empty.`,
    )
  return asked != null && isAsked ? { ...config, mcp_servers: await copies(db, team, asked) } : config
}

/** @throws {HttpError} 400 for a stored one that the team has not. */
export async function refuseUnknownServers(
  db: Queryable,
  team: string,
  asked: McpServers | null | undefined,
): Promise<void> {
  await copies(db, team, asked ?? {})
}

async function copies(db: Queryable, team: string, asked: McpServers): Promise<McpServers> {
  const entries = Object.entries(asked)
  const named = entries.flatMap(([, { warp_id: id }]) => id ?? [])
  const stored = await mcpServersNamed(db, team, named)
  return Object.fromEntries(
    entries.map(([name, server]) => {
      const { warp_id: id, required } = server
      if (id === undefined) return [name, server]
      const copy = stored.get(id)
      if (copy === undefined) throw invalid(`config.mcp_servers.${name}.warp_id: the team has no MCP server ${id}.`)
      return [name, { ...copy, ...(required !== undefined && { required }) }]
    }),
  )
}
