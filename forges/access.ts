// Which forge a repository is on, and whose token opens pull requests there.
import { readFile } from 'node:fs/promises'
import { parseTokens } from '../domain/git/forge-tokens.ts'
import { withoutCredentials } from '../domain/run.ts'
import { ForgeError, type ForgeRepository } from './forge.ts'
import { type ForgeName, forges } from './index.ts'

/** A setting: one token for the forge's home, or several with their servers; and the path of a file with the same. */
export interface TokenSetting {
  tokens: string | undefined
  file: string | undefined
}

export type ForgeSettings = Readonly<Record<ForgeName, TokenSetting>>

/** A server of a forge, with the token that is good there. */
interface ForgeServer {
  forge: ForgeName
  /** `https://host[:port][/path]` */
  address: string
  token: string
}

/** A repository as what is stored for its team has it: where it is, and what opens pull requests there. */
export interface StoredAccess {
  forge: ForgeName
  /** Address of the API, without a trailing slash; null: as the forge has it on that server. */
  api: string | null
  /** `https://host[:port]` */
  server: string
  path: string
  token: string
}

/** What is stored for the run's team and person; null: nothing is, for this repository. @throws {ForgeError} */
export type FindStored = (runId: string, url: string, signal: AbortSignal) => Promise<StoredAccess | null>

export interface ForgeAccess {
  /**
   * The repository of this URL, on its forge, for a run.
   * @throws {ForgeError} unknown_forge, no_token
   */
  repository(url: string, runId: string, signal: AbortSignal): Promise<ForgeRepository>
}

/**
 * By what is stored for the team, else by the tokens of the settings. Both are
 * read for each use, so that they may change.
 */
export function createForgeAccess(settings: ForgeSettings, stored: FindStored = async () => null): ForgeAccess {
  return {
    async repository(url, runId, signal) {
      const own = await stored(runId, url, signal)
      if (own !== null) {
        const { forge, server, path, token } = own
        return forges[forge].repository({ api: own.api ?? forges[forge].api(server), path, token, signal })
      }
      const servers = await serversOf(settings)
      const place = placeOf(url)
      if (place === null)
        throw new ForgeError('unknown_forge', `${withoutCredentials(url)} is on no server that has pull requests.`)
      const found = servers.flatMap((server) => {
        const path = pathOn(server.address, place)
        return path === null ? [] : [{ server, path }]
      })[0]
      if (found === undefined) throw missing(place)
      const { address, forge, token } = found.server
      return forges[forge].repository({ api: forges[forge].api(address), path: found.path, token, signal })
    },
  }
}

interface Place {
  /** Without the port where the URL is for ssh, which has another one. */
  host: string
  hostname: string
  isSsh: boolean
  path: string
}

/** Of `https://host/path`, `ssh://user@host/path` and `user@host:path`; null for a path of this machine. */
function placeOf(url: string): Place | null {
  const short = /^[\w.-]+@([\w.-]+):(?!\/\/)(.+)$/.exec(url)
  if (short) {
    const [, host = '', path = ''] = short
    return isPath(path)
      ? { host: host.toLowerCase(), hostname: host.toLowerCase(), isSsh: true, path: plainPath(path) }
      : null
  }
  const parsed = URL.parse(url)
  if (parsed === null || !/^(https?|ssh):$/.test(parsed.protocol)) return null
  const decoded = decodedPath(parsed.pathname)
  if (decoded === null || !isPath(decoded)) return null
  const path = plainPath(decoded)
  const isSsh = parsed.protocol === 'ssh:'
  return { host: parsed.host.toLowerCase(), hostname: parsed.hostname.toLowerCase(), isSsh, path }
}

/** Null for what is no encoding. */
function decodedPath(path: string): string | null {
  try {
    return decodeURI(path)
  } catch {
    // A URIError: some % is no code.
    return null
  }
}

/** One that leads upwards would lead to another place of the forge's API. */
const isPath = (path: string) => !path.split('/').some((part) => part === '.' || part === '..')

const plainPath = (path: string) => path.replace(/^\/+|\/+$/g, '').replace(/\.git$/, '')

/** The repository's path on that server; null where it is not there. */
function pathOn(address: string, { host, hostname, isSsh, path }: Place): string | null {
  const server = new URL(address)
  if (isSsh ? server.hostname !== hostname : server.host !== host) return null
  const below = plainPath(server.pathname)
  if (below === '' || isSsh) return path
  return path.startsWith(`${below}/`) ? path.slice(below.length + 1) : null
}

function missing({ hostname }: Place): ForgeError {
  const home = Object.values(forges).find((forge) => forge.home === hostname)
  return home
    ? new ForgeError('no_token', `There is no token for ${home.name} on this server.`)
    : new ForgeError(
        'unknown_forge',
        `Which forge ${hostname} is, and by which token it opens pull requests, is not known here.`,
      )
}

async function serversOf(settings: ForgeSettings): Promise<ForgeServer[]> {
  const names = Object.keys(forges) as ForgeName[]
  const each = await Promise.all(
    names.map(async (forge) => {
      const { tokens = '', file } = settings[forge]
      const kept = file === undefined ? '' : await readTokens(file)
      return parseTokens(`${tokens}\n${kept}`).map(({ server, token }) => ({
        forge,
        address: server ?? `https://${forges[forge].home}`,
        token,
      }))
    }),
  )
  // The longest address first: one below another is the more exact.
  return each.flat().sort((one, other) => other.address.length - one.address.length)
}

async function readTokens(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new ForgeError('no_token', `The file of tokens ${file} cannot be read.`, null, { cause: error })
  }
}
