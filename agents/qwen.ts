// Qwen Code, which speaks ACP itself.
import { TOOLS_SERVER, tellingTools } from '../domain/tools.ts'
import type { AcpAgent } from './agent.ts'

/** OpenAI's model for everyday coding: the provider is OpenAI, or whatever stands in its place. */
const DEFAULT_MODEL = 'gpt-6.1-sol'

const settings = {
  security: { auth: { selectedType: 'openai' }, folderTrust: { enabled: false } },
  general: { enableAutoUpdate: false },
  privacy: { usageStatisticsEnabled: false },
  telemetry: { enabled: false },
  // The tools of servers are offered as they are, and not behind a search.
  tools: { toolSearch: { enabled: false } },
  // What it asks for these, it asks without their name.
  permissions: { allow: tellingTools.map((name) => `mcp__${TOOLS_SERVER}__${name}`) },
}

export const qwen: AcpAgent = {
  protocol: 'acp',
  name: 'qwen',
  title: 'Qwen Code',
  provider: 'openai',
  packages: { '@qwen-code/qwen-code': '0.24.4' },
  sessions: { paths: (cwd) => [`.qwen/projects/${cwd.replace(/[^a-zA-Z0-9]/g, '-')}`], isText: true },
  skills: { inRepository: ['.agents/skills'], inHome: '.qwen/skills' },
  quirks: { resume: 'load' },
  launch({ node, toolkit, gatewayUrl, gatewayToken, model, reasoningLevel, policy, rules, mcpServers }) {
    const reasoning = reasoningLevel === null ? {} : { model: { reasoningEffort: reasoningLevel } }
    return {
      command: [
        node,
        `${toolkit}/node_modules/@qwen-code/qwen-code/cli-entry.js`,
        '--acp',
        // Its own default asks the model before each act whether the act is harmless.
        '--approval-mode',
        policy === 'allow' ? 'yolo' : 'default',
        ...mcpServers.flatMap((name) => ['--allowed-mcp-server-names', name]),
      ],
      env: {
        OPENAI_API_KEY: gatewayToken,
        OPENAI_BASE_URL: gatewayUrl,
        OPENAI_MODEL: model ?? DEFAULT_MODEL,
        QWEN_USAGE_STATISTICS_ENABLED: 'false',
        // Its first request has the tools of servers, too.
        QWEN_CODE_LEGACY_MCP_BLOCKING: '1',
        NO_BROWSER: 'true',
      },
      files: [
        { path: '.qwen/settings.json', content: JSON.stringify({ ...settings, ...reasoning }) },
        ...(rules === null ? [] : [{ path: '.qwen/QWEN.md', content: rules }]),
      ],
    }
  },
}
