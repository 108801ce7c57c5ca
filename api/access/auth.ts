// Who may call.
import { hash, timingSafeEqual } from 'node:crypto'
import type { Request, RequestHandler } from 'express'
import { HttpError } from '../errors.ts'
import type { Attempts } from './attempts.ts'

const digest = (key: string) => hash('sha256', key, 'buffer')

/** Hashes are compared, in constant time. */
export const isSameKey = (token: string, key: string): boolean => timingSafeEqual(digest(token), digest(key))

/** @throws {HttpError} 401 when the request has none. */
export function bearerToken(request: Request): string {
  const [, token] = /^Bearer +(\S+) *$/i.exec(request.get('authorization') ?? '') ?? []
  if (token === undefined)
    throw new HttpError(401, 'authentication_required', 'Send the key as "Authorization: Bearer <key>".')
  return token
}

/** Lets a request pass that has one of these keys as its bearer token. */
export function requireKey(attempts: Attempts, ...keys: readonly string[]): RequestHandler {
  return (request, _response, next) => {
    const token = bearerToken(request)
    if (keys.some((key) => isSameKey(token, key))) return next()
    attempts.fail(request)
    throw new HttpError(401, 'authentication_required', 'This key is not valid here.')
  }
}
