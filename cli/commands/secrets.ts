// `ambient secrets`: what runs are given as variables and files. Values come from stdin or a file, never as an argument.
import { readFile } from 'node:fs/promises'
import { buffer as readAll } from 'node:stream/consumers'
import { typed } from '../../config.ts'
import { issueWords } from '../../domain/issue-words.ts'
import { NewSecret, type SecretItem, type SecretScope } from '../../domain/vault/secret.ts'
import { connect } from '../connect.ts'
import { lineOf, readDotenv } from '../dotenv.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findEnvironment } from '../find-environment.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { clean } from '../render/text.ts'
import { createScreen } from '../screen.ts'

/** Whose a secret is, as the options say it. */
export interface ScopeOptions {
  personal?: boolean
  environment?: string
  agent?: string
  json?: boolean
}

export interface SecretOptions extends ScopeOptions {
  file?: string
  asFile?: string | true
  description?: string
}

type Api = ReturnType<typeof connect>

export async function secrets(options: ScopeOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const list = await api.secrets.list(await filterOf(api, options))
  if (options.json) screen.write(`${JSON.stringify({ secrets: list })}\n`)
  else if (list.length === 0) screen.write(`There are no secrets. Keep one: ${typed} secrets set NAME\n`)
  else screen.write(renderSecrets(list, screen.style))
  return exitCodes.succeeded
}

export const renderSecrets = (list: readonly SecretItem[], { colours }: Style): string =>
  table(
    ['NAME', 'SCOPE', 'KIND', 'VERSION', 'CHANGED', 'LAST USED', 'DESCRIPTION'],
    list.map(({ name, scope, owner, kind, path, version, updated_at, last_used_at, description }) => [
      name,
      owner === null || scope === 'person' ? scope : `${scope} ${owner}`,
      kind === 'file' ? clean(`file ${path ?? ''}`.trim()) : kind,
      String(version),
      updated_at,
      last_used_at ?? 'never',
      clean(description),
    ]),
    colours.dim,
  )

/** Makes it, or gives it a new value. */
export async function set(name: string, options: SecretOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { asFile, description } = options
  const value = await readValue(options.file, { whole: asFile !== undefined })
  const kept = await keep(api, await placeOf(api, options), {
    name,
    value,
    ...(asFile === undefined ? {} : { kind: 'file', path: asFile === true ? null : asFile }),
    ...(description === undefined ? {} : { description }),
  })
  if (options.json) screen.write(`${JSON.stringify(kept)}\n`)
  else screen.write(`${kept.name} is kept, version ${kept.version} (${kept.scope}).\n`)
  return exitCodes.succeeded
}

export async function importAll(file: string | undefined, options: ScopeOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const text = (await readLines(file)).replace(/^\uFEFF/, '')
  const values = readDotenv(text)
  refuseBad(text, values)
  const place = await placeOf(api, options)
  const kept: SecretItem[] = []
  for (const [name, value] of values) {
    if (value === '') {
      screen.note(`${clean(name)} has no value, and is left out.\n`)
      continue
    }
    kept.push(await keep(api, place, { name, value }))
  }
  if (options.json) screen.write(`${JSON.stringify({ secrets: kept })}\n`)
  else screen.write(renderSecrets(kept, screen.style))
  return exitCodes.succeeded
}

/** All are checked before the first is kept. @throws {CliError} that names each that cannot be kept, and its line. */
export function refuseBad(text: string, values: readonly [string, string][]): void {
  const bad = values.flatMap(([name, value]) => {
    const { error } = NewSecret.safeParse({ name, value: value === '' ? 'left out' : value })
    if (error === undefined) return []
    const line = lineOf(text, name)
    const place = line === null ? clean(name) : `line ${line}: ${clean(name)}`
    return error.issues.map((issue) => `${place}: its ${issue.path.join('.')} ${issueWords(issue)}`)
  })
  if (bad.length > 0) throw usageError(`Nothing was kept.\n${bad.map((words) => `  ${words}`).join('\n')}`)
}

