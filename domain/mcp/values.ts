// The values of MCP servers: where they stand, what is shown of them, and what stands for those that are not shown.
import { type McpServer, type McpServers, urlOf } from './server.ts'

/** A value that is nothing but names of secrets, and the word for what kind of credential they are. */
export const isReference = (value: string): boolean =>
  /^((Bearer|Basic|Token|token) )?(\$\{[A-Za-z_][A-Za-z0-9_]*\})+$/.test(value)

/** Where a server has values. */
export type ValuedServer = Pick<McpServer, 'args' | 'env' | 'headers' | 'url'>
type ValueField = keyof ValuedServer

/** Each value of `args`, of `env`, of `headers`, and of `url` behind its host, as `change` makes it. */
export function mapValues<T extends ValuedServer>(
  server: T,
  change: (value: string, field: ValueField, name: string) => string,
): T {
  const all = (field: 'env' | 'headers') => {
    const values = server[field]
    if (values === undefined) return {}
    return {
      [field]: Object.fromEntries(Object.entries(values).map(([name, value]) => [name, change(value, field, name)])),
    }
  }
  const args = server.args && { args: server.args.map((value, at) => change(value, 'args', String(at))) }
  const url = server.url && { url: withParts(server.url, (value, name) => change(value, 'url', name)) }
  return { ...server, ...args, ...all('env'), ...all('headers'), ...url }
}

const QUERY = 'query.'

// A server takes a \ for a / as well.
const inUrl = /^(\w+:\/\/[^/\\?#]*[/\\]?)([^?#]*)(\??)([^#]*)(#?)(.*)$/s

/**
 * A URL with its path, each value of its query, and its fragment as `change` makes them, as they are written there.
 * Of several values of one name, each has its own.
 */
function withParts(url: string, change: (value: string, name: string) => string): string {
  const counts = new Map<string, number>()
  const value = (part: string): string => {
    const [, before = '', text = ''] = /^([^=]*=)?(.*)$/s.exec(part) ?? []
    if (text === '') return part
    const name = before.slice(0, -1)
    const count = (counts.get(name) ?? 0) + 1
    counts.set(name, count)
    return `${before}${change(text, `${QUERY}${count === 1 ? name : `${name} ${count}`}`)}`
  }
  const other = (text: string, name: string) => (text === '' ? '' : change(text, name))
  return url.replace(inUrl, (_, origin: string, path: string, ask: string, query: string, hash: string, rest: string) =>
    [origin, other(path, 'path'), ask, query.split('&').map(value).join('&'), hash, other(rest, 'fragment')].join(''),
  )
}

function partsOf(url: string): Map<string, string> {
  const parts = new Map<string, string>()
  withParts(url, (value, name) => {
    parts.set(name, value)
    return value
  })
  return parts
}

/** Shorter ones in a query are taken for settings, such as `markdown`. In characters. */
const SECRET_CHARS = 16
/** Shorter ones are nobody's password. */
const NAMED_CHARS = 8

/** Made by a machine: a UUID, or a long piece of letters and digits. What people name things by is not hidden wherever it comes up. */
const looksMade = (text: string): boolean =>
  /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(text) ||
  text.split(/[-._~]/).some((piece) => piece.length >= 12 && /\d/.test(piece) && /[A-Za-z]/.test(piece))

/** What of a URL may be a secret, and is hidden where it comes back: values of its query, and steps of its path. */
export const secretsInUrl = (url: string): string[] =>
  [...partsOf(url)].flatMap(([name, value]) =>
    name.startsWith(QUERY)
      ? [value].filter((text) => text.length >= SECRET_CHARS && !isReference(text))
      : value.split(/[/\\]/).filter(looksMade),
  )

const SECRET_OPTION = /^--?[\w-]*(key|token|secret|pass|auth|credential)[\w-]*$/i

/** The same of arguments: values of options that are named for it, and whatever looks made. */
export const secretsInArgs = (args: readonly string[]): string[] =>
  args.flatMap((arg, at) => {
    const [, name = arg, value] = /^(--?[\w-]+)=(.*)$/s.exec(arg) ?? []
    const next = args[at + 1]
    const named = SECRET_OPTION.test(name) ? (value ?? (next?.startsWith('-') ? undefined : next)) : undefined
    const made = arg.split(/[\s=:,/]+/).filter(looksMade)
    return named !== undefined && named.length >= NAMED_CHARS ? [named, ...made] : made
  })

/** Stands in for every value that is not a reference, wherever a server is shown. */
const HIDDEN = '***'

/** Whether a value is none, but stands for the stored one. */
export const isHidden = (value: string): boolean => value === HIDDEN

const hidden = (value: string): string => (isReference(value) ? value : HIDDEN)

/** A server as everybody may see it. */
export const shownServer = <T extends ValuedServer>(server: T): T => mapValues(server, hidden)

/**
 * A server without its credentials, which nobody is shown again. Its arguments and what follows the host in its URL
 * are left as they lie, sealed: whoever may manage servers sees what is started, and where.
 */
export const managedServer = <T extends ValuedServer>(server: T): T =>
  mapValues(server, (value, field, name) =>
    field === 'args' || (field === 'url' && !name.startsWith(QUERY)) ? value : hidden(value),
  )

type Show = <T extends ValuedServer>(server: T) => T

export const withServers = (servers: McpServers, show: Show): McpServers =>
  Object.fromEntries(Object.entries(servers).map(([name, server]) => [name, show(server)]))

/** A configuration with its servers as `show` makes them. */
export const configWithServers = <T extends { mcp_servers?: McpServers | null | undefined }>(
  config: T,
  show: Show,
): T => (config.mcp_servers == null ? config : { ...config, mcp_servers: withServers(config.mcp_servers, show) })

const originOf = (url: string | undefined) => (url === undefined ? null : (urlOf(url)?.origin ?? null))

/**
 * A server that was sent back as it was shown, with the stored values in place of what hides them.
 * `missing` is told the place of one for which nothing is stored, or what is stored is of another host: nobody can have
 * a value that they do not know sent elsewhere.
 */
export function withStoredValues<T extends ValuedServer>(
  server: T,
  stored: ValuedServer | undefined,
  missing: (place: string) => Error,
): T {
  const isElsewhere = originOf(server.url) !== originOf(stored?.url)
  const former = (field: ValueField, name: string): string | undefined => {
    if (field === 'url') return partsOf(stored?.url ?? '').get(name)
    return field === 'args' ? stored?.args?.[Number(name)] : stored?.[field]?.[name]
  }
  return mapValues(server, (value, field, name) => {
    if (value !== HIDDEN) return value
    if (stored !== undefined && isElsewhere)
      throw missing(`${field}.${name}: ${HIDDEN} stands for a value of another server; give it anew`)
    const kept = former(field, name)
    if (kept === undefined) throw missing(`${field}.${name}: ${HIDDEN} stands for a stored value, and there is none`)
    return kept
  })
}
