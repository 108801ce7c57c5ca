// OpenCode, which speaks ACP itself.
import type { AcpAgent, LaunchContext } from './agent.ts'

/** OpenAI's model for everyday coding; OpenCode has no default for a provider it does not know. */
const DEFAULT_MODEL = 'gpt-6.1-sol'

/** The program is one file, in a package of its own for each processor; the package that chooses installs two of 177 MB. */
const platform = `opencode-linux-${process.arch === 'arm64' ? 'arm64' : 'x64'}`

const PLUGIN = '.ambient/opencode-plugin.js'

/**
 * OpenCode sends `max_tokens`, which OpenAI's own newer models refuse. Without
 * it each endpoint keeps to its own limit. And it starts the servers of tools
 * that the settings of a repository name; those of the run it is told of in its
 * session, and they stand in no settings.
 */
const plugin = `export const Ambient = async () => ({
  config: async (settings) => {
    settings.mcp = {}
  },
  'chat.params': async (_request, params) => {
    params.maxOutputTokens = undefined
  },
})
`

export const opencode: AcpAgent = {
  protocol: 'acp',
  name: 'opencode',
  title: 'OpenCode',
  provider: 'openai',
  packages: { [platform]: '1.18.33' },
  sessions: {
    paths: () => ['.local/share/opencode/opencode.db', '.local/share/opencode/opencode.db-wal'],
    isText: false,
  },
  skills: { inRepository: ['.agents/skills', '.claude/skills'], inHome: '.config/opencode/skills' },
  quirks: { resume: 'load' },
  launch(context) {
    return {
      command: [`${context.toolkit}/node_modules/${platform}/bin/opencode`, 'acp'],
      env: {
        OPENCODE_CONFIG_CONTENT: JSON.stringify(config(context)),
        OPENCODE_DISABLE_MODELS_FETCH: '1',
        OPENCODE_DISABLE_AUTOUPDATE: '1',
        OPENCODE_DISABLE_LSP_DOWNLOAD: '1',
        OPENCODE_DISABLE_DEFAULT_PLUGINS: '1',
        OPENCODE_DISABLE_SHARE: '1',
      },
      files: [
        { path: PLUGIN, content: plugin },
        ...(context.rules === null ? [] : [{ path: '.config/opencode/AGENTS.md', content: context.rules }]),
        // It installs an npm package into this directory at every start, of which nothing here is used.
        { path: '.config/opencode/.npmrc', content: 'offline=true\n' },
      ],
    }
  },
}

function config({ home, gatewayUrl, gatewayToken, model, reasoningLevel, policy }: LaunchContext) {
  const id = model ?? DEFAULT_MODEL
  const options = reasoningLevel === null ? {} : { options: { reasoningEffort: reasoningLevel } }
  return {
    provider: {
      ambient: {
        name: 'Ambient',
        npm: '@ai-sdk/openai-compatible',
        options: { baseURL: gatewayUrl, apiKey: gatewayToken },
        models: { [id]: { name: id, ...options } },
      },
    },
    model: `ambient/${id}`,
    small_model: `ambient/${id}`,
    enabled_providers: ['ambient'],
    // Looking is not acting: only what changes or leaves the workspace is asked about.
    permission:
      policy === 'allow'
        ? { '*': 'allow' }
        : {
            '*': 'ask',
            read: 'allow',
            glob: 'allow',
            grep: 'allow',
            list: 'allow',
            todowrite: 'allow',
            todoread: 'allow',
          },
    plugin: [`file://${home}/${PLUGIN}`],
    autoupdate: false,
    share: 'disabled',
  }
}
