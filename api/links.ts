// Links that need no key: signed for one thing, until a time.
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Request } from 'express'
import type { Config } from '../config.ts'

/** Below it, every path is served to whoever has its signature. */
export const LINKS = '/links'

export interface SignedLink {
  /** Path and query, from the root of the server. */
  path: string
  expiresAt: Date
}

/** What `signLink` signs: the path below {@link LINKS}, such as `/contents/…`. */
export function signLink(key: string, path: string, seconds: number): SignedLink {
  // Whole seconds, and the link is good until the very time that it names.
  const expires = Math.floor(Date.now() / 1000) + seconds
  const query = new URLSearchParams({ expires: String(expires), signature: signature(key, path, expires) })
  return { path: `${LINKS}${path}?${query}`, expiresAt: new Date(expires * 1000) }
}

/** Whether a path below {@link LINKS} was signed here for what this query says, and is still good. */
export function isSigned(key: string, path: string, query: URLSearchParams): boolean {
  const text = query.get('expires') ?? ''
  if (!/^\d{1,12}$/.test(text)) return false
  const given = Buffer.from(query.get('signature') ?? '', 'base64url')
  const right = Buffer.from(signature(key, path, Number(text)), 'base64url')
  if (given.length !== right.length || !timingSafeEqual(given, right)) return false
  return Number(text) * 1000 > Date.now()
}

const signature = (key: string, path: string, expires: number): string =>
  createHmac('sha256', key).update(`ambient link\n${path}\n${expires}`).digest('base64url')

/** A path of this server by the address that is made known, else as whoever makes this request reaches it. */
export const absolute = (config: Pick<Config, 'AMBIENT_PUBLIC_URL'>, request: Request, path: string): string =>
  `${config.AMBIENT_PUBLIC_URL ?? `${request.protocol}://${request.get('host') ?? 'localhost'}`}${path}`
