// The values of MCP servers as they are kept: sealed where they stand, unless they are nothing but names of secrets.
import type { McpServers } from '../../domain/mcp/server.ts'
import { isHidden, isReference, mapValues, type ValuedServer, withStoredValues } from '../../domain/mcp/values.ts'
import { invalid } from '../../domain/problem.ts'
import { sealedBytes, sealedText } from '../../domain/vault/sealed.ts'
import type { Vault } from '../../domain/vault/vault.ts'

/** A server is copied from what is stored into runs of its team, so its values are bound to the team. */
const contextOf = (team: string) => `mcp-servers:${team}`

/** What somebody has sent, with its values sealed, but for those that stand for stored ones. @throws {VaultError} */
export const sealServer = <T extends ValuedServer>(vault: Vault, team: string, server: T): T =>
  mapValues(server, (value) =>
    isReference(value) || isHidden(value) ? value : sealedText(vault.seal(value, contextOf(team))),
  )

type Servers = McpServers | null | undefined

/**
 * Servers as they may be written down: sealed, and with the stored values where those were sent back as they are shown.
 * `place`: the field that they are, for an error.
 * @throws {HttpError} 400 where nothing is stored that a value could stand for. {@link VaultError}
 */
export function serversToKeep(
  vault: Vault,
  team: string,
  servers: McpServers,
  { stored, place = 'mcp_servers' }: { stored?: Servers; place?: string } = {},
): McpServers {
  return Object.fromEntries(
    Object.entries(servers).map(([name, server]) => {
      const missing = (which: string) => invalid(`${place}.${name}.${which}`)
      return [name, withStoredValues(sealServer(vault, team, server), stored?.[name], missing)]
    }),
  )
}

/** A configuration of which {@link serversToKeep} holds. */
export function configToKeep<T extends { mcp_servers?: Servers }>(
  vault: Vault,
  team: string,
  config: T,
  { stored, place = 'config' }: { stored?: { mcp_servers?: Servers } | null | undefined; place?: string } = {},
): T {
  if (config.mcp_servers == null) return config
  const options = { stored: stored?.mcp_servers, place: `${place}.mcp_servers` }
  return { ...config, mcp_servers: serversToKeep(vault, team, config.mcp_servers, options) }
}

/** The values themselves. @throws {VaultError} */
export const openServer = <T extends ValuedServer>(vault: Vault, team: string, server: T): T =>
  mapValues(server, (value) => {
    const sealed = sealedBytes(value)
    return sealed === null ? value : vault.open(sealed, contextOf(team))
  })
