// What a run's configuration comes to: what is asked for, over what is kept for it, over what the server has. Decided once,
// when the run is made, and kept with it. docs/configuration.md has the order as a table.
import type { Config } from '../config.ts'
import type {
  RunConfiguration,
  SavedPromptUse,
  SourceType,
  ValueSource,
} from '../domain/configuration/configuration.ts'
import { isFor } from '../domain/configuration/rule.ts'
import { filledIn } from '../domain/configuration/saved-prompt.ts'
import type { EnvironmentConfig } from '../domain/environment.ts'
import { invalid, notFound } from '../domain/problem.ts'
import { type AgentConfig, StartRun } from '../domain/run.ts'
import { environmentConfig } from '../store/builds/environments.ts'
import { type HeldProfile, type HeldRule, heldFor, profileAt, promptFor } from '../store/configuration/for-run.ts'
import type { Tx } from '../store/database.ts'
import { resolveHarness } from './harness.ts'
import { type Layer, limit, type Merged, merge } from './layers.ts'
import { refuseBeyondLimits } from './limits.ts'
import { identityConfig, type RunOwner } from './owner.ts'
import { BY_SKILL } from './skills.ts'

export interface ResolvedConfiguration {
  /** The task. */
  prompt: string
  /** What the run keeps as its configuration. */
  config: AgentConfig
  /** The stored environment that it works in, with its secrets. */
  environment: { id: string; config: EnvironmentConfig } | null
  /** Where all of it comes from. */
  record: RunConfiguration
}

/** Of a run that takes its configuration over from another one: which run, and what its own request said. */
export interface Inherited {
  source: ValueSource
  asked: AgentConfig | null
}

interface Origin {
  owner: RunOwner
  schedule?: { schedule_id: string; schedule_name: string }
  /** `body.config` has the other run's values already. */
  inherited?: Inherited | undefined
  /** Of the run that this one comes from, which has its copy. */
  environmentId?: string | null | undefined
}

/**
 * @throws {HttpError} 400 for what is not there, does not go together, or is
 * more than it may be; 404 for an environment that is not there.
 */
export async function resolveConfiguration(
  tx: Tx,
  settings: Config,
  body: StartRun,
  origin: Origin,
): Promise<ResolvedConfiguration> {
  const { owner, inherited } = origin
  const { team, identity } = owner
  const asked = body.config ?? {}
  const person = owner.created_by_type === 'service_account' ? null : owner.created_by
  refuseBeyondLimits(settings, asked)
  if (inherited?.asked?.profile)
    throw invalid(
      'config.profile: this run takes over the configuration of the run that it comes from; say the fields themselves',
    )
  const named = asked.profile ?? identity?.config.profile_uid
  const held = await heldFor(tx, { team, person, profiles: named ? [named] : [] })
  const profile = inherited ? null : await profileOf(tx, owner, asked, held.profiles)
  const layers = inherited ? inheritedLayers(inherited, asked) : layersOf(origin, asked, profile)
  const merged = merge(settings, layers, { hasEnvironment: body.environment != null })
  const environment = await storedEnvironment(tx, team, body, merged)
  limit(settings, layers, { environment, team: held.limits }, merged)
  const { text: prompt, used } = await taskOf(tx, { team, person }, body, merged.config.skills ?? [])
  // A command is given its prompt as it is.
  const isAgent = resolveHarness(settings, merged.config).agent !== 'command'
  const rules = rulesFor(isAgent ? held.rules : [], {
    repositories: (environment?.config ?? body.environment)?.repos?.map(({ url }) => url) ?? [],
    environmentId: environment?.id ?? origin.environmentId ?? null,
  })
  return {
    prompt,
    config: merged.config,
    environment,
    record: {
      sources: merged.sources,
      profile: profile && { uid: profile.uid, name: profile.name, version: profile.version },
      saved_prompt: used,
      rules,
    },
  }
}

/** The one that the request names, or the service account, or that all runs of the team have. */
async function profileOf(
  tx: Tx,
  { identity, scope }: RunOwner,
  { profile: named, profile_version: version }: AgentConfig,
  held: readonly HeldProfile[],
): Promise<(HeldProfile & { namedBy: 'request' | 'service_account' | 'team' }) | null> {
  if (version != null && !named) throw invalid('config.profile_version: needs a config.profile')
  if (named === '') return null
  if (named != null) {
    const found = held.find(({ uid }) => uid === named) ?? byName(held, named)
    if (!found) throw invalid(`config.profile: there is no profile "${named}"`)
    const at = version == null ? found : await profileAt(tx, found, version)
    if (!at) throw invalid(`config.profile_version: the profile "${found.name}" has no version ${version}`)
    return { ...at, namedBy: 'request' }
  }
  const ofAccount = identity?.config.profile_uid
  if (identity && ofAccount) {
    const found = held.find(({ uid }) => uid === ofAccount)
    if (!found) throw invalid(`The service account "${identity.name}" names the profile ${ofAccount}, which is gone`)
    return { ...found, namedBy: identity.isDefault ? 'team' : 'service_account' }
  }
  // As with the team's default service account: a personal run has what it asks for.
  const byDefault = scope === 'Team' ? held.find(({ isDefault }) => isDefault) : undefined
  return byDefault ? { ...byDefault, namedBy: 'team' } : null
}

