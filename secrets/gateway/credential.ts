// The run's credential: where a call carries it, and whether it is good.
import type { IncomingHttpHeaders } from 'node:http'
import type { ProviderName } from '../../domain/harness.ts'
import type { CredentialBinding } from '../../domain/host-api.ts'
import { hashOfSecret } from '../../store/secret-hash.ts'

/** The run that a credential belongs to. */
export interface CredentialHolder {
  runId: string
  execution: number
  team: string
  /** From where it may be used; absent or null: from anywhere. */
  binding?: CredentialBinding | null
  /** Names of the secrets that are its keys for a provider, in the place of the server's. */
  keys?: Readonly<Partial<Record<ProviderName, string>>>
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
export function cachedAuthorize<Holder extends object>(
  authorize: (token: string) => Promise<Holder | null>,
  now: () => number = Date.now,
): (token: string) => Promise<Holder | null> {
  const known = new Map<string, { holder: Holder; at: number }>()
  const asking = new Map<string, Promise<Holder | null>>()

  async function ask(hash: string, token: string): Promise<Holder | null> {
    try {
      const holder = await authorize(token)
      known.delete(hash)
      // Where it belongs is told in a moment.
      if (holder && isPlaced(holder)) {
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

function isPlaced(holder: { binding?: CredentialBinding | null }): boolean {
  return holder.binding?.kind !== 'nowhere' && holder.binding?.kind !== 'first'
}
