// `ambient git-credentials`: what runs get at private repositories by.
import { readFile } from 'node:fs/promises'
import { text as readAll } from 'node:stream/consumers'
import { typed } from '../../config.ts'
import type { GitCredentialItem } from '../../domain/git/credential.ts'
import type { Api } from '../api/client.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findNamed } from '../find-named.ts'
import { table } from '../render/table.ts'
import { clean, duration } from '../render/text.ts'
import { createScreen } from '../screen.ts'

export interface GitCredentialOptions {
  name?: string
  url?: string
  tokenFile?: string
  user?: string
  appId?: string
  keyFile?: string
  apiUrl?: string
  access?: 'read' | 'write'
  forge?: 'github' | 'gitlab'
  personal?: boolean
  json?: boolean
}

export async function gitCredentials({ json }: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const items = await connect().gitCredentials.list()
  if (json) screen.write(`${JSON.stringify({ git_credentials: items })}\n`)
  else if (items.length === 0)
    screen.write(`No git credential is stored. Store one: ${typed} git-credentials create <name> --url <url>\n`)
  else {
    const rows = items.map((item) => [
      clean(item.name),
      item.uid,
      clean(item.url),
      item.type === 'token' ? 'token' : 'GitHub App',
      item.scope.type === 'User' ? 'you' : 'the team',
      item.last_used_at === null
        ? 'never'
        : `${duration(Math.max(0, Date.now() - Date.parse(item.last_used_at)), 1)} ago`,
    ])
    screen.write(table(['NAME', 'UID', 'FOR', 'KIND', 'OF', 'USED'], rows, screen.style.colours.dim))
  }
  return exitCodes.succeeded
}

export async function show(given: string, { json }: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const item = await find(connect(), given)
  const facts: [string, string | null][] = [
    ['Credential', item.uid],
    ['Name', item.name],
    ['For', item.url],
    ['Kind', item.type === 'token' ? 'token' : `GitHub App ${item.github_app?.app_id ?? ''}`],
    ['User', item.username],
    ['API', item.github_app?.api_url ?? null],
    ['Access', item.access],
    ['Forge', item.forge],
    ['Of', item.scope.type === 'User' ? 'you alone' : 'the team'],
    ['Last used', item.last_used_at],
    ['Changed', item.updated_at],
  ]
  const lines = facts
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${screen.style.colours.dim(name.padEnd(12))}${clean(String(value))}\n`)
  screen.write(json ? `${JSON.stringify(item)}\n` : lines.join(''))
  return exitCodes.succeeded
}

export async function create(name: string, options: GitCredentialOptions): Promise<ExitCode> {
  if (options.url === undefined)
    throw usageError(
      'For which repositories is it?',
      `${typed} git-credentials create <name> --url https://github.com/you`,
    )
  const isApp = options.appId !== undefined
  const asked = isApp || options.tokenFile !== undefined ? options : { ...options, tokenFile: '-' }
  const config = await withOptions({ type: isApp ? 'github_app' : 'token', personal: options.personal ?? false }, asked)
  return tell(await connect().gitCredentials.create({ ...config, name }), options, 'is stored')
}

export async function update(given: string, options: GitCredentialOptions): Promise<ExitCode> {
  const api = connect()
  const item = await find(api, given)
  const { uid, name, url, username, github_app: app, access, forge, scope } = item
  const type = options.appId !== undefined ? 'github_app' : options.tokenFile !== undefined ? 'token' : item.type
  const base = {
    ...{ name, url, type, access, personal: scope.type === 'User' },
    ...(username !== null && { username }),
    ...(forge !== null && { forge }),
    ...(type === 'github_app' &&
      app !== null && { github_app: { app_id: app.app_id, ...(app.api_url !== null && { api_url: app.api_url }) } }),
  }
  return tell(await api.gitCredentials.replace(uid, await withOptions(base, options)), options, 'is changed')
}

function tell(item: GitCredentialItem, { json }: GitCredentialOptions, what: string): ExitCode {
  createScreen().write(json ? `${JSON.stringify(item)}\n` : `${clean(item.name)} ${what}: ${item.uid}\n`)
  return exitCodes.succeeded
}

export async function remove(given: string): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid, name } = await find(api, given)
  await api.gitCredentials.remove(uid)
  screen.write(`${clean(name)} is deleted.\n`)
  return exitCodes.succeeded
}

const find = async (api: Api, given: string): Promise<GitCredentialItem> =>
  findNamed(await api.gitCredentials.list(), given, { one: 'git credential', all: 'git-credentials' }, (item) => item)

type Config = Record<string, unknown> & { github_app?: object }

/** What options name takes the place of what is there. Tokens and keys are on no command line, where others would see them. */
async function withOptions(base: Config, options: GitCredentialOptions): Promise<Config> {
  const { tokenFile, keyFile } = options
  const app = {
    ...base.github_app,
    ...(options.appId !== undefined && { app_id: options.appId }),
    ...(options.apiUrl !== undefined && { api_url: options.apiUrl }),
    ...(keyFile !== undefined && { private_key: await readSecret(keyFile) }),
  }
  const given = {
    name: options.name,
    url: options.url,
    username: options.user,
    access: options.access,
    forge: options.forge,
    token: tokenFile === undefined ? undefined : (await readSecret(tokenFile)).trim(),
  }
  return {
    ...base,
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    ...(Object.keys(app).length > 0 && { github_app: app }),
  }
}

async function readSecret(file: string): Promise<string> {
  if (file === '-' && process.stdin.isTTY) createScreen().note('Paste it, and end with Ctrl-D.')
  if (file === '-') return await readAll(process.stdin)
  return await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw usageError(`The file ${file} cannot be read (${error.code}).`)
  })
}
