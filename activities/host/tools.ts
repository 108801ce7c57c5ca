// Runs on the worker that holds the sandbox. How an agent is told of its tools.
import type { McpServers } from '../../agents/acp/session.ts'
import type { AcpAgent } from '../../agents/agent.ts'
import { TOOLS_PATH, TOOLS_SERVER } from '../../domain/tools.ts'
import type { Sandbox } from '../../environments/host.ts'
import type { Execution } from './execution.ts'
import { TOOL_TOKEN } from './mcp-program.ts'
import { agentServers, checkMcpServers } from './mcp-servers.ts'

/** The variables by which any program of the sandbox reaches the tools. */
const TOKEN = TOOL_TOKEN
const URL = 'AMBIENT_MCP_URL'

const urlOf = ({ deps }: Execution, sandbox: Sandbox) => `${sandbox.gateway ?? deps.gatewayUrl}${TOOLS_PATH}`

/** Nothing where the server has no tools. */
export const toolVariables = (execution: Execution, sandbox: Sandbox, token: string | null): Record<string, string> =>
  token === null ? {} : { [URL]: urlOf(execution, sandbox), [TOKEN]: token }

/**
 * What the agent's session is opened with. `token`: the one that its process
 * was started with, where that is known; another one is as good.
 */
export function toolServers(
  execution: Execution,
  agent: AcpAgent,
  sandbox: Sandbox,
  token: string | null,
  ready: () => Promise<ReadonlySet<string>> = () =>
    checkMcpServers(execution, sandbox, token, execution.signals.detach),
): McpServers {
  const { deps, ref, signals } = execution
  return async () => {
    // The session may be opened anew for an interrupt, so that does not stop it.
    const own = token ?? (await deps.server.toolCredential(ref.runId, ref.execution, signals.detach))
    if (own === null) return []
    const value = agent.quirks.toolTokenByName ? `\${${TOKEN}}` : own
    const headers = [{ name: 'Authorization', value: `Bearer ${value}` }]
    const ours = { type: 'http' as const, name: TOOLS_SERVER, url: urlOf(execution, sandbox), headers }
    return [ours, ...(await agentServers(execution, agent, sandbox, value, await ready()))]
  }
}
