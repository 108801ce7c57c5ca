// What the model providers do differently: where the key goes, and how an error looks.
import { type ProviderName, providerNames } from '../../domain/harness.ts'

/** Where a call goes. A null key stands for an endpoint that asks for none. */
export interface ProviderTarget {
  baseUrl: string
  apiKey: string | null
  /** The uid of the team's own endpoint; absent: the server's. */
  endpoint?: string
  /** Added to every call. */
  headers?: Readonly<Record<string, string>>
  /** A scripted model answers, which costs nothing. */
  isDemo?: boolean
  /** A team has named it: it is to be a host of the internet, or one that the settings allow. */
  isOutside?: boolean
}

export type GatewayErrorKind =
  | 'unauthorized'
  | 'outside'
  | 'invalid'
  | 'too_large'
  | 'not_allowed'
  | 'budget'
  | 'unavailable'
  | 'unreachable'

/** The words by which a host knows this refusal among an agent's errors: see agents/acp/failures.ts. */
export const NOT_ALLOWED = 'ambient_not_allowed'

/** Agents repeat a call that got 502 or 503, and none of the others. */
export const errorStatus = {
  unauthorized: 401,
  outside: 403,
  invalid: 400,
  too_large: 413,
  // 403 would make agents ask for another key.
  not_allowed: 400,
  budget: 402,
  unavailable: 503,
  unreachable: 502,
} as const satisfies Record<GatewayErrorKind, number>

interface Provider {
  keyHeaders(apiKey: string): [name: string, value: string][]
  /** An error body as the provider's own client libraries read it. */
  errorBody(kind: GatewayErrorKind, message: string): unknown
}

/** Claude's tokens of a subscription, as `claude setup-token` makes them. */
const OAUTH_START = 'sk-ant-oat'

const anthropicErrors = {
  unauthorized: 'authentication_error',
  outside: 'permission_error',
  invalid: 'invalid_request_error',
  too_large: 'request_too_large',
  not_allowed: 'invalid_request_error',
  budget: 'billing_error',
  unavailable: 'api_error',
  unreachable: 'api_error',
} as const satisfies Record<GatewayErrorKind, string>

const openaiErrors = {
  unauthorized: 'invalid_api_key',
  outside: 'invalid_api_key',
  invalid: 'invalid_request',
  too_large: 'request_too_large',
  not_allowed: 'model_not_allowed',
  budget: 'insufficient_quota',
  unavailable: 'service_unavailable',
  unreachable: 'bad_gateway',
} as const satisfies Record<GatewayErrorKind, string>

const geminiErrors = {
  unauthorized: 'UNAUTHENTICATED',
  outside: 'PERMISSION_DENIED',
  invalid: 'INVALID_ARGUMENT',
  too_large: 'INVALID_ARGUMENT',
  not_allowed: 'INVALID_ARGUMENT',
  budget: 'FAILED_PRECONDITION',
  unavailable: 'UNAVAILABLE',
  unreachable: 'UNAVAILABLE',
} as const satisfies Record<GatewayErrorKind, string>

export const providers: Readonly<Record<ProviderName, Provider>> = {
  anthropic: {
    keyHeaders: (apiKey) =>
      apiKey.startsWith(OAUTH_START)
        ? [
            ['authorization', `Bearer ${apiKey}`],
            ['anthropic-beta', 'oauth-2025-04-20'],
          ]
        : [['x-api-key', apiKey]],
    errorBody: (kind, message) => ({ type: 'error', error: { type: anthropicErrors[kind], message } }),
  },
  openai: {
    keyHeaders: (apiKey) => [['authorization', `Bearer ${apiKey}`]],
    errorBody: (kind, message) => {
      const type = errorStatus[kind] < 500 ? 'invalid_request_error' : 'server_error'
      return { error: { message, type, param: null, code: openaiErrors[kind] } }
    },
  },
  gemini: {
    keyHeaders: (apiKey) => [['x-goog-api-key', apiKey]],
    errorBody: (kind, message) => ({ error: { code: errorStatus[kind], message, status: geminiErrors[kind] } }),
  },
}

/** A call as the gateway's URL names it. */
export interface ProviderCall {
  provider: ProviderName
  /** What is appended to the provider's base URL: empty or beginning with a slash, the query not included. */
  path: string
  /** {@link path}, its escapes resolved, as the provider reads it. */
  plainPath: string
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
  const plainPath = decoded(path)
  const steps = plainPath?.split(/[/\\]/)
  if (plainPath === null || !steps || steps.includes('..') || steps.includes('.')) return null
  return { provider, path, plainPath, query: match[3] ?? '' }
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
