// Stored MCP servers, as the command line asks for them.
import type { McpServerConfig, McpServerItem } from '../../domain/mcp/server.ts'
import type { Requests } from './requests.ts'

export interface McpServersApi {
  list(): Promise<McpServerItem[]>
  create(config: McpServerConfig): Promise<McpServerItem>
  /** Everything: what the config does not name is gone. */
  replace(uid: string, config: McpServerConfig): Promise<McpServerItem>
  remove(uid: string): Promise<void>
}

export function createMcpServersApi(base: string, { steady, post, put, remove, json }: Requests): McpServersApi {
  return {
    list: async () => (await json<{ mcp_servers: McpServerItem[] }>(steady(base))).mcp_servers,
    create: (config) => json(post(base, config)),
    replace: (uid, config) => put(`${base}/${uid}`, config),
    remove: (uid) => remove(`${base}/${uid}`),
  }
}
