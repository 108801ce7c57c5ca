import { McpServerConfig, McpServerItem, McpServerList } from '../../domain/mcp/server.ts'
import { json, nothing, type Section } from './declaration.ts'
import { createdAt, operator, updatedAt } from './examples.ts'

const body = {
  name: 'tickets',
  url: 'https://mcp.example.com/mcp',
  headers: { authorization: `Bearer \${TICKETS_TOKEN}` },
}

const item = {
  uid: 'Mc3vQ8mTn1bXw5rLc7Hy2d',
  ...body,
  description: null,
  team: 'default',
  creator: operator,
  created_at: createdAt,
  updated_at: updatedAt,
}

export const mcpServers: Section = {
  name: 'MCP servers',
  description: 'Servers of the Model Context Protocol that a team has stored, for `config.mcp_servers` of its runs.',
  routes: [
    {
      method: 'get',
      path: '/agent/mcp-servers',
      id: 'listMcpServers',
      summary: 'List MCP servers',
      answers: { 200: json(McpServerList, { mcp_servers: [item] }) },
    },
    {
      method: 'post',
      path: '/agent/mcp-servers',
      id: 'createMcpServer',
      summary: 'Store an MCP server',
      description:
        'Values of `env`, of `headers` and of the query of `url` that are more than names of secrets are sealed, and never shown again. So are `args` and the path of `url`, which are shown to those who may manage MCP servers.',
      body: { schema: McpServerConfig, example: body },
      idempotent: true,
      answers: { 201: json(McpServerItem, item) },
      errors: { 409: 'The name is taken, or the team has as many as it may.' },
    },
    {
      method: 'get',
      path: '/agent/mcp-servers/{uid}',
      id: 'getMcpServer',
      summary: 'Read an MCP server',
      answers: { 200: json(McpServerItem, item) },
    },
    {
      method: 'put',
      path: '/agent/mcp-servers/{uid}',
      id: 'replaceMcpServer',
      summary: 'Replace an MCP server',
      description:
        'A field that is left out is as if it had never been given. What was shown in place of a value stands for the stored one.',
      body: { schema: McpServerConfig, example: body },
      answers: { 200: json(McpServerItem, item) },
      errors: { 409: 'The name is taken.' },
    },
    {
      method: 'delete',
      path: '/agent/mcp-servers/{uid}',
      id: 'deleteMcpServer',
      summary: 'Delete an MCP server',
      answers: { 204: nothing('It is gone. Runs keep their copies.') },
    },
  ],
}
