// Every error the API answers with, as problem+json (RFC 7807).
import type { ErrorRequestHandler, Response } from 'express'
import type { Logger } from 'pino'
import { errorCodes, HttpError, invalid, notFound, problemOf } from '../domain/problem.ts'
import { VaultError } from '../domain/vault/vault.ts'
import { FencedError, RunNotFoundError } from '../store/locking.ts'
import { ClaimRefusedError } from '../store/runs/claims.ts'

export { HttpError, invalid, notFound } from '../domain/problem.ts'

/** The last handler: whatever was thrown becomes one answer. What is our own fault is logged, and not told. */
export function renderErrors(log: Logger): ErrorRequestHandler {
  return (error: unknown, request, response, _next) => {
    const problem = toHttpError(error)
    if (problem.status >= 500)
      log.error(
        { err: error, method: request.method, path: withoutTokens(request.path), trace: traceOf(response) },
        'request failed',
      )
    // Part of the answer is out already (a stream): only breaking the connection tells the reader.
    if (response.headersSent) return void response.destroy()
    sendProblem(response, problem, request.originalUrl)
  }
}

function sendProblem(response: Response, { status, code, message, retryAfter }: HttpError, url: string): void {
  if (retryAfter !== null) response.set('retry-after', String(retryAfter))
  if (status === 401) response.set('www-authenticate', 'Bearer')
  // Official clients send 409 and 5xx again unless they are told not to.
  response.set('x-should-retry', String(errorCodes[code].retryable))
  response.status(status).type('application/problem+json')
  const where = { instance: withoutTokens(url.split('?')[0] ?? url), traceId: traceOf(response) }
  response.send(JSON.stringify(problemOf({ status, code, detail: message }, where)))
}

/** A path as it may be written down: what opens a shared run is left out. */
const withoutTokens = (path: string): string => path.replace(/^\/r\/[^/]+/, '/r/***')

const traceOf = (response: Response) => response.get('x-request-id') ?? ''

function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error
  if (error instanceof RunNotFoundError) return notFound(error.message)
  if (error instanceof FencedError) return new HttpError(409, 'conflict', error.message)
  if (error instanceof VaultError) return new HttpError(503, 'resource_unavailable', error.message)
  if (error instanceof ClaimRefusedError) return new HttpError(403, 'not_authorized', error.message)
  if (error instanceof RangeError && error.message.includes('call stack'))
    return invalid('The body is nested too deeply.')
  const fromBody = bodyError(error)
  if (fromBody) return fromBody
  if (isUnfitForDatabase(error)) return invalid(`A value does not fit: ${error.message}`)
  if (isDatabaseAway(error)) {
    return new HttpError(503, 'resource_unavailable', 'The database does not answer. Try again in a moment.')
  }
  return new HttpError(500, 'internal_error', 'Something went wrong on the server. The trace_id finds it in the log.')
}

/** Errors of Express and its body parser name themselves by `type` or `status`. */
function bodyError(error: unknown): HttpError | null {
  if (!(error instanceof Error)) return null
  const { type, status, limit } = error as Error & { type?: unknown; status?: unknown; limit?: unknown }
  switch (type) {
    case 'entity.too.large':
      return new HttpError(413, 'payload_too_large', `The body is larger than ${String(limit)} bytes.`)
    case 'entity.parse.failed':
      return invalid(`The body is not JSON: ${error.message}`)
    case 'charset.unsupported':
    case 'encoding.unsupported':
      return new HttpError(415, 'unsupported_media_type', error.message)
  }
  return typeof status === 'number' && status >= 400 && status < 500 ? invalid(error.message) : null
}

/** SQLSTATE class 22: a value that Postgres has no room for, such as a NUL in a text or the year 0. */
const isUnfitForDatabase = (error: unknown): error is Error =>
  error instanceof Error && 'code' in error && /^22\w{3}$/.test(String(error.code))

/** SQLSTATE classes 08 and 57P0x: broken connection, shutting down; 53: out of connections or space. */
const awaySqlStates = /^(08|53|57P0)/
const awayCodes = new Set(['ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT', 'EPIPE', 'ENOTFOUND', 'ENOENT'])

function isDatabaseAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code } = error as Error & { code?: unknown }
  if (typeof code === 'string' && (awaySqlStates.test(code) || awayCodes.has(code))) return true
  return /Connection terminated|timeout exceeded when trying to connect/.test(error.message)
}
