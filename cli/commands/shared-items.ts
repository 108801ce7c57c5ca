// `ambient profiles`, `ambient rules`, `ambient prompts`: what is kept in one place for many runs.
import { readFile } from 'node:fs/promises'
import { text as readAll } from 'node:stream/consumers'
import { typed } from '../../config.ts'
import type { AgentProfile } from '../../domain/configuration/profile.ts'
import type { Rule } from '../../domain/configuration/rule.ts'
import { placesIn, type SavedPrompt } from '../../domain/configuration/saved-prompt.ts'
import type { Api } from '../api/client.ts'
import type { ConfigurationApi } from '../api/configuration.ts'
import { connect } from '../connect.ts'
import { CliError, type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findEnvironment } from '../find-environment.ts'
import { findNamed } from '../find-named.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { clean, oneLine } from '../render/text.ts'
import { createScreen } from '../screen.ts'
import { namedServers } from './mcp-servers.ts'

type KindName = keyof ConfigurationApi
type Item = AgentProfile | Rule | SavedPrompt

interface JsonOption {
  json?: boolean
}

interface ItemOptions extends JsonOption {
  name?: string
  description?: string
  file?: string
  personal?: boolean
  clear?: string[]
}

export interface ProfileOptions extends ItemOptions {
  agent?: string
  model?: string
  reasoning?: string
  permission?: string
  basePrompt?: string
  environment?: string
  pool?: string
  secret?: string[]
  /** False: none. True: nothing is said of it. */
  secrets?: boolean
  skill?: string[]
  mcp?: string[]
  budget?: number
  treeBudget?: number
  idle?: number
  maxTurn?: number
  maxRun?: number
  maxTranscript?: number
  maxDisk?: number
  default?: boolean
}

export interface RuleOptions extends ItemOptions {
  text?: string
  repo?: string[]
  environment?: string[]
  position?: number
  enable?: boolean
  disable?: boolean
}

export interface PromptOptions extends ItemOptions {
  text?: string
  argument?: string[]
}

const words: Record<KindName, string> = { profiles: 'profile', rules: 'rule', prompts: 'saved prompt' }

export async function listItems(kind: KindName, { json }: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const items: Item[] = await connect().configuration[kind].list()
  if (json) screen.write(`${JSON.stringify({ [kind]: items })}\n`)
  else if (items.length === 0) screen.write(`There is no ${words[kind]}. Make one: ${typed} ${kind} create <name> …\n`)
  else screen.write(renderItems(items, screen.style))
  return exitCodes.succeeded
}

export function renderItems(items: readonly Item[], { colours }: Style): string {
  const rows = items.map((item) => [
    clean(item.name),
    item.uid,
    String(item.version),
    item.scope.type === 'User' ? 'own' : 'team',
    oneLine(clean(aboutOf(item)), 80),
  ])
  return table(['NAME', 'UID', 'VERSION', 'FOR', 'ABOUT'], rows, colours.dim)
}

function aboutOf(item: Item): string {
  if ('config' in item) {
    const marks = [item.default ? 'default' : '', item.description].filter(Boolean).join('; ')
    return marks || Object.keys(item.config).join(', ')
  }
  if ('enabled' in item) {
    const marks = [item.enabled ? '' : 'disabled', ...item.repositories]
    return [...marks, item.description || item.text].filter(Boolean).join('; ')
  }
  const names = item.arguments.map(({ name, required }) => (required ? name : `[${name}]`))
  return [names.join(' '), item.description || item.text].filter(Boolean).join('; ')
}

export async function showItem(
  kind: KindName,
  given: string,
  { json, at }: JsonOption & { at?: number },
): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const found = await findItem(api, kind, given)
  const item: Item = at === undefined ? found : await api.configuration[kind].get(found.uid, at)
  screen.write(json ? `${JSON.stringify(item)}\n` : renderItem(item, screen.style))
  return exitCodes.succeeded
}

export function renderItem(item: Item, { colours }: Style): string {
  const facts: [string, unknown][] = [
    ['Name', item.name],
    ['Uid', item.uid],
    ['Version', `${item.version} of ${item.updated_at}, by ${item.updated_by.display_name ?? item.updated_by.uid}`],
    ['For', item.scope.type === 'User' ? 'the runs of its owner' : 'the team'],
    ['About', item.description],
    ...('config' in item
      ? [
          ['Default', item.default ? 'yes' : null] as [string, unknown],
          ...Object.entries(item.config).map(([field, value]): [string, unknown] => [field, shown(value)]),
        ]
      : []),
    ...('enabled' in item
      ? ([
          ['State', item.enabled ? null : 'disabled'],
          ['Position', item.position],
          ['Repository', item.repositories.join(', ')],
          ['Environment', item.environment_ids.join(', ')],
        ] as [string, unknown][])
      : []),
    ...('arguments' in item
      ? item.arguments.map(({ name, description, default: fallback, required }): [string, unknown] => [
          'Argument',
          [name, required ? 'required' : `else: ${oneLine(fallback ?? '', 60)}`, description]
            .filter(Boolean)
            .join('; '),
        ])
      : []),
  ]
  const width = Math.max(...facts.map(([name]) => name.length)) + 2
  const lines = facts
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([name, value]) => `${colours.dim(name.padEnd(width))}${clean(String(value))}\n`)
  return `${lines.join('')}${'text' in item ? `\n${clean(item.text).trimEnd()}\n` : ''}`
}

