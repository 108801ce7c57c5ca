// One configuration of several that lie over one another: each field as the strongest has it, and where it comes from.
import type { Config } from '../config.ts'
import type { ValueSource } from '../domain/configuration/configuration.ts'
import type { EnvironmentConfig } from '../domain/environment.ts'
import { agentOf } from '../domain/harness.ts'
import { invalid } from '../domain/problem.ts'
import { AgentConfig } from '../domain/run.ts'
import type { TeamLimits } from '../domain/team-limits.ts'
import { defaultAgent } from './harness.ts'
import { limitFields, mostOf } from './limits.ts'
import { skillsTogether } from './skills.ts'

/** What one place says of the configuration. */
export interface Layer {
  source: ValueSource
  config: AgentConfig
}

export interface Merged {
  config: AgentConfig
  sources: Record<string, ValueSource>
}

/** Said of a run by its request alone; or resolved together, below. */
const apart = new Set(['profile', 'profile_version', 'harness', 'model_id', ...limitFields, 'idle_timeout_minutes'])

/** Each field as the first layer has it that says anything of it. */
export function merge(
  settings: Config,
  layers: readonly Layer[],
  { hasEnvironment }: { hasEnvironment: boolean },
): Merged {
  const config: Record<string, unknown> = {}
  const sources: Record<string, ValueSource> = {}
  for (const [at, { source, config: said }] of layers.entries()) {
    for (const [field, value] of Object.entries(skillsTogether(said))) {
      if (value == null || field in config || apart.has(field)) continue
      // Whoever describes an environment wants no stored one.
      if (field === 'environment_id' && hasEnvironment && at > 0) continue
      config[field] = value
      // Of fields that nobody here knows nothing is told: they have no effect.
      if (field in AgentConfig.shape) sources[field] = source
    }
  }
  if (config.environment_id === '') delete sources.environment_id
  mergeHarness(settings, layers, { config, sources })
  return { config: config as AgentConfig, sources }
}

/**
 * Model, reasoning level and command are for the agent that their layer names,
 * or, where it names none, the one that the layers below it come to: for another
 * agent than that they are not meant.
 */
function mergeHarness(settings: Config, layers: readonly Layer[], { config, sources }: Merged): void {
  const agentFrom = (at: number) => {
    const found = layers.slice(at).find((layer) => layer.config.harness && agentOf(layer.config.harness) !== null)
    return found?.config.harness ? { agent: agentOf(found.config.harness), layer: found } : null
  }
  const chosen = agentFrom(0)
  const agent = chosen?.agent ?? defaultAgent(settings)
  const fitting = layers.filter((_, at) => (agentFrom(at)?.agent ?? defaultAgent(settings)) === agent)
  const first = <T>(name: string, of: (config: AgentConfig) => T | null | undefined): T | null => {
    const layer = fitting.find(({ config: said }) => of(said) != null)
    if (layer) sources[name] = layer.source
    return (layer && of(layer.config)) ?? null
  }
  const model = first('model_id', ({ harness, model_id: id }) => harness?.model_id ?? id)
  const level = first('harness.reasoning_level', ({ harness }) => harness?.reasoning_level)
  const command = first('harness.command', ({ harness }) => harness?.command)
  if (chosen) sources['harness.agent'] = chosen.layer.source
  if (model !== null) config.model_id = model
  if (layers.every(({ config: said }) => !said.harness)) return
  const { type = 'oz', agent: name } = chosen?.layer.config.harness ?? {}
  config.harness = {
    type,
    ...(name != null && { agent: name }),
    ...(model !== null && { model_id: model }),
    ...(level !== null && { reasoning_level: level }),
    ...(command !== null && { command }),
  }
}

/**
 * The limits: as the layers have them, and no more than environment, team and
 * server allow. What the request itself asks for beyond that is refused; of what
 * is kept for it, as much holds as may.
 */
export function limit(
  settings: Config,
  layers: readonly Layer[],
  { environment, team }: { environment: { id: string; config: EnvironmentConfig } | null; team: TeamLimits },
  { config, sources }: Merged,
): void {
  const ofEnvironment: ValueSource | null = environment && {
    type: 'environment',
    uid: environment.id,
    name: environment.config.name,
  }
  const isWeak = ({ source }: Layer) => source.type === 'team'
  const said = (field: keyof EnvironmentConfig & keyof AgentConfig) => {
    const has = ({ config: layer }: Layer) => layer[field] != null
    const own = environment?.config[field] ?? null
    const strong = layers.find((layer) => !isWeak(layer) && has(layer))
    const weak = layers.find((layer) => isWeak(layer) && has(layer))
    return { strong, weak, own: own as number | null }
  }
  const put = (field: string, value: unknown, source: ValueSource) => {
    config[field] = value
    sources[field] = source
  }
  /** `otherwise`: what holds where nobody says anything; absent, there is no end to it. */
  const atMost = (field: keyof AgentConfig, most: number | null, otherwise = Number.POSITIVE_INFINITY) => {
    if (most === null || Number(config[field] ?? otherwise) <= most) return
    if (Number(layers[0]?.config[field] ?? 0) > most)
      throw invalid(`config.${field}: is more than the team allows: ${most}`)
    put(field, most, { type: 'team' })
  }
  for (const field of limitFields) {
    const { strong, weak, own } = said(field)
    const value = strong ? Number(strong.config[field]) : null
    if (own !== null && ofEnvironment && (value === null || value > own)) {
      if (strong && strong === layers[0])
        throw invalid(`config.${field}: is more than the environment "${ofEnvironment.name}" allows: ${own}`)
      put(field, own, ofEnvironment)
    } else if (strong) put(field, value, strong.source)
    else if (weak) put(field, weak.config[field], weak.source)
    atMost(field, team[field])
    const most = mostOf(settings, field)
    if (most !== null && Number(config[field] ?? 0) > most) put(field, most, { type: 'server' })
  }
  const { strong, weak, own } = said('idle_timeout_minutes')
  if (strong) put('idle_timeout_minutes', strong.config.idle_timeout_minutes, strong.source)
  else if (own !== null && ofEnvironment) put('idle_timeout_minutes', own, ofEnvironment)
  else if (weak) put('idle_timeout_minutes', weak.config.idle_timeout_minutes, weak.source)
  atMost('idle_timeout_minutes', team.max_idle_minutes, settings.AMBIENT_IDLE_MINUTES)
}