/** One's own before the team's. */
const byName = (held: readonly HeldProfile[], named: string): HeldProfile | undefined => {
  const found = held.filter(({ name }) => name === named)
  return found.find(({ isOwn }) => isOwn) ?? found[0]
}

/** The strongest first. A profile stands right below whoever names it. */
function layersOf(
  { owner: { identity }, schedule }: Origin,
  asked: AgentConfig,
  profile: (HeldProfile & { namedBy: 'request' | 'service_account' | 'team' }) | null,
): Layer[] {
  const isDefault = identity?.isDefault ?? false
  const ofProfile = (by: string, type: SourceType): Layer[] =>
    profile?.namedBy === by
      ? [
          {
            source: { type, uid: profile.uid, name: profile.name, version: profile.version },
            config: profile.config as AgentConfig,
          },
        ]
      : []
  const ofIdentity: Layer[] = identity
    ? [
        {
          source: { type: isDefault ? 'team' : 'service_account', uid: identity.uid, name: identity.name },
          config: identityConfig(identity),
        },
      ]
    : []
  const request: ValueSource = schedule
    ? { type: 'schedule', uid: schedule.schedule_id, name: schedule.schedule_name }
    : { type: 'request' }
  return [
    { source: request, config: asked },
    ...ofProfile('request', 'profile'),
    ...ofIdentity,
    ...ofProfile('service_account', 'profile'),
    ...ofProfile('team', 'team'),
  ]
}

/** What the request of a fork or a child says itself, over what it takes over. */
const inheritedLayers = ({ source, asked }: Inherited, whole: AgentConfig): Layer[] => [
  { source: { type: 'request' }, config: asked ?? {} },
  { source, config: whole },
]

/** What `environment_id` names; null where it names nothing. */
async function storedEnvironment(
  tx: Tx,
  team: string,
  body: StartRun,
  { config, sources }: Merged,
): Promise<ResolvedConfiguration['environment']> {
  const id = config.environment_id || null
  if (id === null) return null
  if (body.environment) throw invalid('environment: cannot be given together with config.environment_id')
  const found = await environmentConfig(tx, team, id)
  if (found !== null) return { id, config: found }
  const source = sources.environment_id
  const by = source?.name === undefined ? '' : ` The ${source.type.replace('_', ' ')} "${source.name}" names it.`
  throw notFound(`config.environment_id: there is no environment ${id}.${by}`)
}

/** What is to be done: as it is said, or as it is kept under a name. */
async function taskOf(
  tx: Tx,
  whose: { team: string; person: string | null },
  { prompt, saved_prompt: use }: StartRun,
  skills: readonly string[],
): Promise<{ text: string; used: RunConfiguration['saved_prompt'] }> {
  if (use == null) {
    if (prompt != null) return { text: prompt, used: null }
    // The skill may be that of the profile.
    if (skills.length > 0) return { text: BY_SKILL, used: null }
    throw invalid('prompt: is required')
  }
  if (prompt != null) throw invalid('saved_prompt: cannot be given together with prompt')
  return await fillPrompt(tx, whose, use)
}

/** @throws {HttpError} 400 where there is none, or its arguments do not fit. */
async function fillPrompt(
  tx: Tx,
  whose: { team: string; person: string | null },
  use: SavedPromptUse,
): Promise<{ text: string; used: NonNullable<RunConfiguration['saved_prompt']> }> {
  const found = await promptFor(tx, whose, use)
  const version = use.version === undefined ? '' : ` of version ${use.version}`
  if (!found) throw invalid(`saved_prompt: there is no saved prompt "${use.uid ?? use.name}"${version}`)
  const { uid, name, version: at, content } = found
  const filled = filledIn(content, use.arguments)
  const checked = StartRun.shape.prompt.safeParse(filled.text)
  if (!checked.success)
    throw invalid(`saved_prompt: with its arguments, it ${checked.error.issues[0]?.message ?? 'is no prompt'}`)
  return { text: filled.text, used: { uid, name, version: at, arguments: filled.arguments } }
}

const rulesFor = (
  held: readonly HeldRule[],
  run: { repositories: readonly string[]; environmentId: string | null },
): RunConfiguration['rules'] =>
  held.filter((rule) => isFor(rule, run)).map(({ uid, name, version }) => ({ uid, name, version }))
