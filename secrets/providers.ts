// What the model providers do differently: where the key goes, and how an error looks.
import { type ProviderName, providerNames } from '../domain/harness.ts'

/** Where a provider's calls go. A null key stands for an endpoint that asks for none. */
export interface ProviderTarget {
  baseUrl: string
  apiKey: string | null
}

export type GatewayErrorKind = 'unauthorized' | 'unavailable' | 'unreachable'

export const errorStatus = {
  unauthorized: 401,
  unavailable: 503,
  unreachable: 502,
} as const satisfies Record<GatewayErrorKind, number>

interface Provider {
  keyHeader(apiKey: string): [name: string, value: string]
  /** An error body as the provider's own client libraries read it. */
  errorBody(kind: GatewayErrorKind, message: string): unknown
}

export const providers: Readonly<Record<ProviderName, Provider>> = {
  anthropic: {
    keyHeader: (apiKey) => ['x-api-key', apiKey],
    errorBody: (kind, message) => ({
      type: 'error',
      error: { type: kind === 'unauthorized' ? 'authentication_error' : 'api_error', message },
    }),
  },
  openai: {
    keyHeader: (apiKey) => ['authorization', `Bearer ${apiKey}`],
    errorBody: (kind, message) => {
      const code = {
        unauthorized: 'invalid_api_key',
        unavailable: 'service_unavailable',
        unreachable: 'bad_gateway',
      } as const
      const type = kind === 'unauthorized' ? 'invalid_request_error' : 'server_error'
      return { error: { message, type, param: null, code: code[kind] } }
    },
  },
  gemini: {
    keyHeader: (apiKey) => ['x-goog-api-key', apiKey],
    errorBody: (kind, message) => {
      const status = {
        unauthorized: 'UNAUTHENTICATED',
        unavailable: 'UNAVAILABLE',
        unreachable: 'UNAVAILABLE',
      } as const
      return { error: { code: errorStatus[kind], message, status: status[kind] } }
    },
  },
}

/** A call as the gateway's URL names it. */
export interface ProviderCall {
  provider: ProviderName
  /** What is appended to the provider's base URL: empty or beginning with a slash, the query not included. */
  path: string
  /** As it was sent, without its question mark. */
  query: string
}

/**
 * Reads `/anthropic/v1/messages?beta=true`. Null when the URL is not one of the
 * gateway's: another first part, an absolute URL, or a path that could leave
 * the provider's base (`..`, also in its encoded spellings).
 */
export function parseProviderCall(url: string): ProviderCall | null {
  const match = /^\/([a-z]+)(\/[^?#\s]*)?(?:\?([^#\s]*))?$/.exec(url)
  const provider = providerNames.find((name) => name === match?.[1])
  if (!match || !provider) return null
  const path = match[2] ?? ''
  const steps = decoded(path)?.split(/[/\\]/)
  if (!steps || steps.includes('..') || steps.includes('.')) return null
  return { provider, path, query: match[3] ?? '' }
}

function decoded(path: string): string | null {
  try {
    return decodeURIComponent(path)
  } catch {
    return null // Not a well-formed path, so nobody knows where it would lead.
  }
}

/** A query without the parameter of that name; the rest stays as it was sent, byte for byte. */
export function withoutParameter(query: string, name: string): string {
  const parts = query.split('&').filter((part) => !new URLSearchParams(part).has(name))
  return parts.join('&')
}
