// What is said once everything is up.
import { type Config, dataPaths, version } from '../../config.ts'
import { localUrl } from './parts.ts'
import type { Started } from './supervisor.ts'

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
    ...rows.map(([name, value]) => `  ${name.padEnd(12)}${value}`),
    '',
    'In another terminal:',
    '  bin/ambient demo                                   a tour, step by step',
    '  bin/ambient run "Fix the failing test" --repo .    an agent on your repository',
    '',
    'Ctrl-C stops it.',
  ].join('\n')
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
