// What is said once everything is up.
import { type Config, dataPaths, loadConfig, version } from '../../config.ts'
import { lockedWords, VaultState } from '../../domain/vault/vault-state.ts'
import { adminKey } from '../keys.ts'
import { askJson } from './http-json.ts'
import { localUrl } from './parts.ts'
import type { Started } from './supervisor.ts'

const row = (name: string, value: string) => `  ${name.padEnd(12)}${value}`

export function greeting(started: Started, milliseconds: number): string {
  const { config, temporalUi } = started
  const rows: [string, string][] = [
    ['API', localUrl(config)],
    ['Admin key', config.AMBIENT_ADMIN_KEY ? 'as set in AMBIENT_ADMIN_KEY' : dataPaths(config).adminKey],
    ['Temporal', temporalUi ?? `${config.TEMPORAL_ADDRESS} (TEMPORAL_ADDRESS)`],
    ['Agents run', placeOfAgents(started)],
    ['Models', models(started)],
    ['Logs', dataPaths(config).logs],
  ]
  return [
    '',
    `Ambient ${version} is ready after ${(milliseconds / 1000).toFixed(1)} s.`,
    '',
    ...rows.map(([name, value]) => row(name, value)),
    '',
    `In another terminal${ownSettings(config)}:`,
    '  bin/ambient demo                                   a tour, step by step',
    '  bin/ambient run "Fix the failing test" --repo .    an agent on your repository',
    '',
    'Ctrl-C stops it.',
  ].join('\n')
}

/** What the command line has to be told as well, to find this server. */
function ownSettings(config: Config): string {
  const usual = loadConfig({})
  const own = (['AMBIENT_DATA', 'AMBIENT_PORT'] as const).filter((name) => config[name] !== usual[name])
  return own.length === 0 ? '' : `, with ${own.map((name) => `${name}=${config[name]}`).join(' and ')} set`
}

/** It is looked up in all that is stored. In milliseconds. */
const VAULT_MS = 5_000

/** A line on what cannot be opened with the keys that the vault was given, or stored; null where all can. */
export async function troubleWithVault(config: Config): Promise<string | null> {
  const key = await adminKey(config)
  const answer = await askJson(`${localUrl(config)}/api/v1/agent/vault`, VAULT_MS, { key })
  const { data: state } = VaultState.safeParse(answer?.body)
  if (state === undefined)
    return row('Secrets', 'whether all of them can be opened is not known yet; ask: bin/ambient vault')
  const words = state.trouble === null ? lockedWords(state) : `none can be stored or opened: ${state.trouble}`
  return words === null ? null : row('Secrets', words)
}

const placeOfAgents = ({ hostKind, config }: Started): string =>
  hostKind.kind === 'docker'
    ? `in containers of ${config.AMBIENT_IMAGE}, where a run names no other image`
    : `as processes of this machine${config.AMBIENT_DIRECT_SANDBOX === 'bwrap' ? ', within bubblewrap' : ''}; they ask before they act`

const models = ({ agent, config }: Started): string =>
  agent.demo
    ? `demo: no key is set for ${agent.title}, so a scripted model plays its part.\n${' '.repeat(14)}Set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY and start again.`
    : `${agent.title} is the default agent${modelName(config)}`

const modelName = (config: Config) => (config.AMBIENT_MODEL ? `, with ${config.AMBIENT_MODEL}` : '')
