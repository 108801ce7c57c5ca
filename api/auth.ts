// Who may call.
import { createHash, timingSafeEqual } from 'node:crypto'
import type { RequestHandler } from 'express'
import { HttpError } from './errors.ts'

const hash = (key: string) => createHash('sha256').update(key).digest()

/** Lets a request pass that has this key as its bearer token. Hashes are compared, in constant time. */
export function requireKey(key: string): RequestHandler {
  const expected = hash(key)
  return (request, _response, next) => {
    const [, token] = /^Bearer +(\S+) *$/i.exec(request.get('authorization') ?? '') ?? []
    if (token === undefined)
      throw new HttpError(401, 'authentication_required', 'Send the key as "Authorization: Bearer <key>".')
    if (!timingSafeEqual(hash(token), expected))
      throw new HttpError(401, 'authentication_required', 'This key is not valid here.')
    next()
  }
}
