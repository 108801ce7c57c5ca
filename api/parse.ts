// What comes in is checked once, here at the door.
import type { Request, RequestHandler } from 'express'
import type { z } from 'zod'
import { parse } from '../domain/parse.ts'
import { HttpError, invalid, notFound } from './errors.ts'

export { parse }

/** A JSON body as the schema has it. */
export function parseBody<T>(schema: z.ZodType<T>, request: Request): T {
  if (request.body === undefined && hasBody(request)) {
    throw new HttpError(415, 'unsupported_media_type', 'Send the body as JSON, with "Content-Type: application/json".')
  }
  return parse(schema, request.body ?? {})
}

const hasBody = (request: Request) =>
  request.get('transfer-encoding') !== undefined || Number(request.get('content-length') ?? 0) > 0

/** The query's parameters. Both encodings of a space are understood, and `metadata[key]` keeps its name. */
export const queryOf = (request: Request): URLSearchParams => new URL(request.originalUrl, 'http://server').searchParams

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

export const isUuid = (value: unknown): value is string => typeof value === 'string' && uuid.test(value)

/** An id in the path that is no UUID names nothing that exists. */
export function pathId(request: Request, name: string, what: string): string {
  const id = request.params[name]
  if (typeof id !== 'string' || !uuid.test(id)) throw notFound(`There is no ${what} ${String(id)}.`)
  return id.toLowerCase()
}

export const runId = (request: Request): string => pathId(request, 'runId', 'run')

/** A whole number of at least `min` from text; anything else is refused by name. */
export function wholeNumber(text: string, name: string, min: number, max: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max)) throw invalid(`${name}: must be a whole number from ${min} to ${max}`)
  return value
}

/** For paths that exist, asked with a method that they do not have. */
export const onlyMethods =
  (...methods: string[]): RequestHandler =>
  (request, response) => {
    response.set('allow', methods.join(', '))
    throw new HttpError(
      405,
      'method_not_allowed',
      `${request.method} is not possible here, only ${methods.join(' and ')}.`,
    )
  }
