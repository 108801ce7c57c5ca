// What git asks of the broker, by method and path.
import type { IncomingHttpHeaders } from 'node:http'
import { GIT_PATH, type GitPlace, gitPlace } from '../../domain/git/url.ts'

export type GitService = 'git-upload-pack' | 'git-receive-pack'

export type GitAsk =
  | { kind: 'refs' | 'rpc'; place: GitPlace; service: GitService; writes: boolean }
  /** Which large files there are, and where; `own` is the path of the broker's objects. */
  | { kind: 'batch'; place: GitPlace; own: string; writes: false }
  | { kind: 'locks'; place: GitPlace; writes: boolean }
  /** A large file, under an address that the broker has given out. */
  | { kind: 'object'; sealed: string }

export const OBJECTS_PATH = `${GIT_PATH}/objects`

const isService = (text: string | null): text is GitService => text === 'git-upload-pack' || text === 'git-receive-pack'

/** Null for what git does not ask, or is not served: the older protocol, that reads files. */
export function parseGitAsk(method: string, url: string): GitAsk | null {
  const [path = '', query = ''] = url.split(/\?(.*)/s)
  const sealed = new RegExp(`^${OBJECTS_PATH}/([\\w-]+)$`).exec(path)?.[1]
  if (sealed !== undefined) return ['GET', 'PUT', 'POST'].includes(method) ? { kind: 'object', sealed } : null
  const [, scheme, host, rest] = new RegExp(`^${GIT_PATH}/(https?)/([^/]+)/(.+)$`).exec(path) ?? []
  const [, name, what] =
    /^(.+?)\/(info\/refs|git-upload-pack|git-receive-pack|info\/lfs\/objects\/batch|info\/lfs\/locks\/verify)$/.exec(
      rest ?? '',
    ) ?? []
  if (scheme === undefined || host === undefined || name === undefined || what === undefined) return null
  const place = gitPlace(`${scheme}://${host}/${name}`)
  if (place === null) return null
  if (what === 'info/refs') {
    const service = new URLSearchParams(query).get('service')
    if (method !== 'GET' || !isService(service)) return null
    return { kind: 'refs', place, service, writes: service === 'git-receive-pack' }
  }
  if (method !== 'POST') return null
  if (what === 'info/lfs/objects/batch') return { kind: 'batch', place, own: OBJECTS_PATH, writes: false }
  if (what === 'info/lfs/locks/verify') return { kind: 'locks', place, writes: true }
  return isService(what) ? { kind: 'rpc', place, service: what, writes: what === 'git-receive-pack' } : null
}

/** Whether it is git-lfs that asks, and not git. */
export const isLargeFileAsk = (url: string): boolean => /^[^?]*\/info\/lfs\//.test(url) || url.startsWith(OBJECTS_PATH)

/** The token, which git sends as a password; null where there is none. */
export function passwordIn({ authorization }: IncomingHttpHeaders): string | null {
  const encoded = /^Basic\s+([\w+/=-]+)$/i.exec(authorization ?? '')?.[1]
  if (encoded === undefined) return null
  const [, password = ''] = Buffer.from(encoded, 'base64').toString('utf8').split(/:(.*)/s)
  return password === '' ? null : password
}
