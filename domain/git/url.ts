// Where a repository is, by its URL; and the paths under which the git broker has it.

/** A repository on a server that speaks git over HTTP. */
export interface GitPlace {
  scheme: 'https' | 'http'
  /** With its port, where that is not the usual one. In small letters. */
  host: string
  /** Decoded, without slashes at its ends and without `.git`. */
  path: string
}

/** Below this the gateway has the git broker. */
export const GIT_PATH = '/git'

/** Of `https://host/path`, whatever user it names; null for other URLs. */
export function gitPlace(url: string): GitPlace | null {
  const parsed = URL.parse(url)
  if (parsed === null || (parsed.protocol !== 'https:' && parsed.protocol !== 'http:')) return null
  const path = plainPath(parsed.pathname)
  if (path === null) return null
  return { scheme: parsed.protocol === 'https:' ? 'https' : 'http', host: parsed.host.toLowerCase(), path }
}

/** Of `git@host:path` and `ssh://git@host/path` on the usual port; null for other URLs. */
export function sshPlace(url: string): Omit<GitPlace, 'scheme'> | null {
  const short = /^[\w.-]+@([\w.-]+):(?!\/\/)(.+)$/.exec(url)
  if (short) {
    const [, host = '', path = ''] = short
    const plain = plainPath(path)
    return plain === null ? null : { host: host.toLowerCase(), path: plain }
  }
  const parsed = URL.parse(url)
  if (parsed === null || parsed.protocol !== 'ssh:' || !['', '22'].includes(parsed.port)) return null
  const path = plainPath(parsed.pathname)
  return path === null ? null : { host: parsed.hostname.toLowerCase(), path }
}

export const isSamePlace = (one: GitPlace, other: GitPlace): boolean =>
  one.scheme === other.scheme && one.host === other.host && one.path === other.path

/** Null for a path that could mean another one than it says, or none at all. */
function plainPath(path: string): string | null {
  let decoded: string
  try {
    decoded = decodeURIComponent(path)
  } catch {
    return null // Some % is no code.
  }
  const plain = decoded.replace(/^\/+|\/+$/g, '').replace(/(?<=[^/])\.git$/, '')
  const parts = plain.split('/')
  if (plain === '' || /[\p{Cc}\\?#%]/u.test(plain)) return null
  return parts.some((part) => part === '' || part === '.' || part === '..') ? null : plain
}

const encoded = (path: string) => path.split('/').map(encodeURIComponent).join('/')

/** The repository on its own server. */
export const placeUrl = ({ scheme, host, path }: GitPlace): string => `${scheme}://${host}/${encoded(path)}.git`

/** The repository as the broker has it, below the gateway's address. */
export const brokerUrl = (gateway: string, { scheme, host, path }: GitPlace): string =>
  `${gateway}${GIT_PATH}/${scheme}/${host}/${encoded(path)}.git`

/** What a credential is for: a server (`https://host`), or what is below a path of it, down to one repository. */
export interface GitScope {
  scheme: 'https' | 'http'
  host: string
  /** Empty: all of the server. */
  path: string
}

/** Null where the text is no such URL. */
export function gitScope(url: string): GitScope | null {
  const parsed = URL.parse(url)
  if (parsed === null || (parsed.protocol !== 'https:' && parsed.protocol !== 'http:')) return null
  const scheme = parsed.protocol === 'https:' ? 'https' : 'http'
  const host = parsed.host.toLowerCase()
  if (parsed.pathname === '/' || parsed.pathname === '') return { scheme, host, path: '' }
  const path = plainPath(parsed.pathname)
  return path === null ? null : { scheme, host, path }
}

/** By whole names: `you` stands for `you/app`, and not for `yours/app`. */
export const isWithin = ({ scheme, host, path }: GitScope, place: GitPlace): boolean =>
  scheme === place.scheme &&
  host === place.host &&
  (path === '' || place.path === path || place.path.startsWith(`${path}/`))

/**
 * Where a URL's repository is over HTTP, as a credential has it; null where the credential is not for it.
 * What is named by ssh is looked for on the credential's server, whatever port that has for HTTP.
 */
export function placeWithin(scope: GitScope, url: string): GitPlace | null {
  const ssh = sshPlace(url)
  const hostname = scope.host.replace(/:\d+$/, '')
  const place =
    ssh === null
      ? gitPlace(url)
      : ssh.host === hostname
        ? { scheme: scope.scheme, host: scope.host, path: ssh.path }
        : null
  return place !== null && isWithin(scope, place) ? place : null
}
