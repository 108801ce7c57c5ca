// How this host gets at repositories: whose credentials it shows to whom.
import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { RunFailureError } from '../../domain/failure.ts'
import { brokerUrl } from '../../domain/git/url.ts'
import type { BrokeredRepository } from '../../domain/host-api.ts'
import { withoutCredentials } from '../../domain/run.ts'
import { isErrno } from '../errno.ts'
import { type Credentials, type GitOptions, globalConfig } from './git.ts'

export interface GitAccess {
  /** A file that stands for the user's git configuration. */
  config: string
  /** The directory of the mirrors; null: every clone comes from its own server. */
  mirrors: string | null
  /** A file with lines `https://user:token@host/path`; null: there is none. */
  credentials: string | null
  /** The command that stands for ssh. */
  ssh: string
  /** The file in which a person finds the keys of servers that are known. */
  knownHosts: string
  /** Largest file that git may write, in bytes: what a server sends is one. */
  fileBytes: number | undefined
  /** Longest time that one clone may take, in minutes. */
  cloneMinutes: number
  /** What is reached through the git broker; absent: nothing. */
  broker?: BrokerAccess
}

/** The git broker, as far as it is for the repositories of one run, build or environment. */
export interface BrokerAccess {
  /** The address of the gateway. */
  gateway: string
  token: string
  repositories: readonly BrokeredRepository[]
}

export interface GitAccessSettings {
  /** Where git's configuration and the keys of servers are kept. */
  directory: string
  mirrors: string | null
  credentials: string | null
  sshKey: string | null
  /** A file of server keys, beside which no other is accepted; null: what a server shows first is noted and holds from then on. */
  knownHosts: string | null
  /** Largest file that git may write, in bytes; absent: any. */
  fileBytes?: number | undefined
  /** Longest time that one clone may take, in minutes. */
  cloneMinutes: number
}

export async function createGitAccess(settings: GitAccessSettings): Promise<GitAccess> {
  const { directory, mirrors, credentials, fileBytes, cloneMinutes } = settings
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const config = join(directory, 'config')
  const draft = `${config}.${randomUUID()}.draft`
  await writeFile(draft, globalConfig(), { mode: 0o600 })
  await rename(draft, config)
  const knownHosts = settings.knownHosts ?? join(directory, 'known_hosts')
  const ssh = sshCommand(settings, knownHosts)
  return { config, mirrors, credentials, ssh, knownHosts, fileBytes, cloneMinutes }
}

function sshCommand({ sshKey, knownHosts: given }: GitAccessSettings, knownHosts: string): string {
  // What the machine's own user has come to know counts too; what is new goes to the first file.
  const files = given === null ? [knownHosts, join(homedir(), '.ssh', 'known_hosts')] : [knownHosts]
  const options = [
    'BatchMode=yes',
    'ConnectTimeout=20',
    `StrictHostKeyChecking=${given === null ? 'accept-new' : 'yes'}`,
    `UserKnownHostsFile=${files.map(inSshConfig).join(' ')}`,
    ...(given === null ? [] : ['GlobalKnownHostsFile=/dev/null']),
    // Else it would try the keys of an agent first, and be refused for too many of them.
    ...(sshKey === null ? [] : ['IdentitiesOnly=yes', `IdentityFile=${inSshConfig(sshKey)}`]),
  ]
  return ['ssh', ...options.flatMap((option) => ['-o', inShell(option)])].join(' ')
}

/** Percent signs stand for something in these. */
const inSshConfig = (path: string) => `"${path.replaceAll('%', '%%')}"`
const inShell = (text: string) => `'${text.replaceAll("'", "'\\''")}'`

/** A repository's server as git is told of it. */
export interface Remote {
  /** Without credentials: it may be shown. */
  url: string
  credentials: Credentials | null
  /** Those of them that came with the request. */
  given: Credentials | null
  /** Where the git broker has it; null: it is reached by itself. */
  via: string | null
}

/**
 * The URL's own credentials come first, then those that the request gave for
 * the repository it is part of, on the same server, then what is stored on the
 * server, then the host's file, then the server's settings.
 * @throws {RunFailureError} internal_error when that file cannot be read.
 */
export async function remoteOf(url: string, access: GitAccess, parent: Remote | null = null): Promise<Remote> {
  const shown = withoutCredentials(url)
  const given = credentialsIn(url) ?? (parent?.given && isOn(shown, parent.given) ? parent.given : null)
  const direct = { url: shown, given, via: null }
  if (given !== null) return { ...direct, credentials: given }
  const brokered = access.broker?.repositories.find(({ url: each, by }) => each === shown && by !== 'url')
  const known = brokered?.by === 'stored' ? null : await knownCredentials(shown, access)
  if (known !== null || brokered === undefined || access.broker === undefined) return { ...direct, credentials: known }
  const { gateway, token } = access.broker
  const { protocol, host } = new URL(gateway)
  const credentials = { username: 'ambient', password: token, protocol: protocol.replace(':', ''), host }
  return { ...direct, credentials, via: brokerUrl(gateway, brokered.place) }
}

const isOn = (url: string, { protocol, host }: Credentials) =>
  url.toLowerCase().startsWith(`${protocol}://${host.toLowerCase()}/`)

/** What every call of git is made with that speaks to this server. */
export const gitOptions = (
  { credentials, url, via }: Remote,
  { config, ssh, fileBytes }: GitAccess,
  rest: Pick<GitOptions, 'cwd' | 'signal'> & Partial<GitOptions>,
): GitOptions => ({
  config,
  ssh,
  credentials,
  fileBytes,
  ...(via !== null && { instead: { of: url, by: via } }),
  ...rest,
})

function credentialsIn(url: string): Credentials | null {
  const match = /^(https?):\/\/([^/?#:]*)(?::([^/?#]*))?@([^/?#@]+)/.exec(url)
  if (match === null) return null
  const [, protocol = '', username = '', password = '', host = ''] = match
  return { protocol, host, username: decode(username), password: decode(password) }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // Not percent-encoded, then: as it stands.
    return text
  }
}

/** The line with the longest part of the URL's path counts. */
async function knownCredentials(url: string, { credentials: file }: GitAccess): Promise<Credentials | null> {
  if (file === null || !/^https?:/.test(url)) return null
  const lines = (await readCredentials(file)).split('\n').map((line) => line.trim())
  const found = lines
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => ({ prefix: withoutCredentials(line).replace(/\/+$/, ''), credentials: credentialsIn(line) }))
    .filter(({ prefix, credentials }) => credentials !== null && isPrefix(prefix, url))
    .sort((one, other) => other.prefix.length - one.prefix.length)
  return found[0]?.credentials ?? null
}

/** By whole names: `/team` stands for `/team/app`, and not for `/teams`. Names of hosts know no capitals. */
function isPrefix(prefix: string, url: string): boolean {
  const [one, other] = [prefix, url].map((text) => text.replace(/^[^/]*\/\/[^/]*/, (host) => host.toLowerCase()))
  return other !== undefined && (other === one || other === `${one}.git` || other.startsWith(`${one}/`))
}

async function readCredentials(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    const reason = isErrno(error, 'ENOENT') ? 'is not there' : 'cannot be read'
    throw new RunFailureError(
      {
        code: 'internal_error',
        phase: 'workspace',
        message: `The file of AMBIENT_GIT_CREDENTIALS ${reason}.`,
        nextStep: "Have the host's administrator put it right: its own user must be able to read it.",
      },
      { cause: error },
    )
  }
}
