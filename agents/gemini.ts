// Gemini CLI, which speaks ACP itself.
import type { AcpAgent } from './agent.ts'

const settings = {
  security: { auth: { selectedType: 'gemini-api-key' }, folderTrust: { enabled: false } },
  general: { enableAutoUpdate: false, enableAutoUpdateNotification: false },
  privacy: { usageStatisticsEnabled: false },
  telemetry: { enabled: false },
  // On a terminal of its own it keeps a command's output to itself.
  tools: { shell: { enableInteractiveShell: false } },
  // By itself it reads no AGENTS.md.
  context: { fileName: ['GEMINI.md', 'AGENTS.md'] },
}

/**
 * Gemini CLI names a session's file by the minute, and a session that is loaded
 * again within that minute is overwritten before it is read. So what is there is
 * moved out of the way of every clock first. Where a file was moved before, the
 * one with today's name is the empty one that loading leaves.
 */
const launcher = `
for file in "$1"/.gemini/tmp/*/chats/session-*.jsonl; do
  old="\${file%/*}/session-1970-01-01T00-00-\${file##*-}"
  if [ ! -e "$file" ] || [ "$file" = "$old" ]; then continue
  elif [ -e "$old" ]; then rm -f "$file"
  else mv "$file" "$old"; fi
done
shift
exec "$@"`

export const gemini: AcpAgent = {
  protocol: 'acp',
  name: 'gemini',
  title: 'Gemini CLI',
  provider: 'gemini',
  packages: { '@google/gemini-cli': '0.61.0' },
  sessions: { paths: () => ['.gemini/projects.json', '.gemini/tmp'], isText: true },
  skills: { inRepository: ['.agents/skills'], inHome: '.gemini/skills' },
  quirks: { resume: 'load', historyAfterLoad: true },
  launch({ node, toolkit, home, gatewayUrl, gatewayToken, model, policy, rules, mcpServers }) {
    return {
      command: [
        '/bin/sh',
        '-c',
        launcher,
        'gemini',
        home,
        node,
        `${toolkit}/node_modules/@google/gemini-cli/bundle/gemini.js`,
        '--acp',
        ...(policy === 'allow' ? ['--yolo'] : []),
        ...mcpServers.flatMap((name) => ['--allowed-mcp-server-names', name]),
      ],
      env: {
        GEMINI_API_KEY: gatewayToken,
        GOOGLE_GEMINI_BASE_URL: gatewayUrl,
        // Without a name Gemini CLI takes the model it was made for.
        ...(model === null ? {} : { GEMINI_MODEL: model }),
        NO_BROWSER: 'true',
      },
      files: [
        { path: '.gemini/settings.json', content: JSON.stringify(settings) },
        ...(rules === null ? [] : [{ path: '.gemini/GEMINI.md', content: rules }]),
      ],
    }
  },
}
