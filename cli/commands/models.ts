// `ambient models`, `ambient providers`: what the team's runs may call, what it costs, and where it is.
import { typed } from '../../config.ts'
import type { ProviderName } from '../../domain/harness.ts'
import type { ModelItem } from '../../domain/models/models.ts'
import type { ModelProviderItem } from '../../domain/models/provider.ts'
import type { Api } from '../api/client.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findNamed } from '../find-named.ts'
import { table } from '../render/table.ts'
import { clean } from '../render/text.ts'
import { createScreen } from '../screen.ts'
import { readValue } from './secrets.ts'

interface JsonOption {
  json?: boolean
}

export async function models({ json }: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const list = await connect().models.list()
  if (json) screen.write(`${JSON.stringify(list)}\n`)
  else {
    const heads = ['MODEL', 'PROVIDER', 'INPUT', 'CACHED', 'OUTPUT', 'AGENTS', '']
    screen.write(table(heads, list.models.map(rowOf), screen.style.colours.dim))
    screen.note('Prices are in US dollars for a million tokens.')
    if (list.models.some(({ prices }) => prices === null))
      screen.note(
        'Calls of models whose price is unknown are charged with nothing, and are refused in runs that a budget or credits limit. The operator gives prices by AMBIENT_MODELS_FILE.',
      )
  }
  return exitCodes.succeeded
}

const rowOf = ({ id, provider, prices, harnesses, disable_reason: off }: ModelItem): string[] => [
  clean(id),
  provider.toLowerCase(),
  ...(prices === null
    ? ['unknown', '', '']
    : [prices.input, prices.cache_read ?? prices.input, prices.output].map((price) => String(price))),
  harnesses.join(', '),
  off === undefined ? '' : 'disabled',
]

export interface RulesOptions extends JsonOption {
  allow?: string[]
  deny?: string[]
  none?: boolean
}

export async function rules({ allow, deny, none, json }: RulesOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  if (none && (allow || deny)) throw usageError('--none goes with no --allow and no --deny.')
  const isChange = none === true || allow !== undefined || deny !== undefined
  const now = isChange ? await api.models.setRules({ allow: allow ?? [], deny: deny ?? [] }) : await api.models.rules()
  if (json) screen.write(`${JSON.stringify(now)}\n`)
  else {
    const shown = (patterns: string[], otherwise: string) => (patterns.length === 0 ? otherwise : patterns.join(' '))
    screen.write(`allowed: ${shown(now.allow, 'all models')}\ndenied:  ${shown(now.deny, 'none')}\n`)
  }
  return exitCodes.succeeded
}

export async function providers({ json }: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const list = await connect().models.providers()
  const rows = list.map((each) => [
    each.uid,
    clean(each.name),
    each.format,
    clean(each.base_url),
    each.models.join(' '),
    each.has_api_key ? 'key' : '',
  ])
  if (json) screen.write(`${JSON.stringify({ providers: list })}\n`)
  else if (list.length === 0)
    screen.write(
      `The team has no endpoint of its own. Add one: ${typed} providers create <name> <url> --format openai --key-file -\n`,
    )
  else screen.write(table(['UID', 'NAME', 'FORMAT', 'URL', 'MODELS', ''], rows, screen.style.colours.dim))
  return exitCodes.succeeded
}

export interface ProviderOptions extends JsonOption {
  name?: string
  url?: string
  format?: ProviderName
  model?: string[]
  keyFile?: string
  /** False: `--no-key`. */
  key?: boolean
  header?: string[]
}

export async function createProvider(name: string, url: string, options: ProviderOptions): Promise<ExitCode> {
  const screen = createScreen()
  if (options.format === undefined) throw usageError('Say whose API it speaks: --format openai')
  const made = await connect().models.createProvider({
    name,
    base_url: url,
    format: options.format,
    ...(options.model && { models: options.model }),
    ...(await secretsOf(options)),
  })
  screen.write(options.json ? `${JSON.stringify(made)}\n` : `${made.uid}\n`)
  return exitCodes.succeeded
}

export async function updateProvider(given: string, options: ProviderOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid, name, format, base_url, models: patterns } = await findProvider(api, given)
  const changed = await api.models.replaceProvider(uid, {
    name: options.name ?? name,
    format: options.format ?? format,
    base_url: options.url ?? base_url,
    models: options.model ?? patterns,
    ...(await secretsOf(options)),
  })
  screen.write(options.json ? `${JSON.stringify(changed)}\n` : `${clean(changed.name)} is changed.\n`)
  return exitCodes.succeeded
}

async function secretsOf({ keyFile, key, header }: ProviderOptions) {
  return {
    ...(keyFile !== undefined && { api_key: (await readValue(keyFile)).trim() }),
    ...(key === false && { api_key: null }),
    ...(header !== undefined && { headers: Object.fromEntries(header.map(headerOf)) }),
  }
}

function headerOf(text: string): [string, string] {
  const at = text.indexOf(':')
  if (at < 1) throw usageError(`--header ${text}: must be "Name: value".`)
  return [text.slice(0, at).trim(), text.slice(at + 1).trim()]
}

export async function removeProvider(given: string): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid, name } = await findProvider(api, given)
  await api.models.removeProvider(uid)
  screen.write(`${clean(name)} is removed.\n`)
  return exitCodes.succeeded
}

const findProvider = async (api: Api, given: string): Promise<ModelProviderItem> =>
  findNamed(await api.models.providers(), given, { one: 'endpoint', all: 'providers' }, (provider) => provider)
