// An error as it is answered: problem+json (RFC 7807), with the fields that Oz has beside it.
import { z } from 'zod'

/** Error codes, their titles, and whether the same request sent again can be expected to do better. */
export const errorCodes = {
  invalid_request: { title: 'Invalid request', retryable: false },
  authentication_required: { title: 'Authentication required', retryable: false },
  not_authorized: { title: 'Not authorized', retryable: false },
  insufficient_credits: { title: 'Insufficient credits', retryable: false },
  budget_exceeded: { title: 'Budget exceeded', retryable: false },
  resource_not_found: { title: 'Not found', retryable: false },
  method_not_allowed: { title: 'Method not allowed', retryable: false },
  conflict: { title: 'Conflict', retryable: false },
  operation_not_supported: { title: 'Operation not supported', retryable: false },
  payload_too_large: { title: 'Payload too large', retryable: false },
  unsupported_media_type: { title: 'Unsupported media type', retryable: false },
  idempotency_key_reused: { title: 'Idempotency key reused', retryable: false },
  resource_unavailable: { title: 'Temporarily unavailable', retryable: true },
  internal_error: { title: 'Internal error', retryable: true },
} as const

export type ErrorCode = keyof typeof errorCodes

/** What is asked for is not done, and why. Rendered in one place where it was asked for over HTTP. */
export class HttpError extends Error {
  override readonly name = 'HttpError'
  readonly status: number
  readonly code: ErrorCode
  /** In so many seconds the same request may do better. */
  readonly retryAfter: number | null

  constructor(
    status: number,
    code: ErrorCode,
    detail: string,
    { retryAfter, ...options }: ErrorOptions & { retryAfter?: number } = {},
  ) {
    super(detail, options)
    this.status = status
    this.code = code
    this.retryAfter = retryAfter ?? null
  }
}

export const invalid = (detail: string) => new HttpError(400, 'invalid_request', detail)
export const notFound = (what: string) => new HttpError(404, 'resource_not_found', what)

export const Problem = z
  .object({
    type: z.string().describe('`/errors/` and the code, with dashes.'),
    title: z.string().describe('The same for every error of this code.'),
    status: z.number().int().min(400).max(599),
    detail: z.string().describe('What was wrong with this request, for people.'),
    instance: z.string().describe('The path of the request.'),
    error: z.string().describe('Title and detail, for older clients.'),
    retryable: z
      .boolean()
      .describe('Whether the same request may do better. The header `x-should-retry` says the same.'),
    trace_id: z.string().describe('Finds the request in the log of the server; also in the header `x-request-id`.'),
  })
  .meta({ id: 'Problem' })

export type Problem = z.infer<typeof Problem>

export function problemOf(
  { status, code, detail }: { status: number; code: ErrorCode; detail: string },
  { instance, traceId }: { instance: string; traceId: string },
): Problem {
  const { title, retryable } = errorCodes[code]
  return {
    type: `/errors/${code.replaceAll('_', '-')}`,
    title,
    status,
    detail,
    instance,
    error: `${title} (${detail})`,
    retryable,
    trace_id: traceId,
  }
}
