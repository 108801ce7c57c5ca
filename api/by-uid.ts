// What routes do that speak of one thing by its uid.
import type { Request } from 'express'
import { Uid } from '../domain/account.ts'
import { notFound } from './errors.ts'

/** `kind`: as people are told of it, such as `MCP server`. */
export function byUid(kind: string) {
  const missing = (uid: string) => notFound(`There is no ${kind} ${uid}.`)
  return {
    /** @throws {HttpError} 404 for what cannot be a uid: there is no such thing. */
    uidOf(request: Request, parameter = 'uid'): string {
      const uid = Uid.safeParse(request.params[parameter])
      if (!uid.success) throw missing(String(request.params[parameter]))
      return uid.data
    },
    /** @throws {HttpError} 404 */
    orMissing<T>(uid: string, found: T | null): T {
      if (found === null) throw missing(uid)
      return found
    },
  }
}
