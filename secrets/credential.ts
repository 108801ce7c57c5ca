// The run's credential: where a call carries it, and whether it is good.
import type { IncomingHttpHeaders } from 'node:http'
import { hashOfSecret } from '../store/secret-hash.ts'

/** The run that a credential belongs to. */
export interface CredentialHolder {
  runId: string
  execution: number
}

/** Null: unknown, expired or revoked. Throws when it cannot be known now. */
export type Authorize = (token: string) => Promise<CredentialHolder | null>

/** Every place where a client library of some provider puts its key. None of them is forwarded. */
export const credentialHeaders: ReadonlySet<string> = new Set([
  'x-api-key',
  'authorization',
  'x-goog-api-key',
  'api-key',
  'proxy-authorization',
  'cookie',
])
export const credentialParameter = 'key'

export function readCredential(headers: IncomingHttpHeaders, query: string): string | null {
  const bearer = /^Bearer\s+(\S+)$/i.exec(headers.authorization ?? '')?.[1]
  const header = (name: string) => {
    const value = headers[name]
    return typeof value === 'string' && value !== '' ? value : null
  }
  return (
    header('x-api-key') ??
    bearer ??
    header('x-goog-api-key') ??
    (new URLSearchParams(query).get(credentialParameter) || null)
  )
}

// 5 s: a revoked credential is refused this soon, and an agent's burst of calls asks the database once.
const FRESH_MS = 5_000
// 60 s: calls of a run that was good a moment ago outlive a restart of the database.
const STALE_MS = 60_000
const LARGEST = 10_000

/** {@link Authorize}, with good answers kept for a few seconds, and used for a minute while the question cannot be asked. */
export function cachedAuthorize(authorize: Authorize, now: () => number = Date.now): Authorize {
  const known = new Map<string, { holder: CredentialHolder; at: number }>()
  const asking = new Map<string, Promise<CredentialHolder | null>>()

  async function ask(hash: string, token: string): Promise<CredentialHolder | null> {
    try {
      const holder = await authorize(token)
      known.delete(hash)
      if (holder) {
        for (const [oldest, entry] of known) {
          if (known.size < LARGEST && now() - entry.at < STALE_MS) break
          known.delete(oldest)
        }
        known.set(hash, { holder, at: now() })
      }
      return holder
    } catch (error) {
      const last = known.get(hash)
      if (last && now() - last.at < STALE_MS) return last.holder
      throw error
    }
  }

  return async (token) => {
    const hash = hashOfSecret(token)
    const entry = known.get(hash)
    if (entry && now() - entry.at < FRESH_MS) return entry.holder
    const current = asking.get(hash) ?? ask(hash, token).finally(() => asking.delete(hash))
    asking.set(hash, current)
    return current
  }
}
