// OpenAI Codex, through its ACP adapter.
import type { AcpAgent, LaunchContext } from './agent.ts'
import { CODEX_BRIDGE, codexBridge } from './codex-bridge.ts'

/** What Codex says, as the agent's own words, when the model server does not answer. */
const outage = /experiencing high demand|exceeded retry limit|stream disconnected|unexpected status \d{3}/i

export const codex: AcpAgent = {
  protocol: 'acp',
  name: 'codex',
  title: 'Codex',
  provider: 'openai',
  packages: { '@agentclientprotocol/codex-acp': '2.6.0', '@openai/codex': '0.166.0' },
  // Its databases are made again from these.
  sessions: { paths: () => ['.codex/sessions'], isText: true },
  skills: { inRepository: ['.agents/skills', '.codex/skills'], inHome: '.codex/skills' },
  quirks: {
    resume: 'load',
    closeSessionAfterCancel: true,
    disguisedFailure: ({ text, usage }) => (usage === null && outage.test(text) ? text : null),
  },
  launch(context) {
    const { node, toolkit, home, gatewayToken, policy, rules } = context
    return {
      command: [
        node,
        `--import=${home}/${CODEX_BRIDGE}`,
        `${toolkit}/node_modules/@agentclientprotocol/codex-acp/dist/index.js`,
      ],
      env: {
        CODEX_HOME: `${home}/.codex`,
        AMBIENT_MODEL_KEY: gatewayToken,
        NO_BROWSER: '1',
        INITIAL_AGENT_MODE: policy === 'allow' ? 'agent-full-access' : 'read-only',
      },
      files: [
        { path: '.codex/config.toml', content: config(context) },
        ...(rules === null ? [] : [{ path: '.codex/AGENTS.md', content: rules }]),
        { path: CODEX_BRIDGE, content: codexBridge({ asks: policy !== 'allow' }) },
      ],
    }
  },
}

function config({ gatewayUrl, model, reasoningLevel, policy }: LaunchContext): string {
  // A string of JSON is a string of TOML.
  const quote = (text: string) => JSON.stringify(text)
  // Without a name Codex takes the newest model it was made for.
  const named = model === null ? [] : [`model = ${quote(model)}`]
  const effort = reasoningLevel === null ? [] : [`model_reasoning_effort = ${quote(reasoningLevel)}`]
  return `${[
    ...named,
    ...effort,
    'model_provider = "ambient"',
    `approval_policy = "${policy === 'allow' ? 'never' : 'on-request'}"`,
    'check_for_update_on_startup = false',
    '',
    '[model_providers.ambient]',
    'name = "Ambient"',
    `base_url = ${quote(gatewayUrl)}`,
    'env_key = "AMBIENT_MODEL_KEY"',
    'wire_api = "responses"',
    '',
    '[analytics]',
    'enabled = false',
    '',
    // Both ask outside servers for what they offer.
    '[features]',
    'plugins = false',
    'apps = false',
  ].join('\n')}\n`
}