export async function remove(name: string, options: ScopeOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const place = await placeOf(api, options)
  const found = await findOne(api, place, name)
  if (found === undefined)
    throw usageError(`There is no secret ${name} of this ${place.scope}.`, `${typed} secrets lists them.`)
  await api.secrets.remove(found.uid)
  screen.write(`${name} is deleted. No run gets it from now on.\n`)
  return exitCodes.succeeded
}

interface Place {
  scope: SecretScope
  environment_id?: string
  agent_uid?: string
}

async function placeOf(api: Api, { personal, environment, agent }: ScopeOptions): Promise<Place> {
  if ([personal, environment, agent].filter((option) => option !== undefined).length > 1)
    throw usageError('A secret is of one scope: give one of --personal, --environment and --agent.')
  if (personal) return { scope: 'person' }
  if (environment !== undefined)
    return { scope: 'environment', environment_id: (await findEnvironment(api, environment)).uid }
  if (agent !== undefined) return { scope: 'agent', agent_uid: agent }
  return { scope: 'team' }
}

/** Without an option: all that there are. */
async function filterOf(api: Api, options: ScopeOptions): Promise<Record<string, string>> {
  const { scope, ...owner } = await placeOf(api, options)
  return scope === 'team' ? {} : { scope, ...owner }
}

async function findOne(api: Api, { scope, ...owner }: Place, name: string): Promise<SecretItem | undefined> {
  return (await api.secrets.list({ scope, ...owner, name }))[0]
}

interface SecretFields {
  name: string
  value: string
  kind?: string
  path?: string | null
  description?: string
}

async function keep(api: Api, place: Place, fields: SecretFields): Promise<SecretItem> {
  const found = await findOne(api, place, fields.name)
  if (found === undefined) return await api.secrets.create({ ...place, ...fields })
  const { name: _, kind, ...change } = fields
  if (kind !== undefined && kind !== found.kind)
    throw usageError(`${fields.name} is kept as a variable.`, `Delete it first: ${typed} secrets delete ${fields.name}`)
  return await api.secrets.change(found.uid, change)
}

/** A file's content as it is; of what is typed or piped in, without the line's end, unless it is to be kept `whole`. */
export async function readValue(
  file: string | undefined,
  { stdin = process.stdin, whole = false }: { stdin?: NodeJS.ReadStream; whole?: boolean } = {},
): Promise<string> {
  if (file !== undefined && file !== '-') {
    const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
      throw usageError(`The file ${file} cannot be read (${error.code}).`)
    })
    return textIn(bytes, `The file ${file}`)
  }
  const text = stdin.isTTY ? await readHidden(stdin) : textIn(await readAll(stdin), 'What was piped in')
  const value = whole ? text : text.replace(/\r?\n$/, '')
  if (value === '') throw usageError('The value is empty.', 'Pipe it in, type it, or name a file with --file.')
  return value
}

/** @throws {CliError} for bytes that would not come out as they went in. */
function textIn(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    // That is all that it says.
    throw usageError(
      `${what} is no UTF-8 text, and a secret is text.`,
      'Keep it as base64, and have the run decode it: base64 <file> | ambient secrets set <name>',
    )
  }
}

/** Of what is pasted, all up to the end. */
async function readLines(file: string | undefined): Promise<string> {
  if ((file === undefined || file === '-') && process.stdin.isTTY) {
    process.stderr.write('Paste the lines, then press Enter and Ctrl-D:\n')
    return textIn(await readAll(process.stdin), 'What was pasted')
  }
  return await readValue(file)
}

/** A line that is typed, without being shown. */
async function readHidden(stdin: NodeJS.ReadStream): Promise<string> {
  process.stderr.write('Value (not shown): ')
  stdin.setRawMode(true)
  let text = ''
  try {
    for await (const chunk of stdin.setEncoding('utf8')) {
      for (const letter of String(chunk)) {
        if (letter === '\u0003') throw usageError('Nothing was kept.')
        if (letter === '\r' || letter === '\n' || letter === '\u0004') return text
        text = letter === '\u007f' ? text.slice(0, -1) : text + letter
      }
    }
    return text
  } finally {
    stdin.setRawMode(false)
    stdin.pause()
    process.stderr.write('\n')
  }
}
