// An MCP server of a run with the values of this moment: opened, and with secrets in the place of their names.
import { expand, type McpCommand, type McpServer, namesIn, typeOf } from '../../domain/mcp/server.ts'
import { secretsInUrl } from '../../domain/mcp/values.ts'
import { chosenNames, type SecretChoice } from '../../domain/vault/secret.ts'
import type { Vault } from '../../domain/vault/vault.ts'
import type { Queryable } from '../../store/database.ts'
import { mcpServersOfRun } from '../../store/mcp-servers.ts'
import { keepGiven } from '../../store/secrets/given-values.ts'
import { areNamedByOthers, holderOf, openSecret, secretsOf } from '../../store/secrets/run-secrets.ts'
import { openEnvironment } from '../vault/inline.ts'
import { openServer } from './values.ts'

export type ResolvedServer =
  | { type: 'http' | 'sse'; url: URL; headers: Record<string, string>; hidden: string[] }
  | ({ type: 'stdio' } & McpCommand)
  /** It cannot be had, for a reason that is told to whoever waits for it. */
  | { type: 'trouble'; message: string }

/** What stands for a name, and whether it is to be kept from those who see a list of processes. */
export interface Value {
  value: string
  isSecret: boolean
}
export type LookUp = ReadonlyMap<string, Value>

/** Null: the run has no server of this name. @throws {VaultError} */
export async function resolveServer(
  db: Queryable,
  vault: Vault,
  runId: string,
  name: string,
): Promise<ResolvedServer | null> {
  const run = await mcpServersOfRun(db, runId)
  const stored = run?.servers[name]
  if (!run || !stored) return null
  const server = openServer(vault, run.team, stored)
  return resolve(server, await valuesFor(db, vault, runId, run.env, server))
}

/**
 * The secrets that a run may have, and the variables of its environment, as far as the server names them. A personal
 * secret is there only where the person whose run it is names both it, in `secrets`, and the server: whoever has others'
 * runs use a server cannot have their secrets sent to it.
 */
async function valuesFor(
  db: Queryable,
  vault: Vault,
  runId: string,
  env: Readonly<Record<string, string>>,
  server: McpServer,
): Promise<LookUp> {
  const texts = [
    ...[server.command ?? '', server.url ?? '', ...(server.args ?? [])],
    ...Object.values(server.env ?? {}),
    ...Object.values(server.headers ?? {}),
  ]
  const names = [...new Set(texts.flatMap(namesIn))]
  const values = new Map<string, Value>()
  const named = Object.fromEntries(Object.entries(env).filter(([name]) => names.includes(name)))
  const { env: opened } = openEnvironment(vault, { env: named, repos: [], setup_commands: [] })
  for (const [name, value] of Object.entries(opened)) values.set(name, { value, isSecret: false })
  if (names.length === 0) return values
  const run = await holderOf(db, runId)
  if (run === null) return values
  const chosen = chosenNames(run.config.secrets as SecretChoice | null | undefined)
  const asChosen = await secretsOf(db, run.holder, chosen)
  // What the run's configuration names here, it has chosen, though it be in no list for its sandbox.
  const inScope = chosen === null ? [] : await secretsOf(db, run.holder, null)
  const isTheirs =
    !run.holder.namedByOthers && !(await areNamedByOthers(db, run.holder.creator, run.configuration, 'mcp_servers'))
  const isNamed = (name: string) => isTheirs && chosen?.includes(name)
  const used = [...inScope, ...asChosen].filter(
    (secret) => names.includes(secret.name) && (secret.scope !== 'person' || isNamed(secret.name)),
  )
  // A command runs in the sandbox, and may say what it gets.
  if (typeOf(server) === 'stdio') await keepGiven(db, runId, used)
  for (const secret of used) values.set(secret.name, { value: openSecret(vault, secret).value, isSecret: true })
  return values
}

/** `server`: with opened values. */
export function resolve(server: McpServer, values: LookUp): ResolvedServer {
  const missing = new Set<string>()
  const expanded = (text: string): string => {
    const told = expand(text, (name) => values.get(name)?.value)
    for (const name of told.missing) missing.add(name)
    return told.text
  }
  const all = (map: Record<string, string> | undefined) =>
    Object.fromEntries(Object.entries(map ?? {}).map(([name, value]) => [name, expanded(value)]))
  const trouble = (message: string): ResolvedServer => ({ type: 'trouble', message })

  const type = typeOf(server)
  if (type === 'stdio') {
    const words = [server.command ?? '', ...(server.args ?? [])]
    const open = words.flatMap(namesIn).find((name) => values.get(name)?.isSecret)
    if (open !== undefined)
      return trouble(
        `\${${open}} is a secret, and an argument can be read by every program of the machine. Give it to the server in env.`,
      )
    const [command = '', ...args] = words.map(expanded)
    const env = all(server.env)
    return missing.size > 0 ? trouble(missingWords(missing)) : { type, command, args, env }
  }

  const text = expanded(server.url ?? '')
  const headers = all(server.headers)
  if (missing.size > 0) return trouble(missingWords(missing))
  const url = URL.parse(text)
  if (url === null) return trouble('Its url is none, with the values in it.')
  const torn = Object.entries(headers).find(([, value]) => /[\r\n\0]/.test(value))
  if (torn !== undefined) return trouble(`The value of its header ${torn[0]} is more than one line.`)
  const secrets = namesIn(server.url ?? '').flatMap((name) => values.get(name)?.value ?? [])
  secrets.push(...url.searchParams.values(), ...secretsInUrl(text))
  return { type, url, headers, hidden: [...secrets, ...Object.values(headers).flatMap(withoutScheme)] }
}

/** A header's value as it may come back in an answer, with and without the word before a credential. */
const withoutScheme = (value: string): string[] => [value, value.replace(/^\w+ /, '')]

function missingWords(missing: ReadonlySet<string>): string {
  const names = [...missing].map((name) => `\${${name}}`)
  const [last = '', ...others] = names.toReversed()
  const listed = others.length === 0 ? last : `${others.toReversed().join(', ')} and ${last}`
  return `${listed} ${names.length === 1 ? 'is' : 'are'} neither a secret that the run may have nor a variable of its environment.`
}
