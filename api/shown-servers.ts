// MCP servers in answers, as whoever asks may see them.
import type { McpServers } from '../domain/mcp/server.ts'
import { configWithServers, shownServer, type ValuedServer, withServers } from '../domain/mcp/values.ts'
import { may } from '../domain/permission.ts'
import { VaultError } from '../domain/vault/vault.ts'
import { openServer } from '../secrets/mcp/values.ts'
import type { Caller } from './access/caller.ts'
import type { ApiDeps } from './deps.ts'

type Servers = McpServers | null | undefined

/**
 * Servers of the caller's team as their store serves them, for an answer to this caller. Arguments and URLs are shown
 * to whoever may manage servers, and hidden from all others.
 */
export function shownTo({ vault }: Pick<ApiDeps, 'vault'>, caller: Caller) {
  const server = <T extends ValuedServer>(given: T): T => {
    if (!may('mcp_servers.manage', caller)) return shownServer(given)
    try {
      return openServer(vault, caller.team, given)
    } catch (error) {
      // Without the key, nobody can see more.
      if (error instanceof VaultError) return shownServer(given)
      throw error
    }
  }
  return {
    server,
    servers: (given: McpServers): McpServers => withServers(given, server),
    config: <T extends { mcp_servers?: Servers }>(given: T): T => configWithServers(given, server),
  }
}