const shown = (value: unknown): string => (typeof value === 'string' ? oneLine(value, 200) : JSON.stringify(value))

export async function itemVersions(kind: KindName, given: string, { json }: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const versions = await api.configuration[kind].versions((await findItem(api, kind, given)).uid)
  const rows = versions.map(({ version, name, created_at: at, created_by: by }) => [
    String(version),
    clean(name),
    at,
    clean(by.display_name ?? by.uid),
  ])
  screen.write(
    json
      ? `${JSON.stringify({ versions })}\n`
      : table(['VERSION', 'NAME', 'MADE', 'BY'], rows, screen.style.colours.dim),
  )
  return exitCodes.succeeded
}

export async function deleteItem(kind: KindName, given: string): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid, name } = await findItem(api, kind, given)
  await api.configuration[kind].remove(uid)
  screen.write(`${clean(name)} is deleted.\n`)
  return exitCodes.succeeded
}

export async function createProfile(name: string | undefined, options: ProfileOptions): Promise<ExitCode> {
  const api = connect()
  const base = options.file === undefined ? {} : await readObject(options.file)
  const body = await profileBody(api, base, { ...options, ...(name !== undefined && { name }) })
  return tell('profiles', await api.configuration.profiles.create(withOwner(body, options)), options, 'is kept')
}

export async function updateProfile(given: string, options: ProfileOptions): Promise<ExitCode> {
  refuseNothing(options)
  const api = connect()
  const item = await findItem(api, 'profiles', given)
  const { uid, name, description, version, config, default: isDefault } = item
  const base =
    options.file === undefined
      ? { name, description, version, config, default: isDefault }
      : { name, version, ...(await readObject(options.file)) }
  const body = await profileBody(api, base, options)
  return tell('profiles', await api.configuration.profiles.replace(uid, body), options, 'is changed')
}

type Body = Record<string, unknown>

/** The fields that are no more to be there, by the names of their options. */
function clearedFields(options: ItemOptions, fields: Record<string, string>): string[] {
  const names = options.clear ?? []
  const twice = names.find((name) => name in options)
  if (twice !== undefined) throw usageError(`--clear ${twice} and --${twice} cannot be given together.`)
  return names.flatMap((name) => fields[name] ?? [])
}

/** What options name takes the place of what is there. */
async function profileBody(api: Api, base: Body, options: ProfileOptions): Promise<Body> {
  const former = { ...(base.config ?? {}) } as Body & { harness?: Body }
  for (const field of clearedFields(options, { secret: 'secrets', skill: 'skills', mcp: 'mcp_servers' }))
    delete former[field]
  const environment = options.environment
  const harness = given({
    type: options.agent,
    // As it is shown, an agent may be named here, before the type.
    agent: options.agent,
    model_id: options.model,
    reasoning_level: options.reasoning,
  })
  // Model and reasoning level are those of an agent.
  const isOther = options.agent !== undefined && options.agent !== (former.harness?.agent ?? former.harness?.type)
  const config = given({
    harness: Object.keys(harness).length > 0 ? { ...(isOther ? {} : former.harness), ...harness } : undefined,
    permission_policy: options.permission,
    base_prompt: options.basePrompt,
    environment_id: environment && (await findEnvironment(api, environment)).uid,
    worker_host: options.pool,
    secrets: options.secrets === false ? [] : options.secret,
    skills: options.skill,
    mcp_servers: options.mcp && (await namedServers(api, options.mcp)),
    budget: options.budget && { usd: options.budget },
    tree_budget: options.treeBudget && { usd: options.treeBudget },
    idle_timeout_minutes: options.idle,
    max_turn_minutes: options.maxTurn,
    max_run_minutes: options.maxRun,
    max_transcript_mb: options.maxTranscript,
    max_disk_gb: options.maxDisk,
  })
  const own = given({ name: options.name, description: options.description, default: options.default })
  return { ...base, ...own, config: { ...former, ...config } }
}

export async function createRule(name: string | undefined, options: RuleOptions): Promise<ExitCode> {
  const api = connect()
  const body = await ruleBody(api, {}, { ...options, ...(name !== undefined && { name }) })
  if (body.text === undefined) throw usageError('A rule needs a text: --text, or --file.')
  return tell('rules', await api.configuration.rules.create(withOwner(body, options)), options, 'is kept')
}

export async function updateRule(which: string, options: RuleOptions): Promise<ExitCode> {
  refuseNothing(options)
  const api = connect()
  const { uid, ...item } = await findItem(api, 'rules', which)
  const { name, description, version, text, repositories, environment_ids, position, enabled } = item
  const base = { name, description, version, text, repositories, environment_ids, position, enabled }
  const body = await ruleBody(api, base, options)
  return tell('rules', await api.configuration.rules.replace(uid, body), options, 'is changed')
}

