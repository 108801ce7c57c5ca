// Claude Code, through its ACP adapter.
import type { AcpAgent } from './agent.ts'

export const claude: AcpAgent = {
  protocol: 'acp',
  name: 'claude',
  title: 'Claude Code',
  provider: 'anthropic',
  packages: { '@agentclientprotocol/claude-agent-acp': '0.100.0', '@anthropic-ai/claude-agent-sdk': '0.3.316' },
  sessions: { paths: () => ['.claude/projects'], isText: true },
  skills: { inRepository: ['.claude/skills'], inHome: '.claude/skills' },
  // It passes what it is told of servers on to its own process as an argument.
  quirks: {
    resume: 'load',
    toolTokenByName: true,
    // It starts what a repository's `.mcp.json` names where the repository's own settings say so.
    sessionMeta: { claudeCode: { options: { strictMcpConfig: true } } },
  },
  launch({
    node,
    toolkit,
    home,
    workspace,
    gatewayUrl,
    gatewayToken,
    model,
    reasoningLevel,
    policy,
    rules,
    runsAsRoot,
  }) {
    const settings = { permissions: { defaultMode: policy === 'allow' ? 'bypassPermissions' : 'default' } }
    return {
      command: [node, `${toolkit}/node_modules/@agentclientprotocol/claude-agent-acp/dist/index.js`],
      env: {
        CLAUDE_CONFIG_DIR: `${home}/.claude`,
        ANTHROPIC_BASE_URL: gatewayUrl,
        ANTHROPIC_API_KEY: gatewayToken,
        // Without a name Claude Code takes the newest model it was made for.
        ...(model === null ? {} : { ANTHROPIC_MODEL: model }),
        ...(reasoningLevel === null ? {} : { CLAUDE_CODE_EFFORT_LEVEL: reasoningLevel }),
        // Tools are offered as they are, and not behind a search.
        ENABLE_TOOL_SEARCH: 'false',
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
        DISABLE_TELEMETRY: '1',
        DISABLE_ERROR_REPORTING: '1',
        DISABLE_AUTOUPDATER: '1',
        // About a minute in all. Its own 10 take three, and it spends them on a key that is not accepted, too.
        CLAUDE_CODE_MAX_RETRIES: '7',
        // As root it asks before each act, whatever its settings say, unless it is told that this is a sandbox.
        ...(runsAsRoot && policy === 'allow' ? { IS_SANDBOX: '1' } : {}),
      },
      files: [
        { path: '.claude/settings.json', content: JSON.stringify(settings) },
        // Where a repository has a CLAUDE.md it leaves the AGENTS.md aside. What both name is read once.
        { path: '.claude/CLAUDE.md', content: `${rules ?? ''}\n@${workspace}/AGENTS.md\n` },
      ],
    }
  },
}