async function ruleBody(api: Api, base: Body, options: RuleOptions): Promise<Body> {
  const { environment: environments } = options
  if (options.enable && options.disable) throw usageError('--enable and --disable cannot be given together.')
  const cleared = clearedFields(options, { repo: 'repositories', environment: 'environment_ids' })
  return {
    ...base,
    ...Object.fromEntries(cleared.map((field) => [field, []])),
    ...given({
      name: options.name,
      description: options.description,
      text: await textOf(options),
      repositories: options.repo,
      environment_ids:
        environments && (await Promise.all(environments.map(async (one) => (await findEnvironment(api, one)).uid))),
      position: options.position,
      enabled: options.enable ? true : options.disable ? false : undefined,
    }),
  }
}

export async function createPrompt(name: string | undefined, options: PromptOptions): Promise<ExitCode> {
  const api = connect()
  const body = await promptBody({}, { ...options, ...(name !== undefined && { name }) })
  if (body.text === undefined) throw usageError('A saved prompt needs a text: --text, or --file.')
  return tell('prompts', await api.configuration.prompts.create(withOwner(body, options)), options, 'is kept')
}

export async function updatePrompt(which: string, options: PromptOptions): Promise<ExitCode> {
  refuseNothing(options)
  const api = connect()
  const { uid, name, description, version, text, arguments: declared } = await findItem(api, 'prompts', which)
  const kept = declared.map(({ required: _, ...argument }) => argument)
  const body = await promptBody({ name, description, version, text, arguments: kept }, options)
  return tell('prompts', await api.configuration.prompts.replace(uid, body), options, 'is changed')
}

/** Arguments as they are named; a place of the text that none is named for has one that every run has to give. */
async function promptBody(base: Body & { text?: string; arguments?: { name: string }[] }, options: PromptOptions) {
  const text = (await textOf(options)) ?? base.text
  const named = (options.argument ?? []).map((argument) => {
    const equals = argument.indexOf('=')
    return equals < 0
      ? { name: argument, default: null }
      : { name: argument.slice(0, equals), default: argument.slice(equals + 1) }
  })
  const places = placesIn(text ?? '')
  const former = (base.arguments ?? []).filter(({ name }) => places.includes(name))
  const merged = [
    ...former.map((one) => ({ ...one, ...named.find(({ name }) => name === one.name) })),
    ...named.filter(({ name }) => !former.some((one) => one.name === name)),
  ]
  const open = places.filter((name) => !merged.some((one) => one.name === name))
  return {
    ...base,
    ...given({ name: options.name, description: options.description, text }),
    arguments: [...merged, ...open.map((name) => ({ name }))],
  }
}

/** It would be a further version like the one before. */
function refuseNothing(options: object): void {
  // Where --no-secrets is not given, it says so.
  const isSaid = ([name, value]: [string, unknown]) => name !== 'json' && !(name === 'secrets' && value === true)
  const names = Object.entries(options).filter(isSaid)
  if (names.length === 0) throw usageError('Nothing to change: give an option, such as --description.')
}

async function textOf({ text, file }: { text?: string; file?: string }): Promise<string | undefined> {
  if (text !== undefined && file !== undefined) throw usageError('--text and --file cannot be given together.')
  return file === undefined ? text : await read(file)
}

const given = (fields: Body): Body =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))

const withOwner = (body: Body, { personal }: ItemOptions): Body => (personal ? { ...body, team: false } : body)

const read = async (file: string): Promise<string> =>
  file === '-'
    ? await readAll(process.stdin)
    : await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
        throw usageError(`The file ${file} cannot be read (${error.code}).`)
      })

async function readObject(file: string): Promise<Body> {
  let body: unknown
  try {
    body = JSON.parse(await read(file))
  } catch (error) {
    if (error instanceof CliError) throw error
    throw new CliError(exitCodes.usage, `${file} is not JSON: ${(error as Error).message}`, { cause: error })
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw usageError(`${file} is not a profile: it holds no JSON object.`)
  return { ...body }
}

function tell(kind: KindName, item: Item, { json }: JsonOption, what: string): ExitCode {
  const screen = createScreen()
  if (json) screen.write(`${JSON.stringify(item)}\n`)
  else {
    screen.write(`${clean(item.name)} ${what}: ${item.uid}, version ${item.version}\n`)
    if (kind === 'profiles') screen.note(`Use it: ${typed} run "…" --profile ${item.uid}`)
    if (kind === 'prompts') screen.note(`Use it: ${typed} run --saved-prompt ${item.uid}`)
  }
  return exitCodes.succeeded
}

async function findItem<Kind extends KindName>(
  api: Api,
  kind: Kind,
  which: string,
): Promise<Awaited<ReturnType<ConfigurationApi[Kind]['get']>>> {
  const items: Item[] = await api.configuration[kind].list()
  const found = findNamed(items, which, { one: words[kind], all: kind }, (item) => item)
  return found as Awaited<ReturnType<ConfigurationApi[Kind]['get']>>
}
