// How a route is told to those who call it. A declaration is data, beside the route's code: the OpenAPI document, its
// reading page, and the checks of every answer in the tests are made from it.
import type { z } from 'zod'

export interface RouteDeclaration {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** Below `/api/v1`, or from the root with `root`; parameters in braces, by the names that the router has: `/agent/runs/{runId}`. */
  path: string
  root?: true
  /** The operation's name for code generators, such as `startRun`. */
  id: string
  /** A few words, without a full stop. */
  summary: string
  /** Whole sentences; `code` in backquotes. */
  description?: string
  /** Asks for no key. */
  open?: true
  deprecated?: true
  /** What the path's parameters are, where the name alone does not say it. */
  params?: Readonly<Record<string, string>>
  /** Numbers, booleans and lists as they are meant, though they come as text. */
  query?: z.ZodObject
  /** Request headers beyond those that every route takes. */
  headers?: Readonly<Record<string, string>>
  body?: { schema: z.ZodType; example: unknown; optional?: true }
  /** Heeds `Idempotency-Key` (`once` in api/once.ts). */
  idempotent?: true
  /** By status. */
  answers: Readonly<Record<number, RouteAnswer>>
  /** By status, when it comes: beyond those that {@link errorsOf} knows by itself. */
  errors?: Readonly<Record<number, string>>
}

export interface RouteAnswer {
  description: string
  /** By media type; none: an answer without a body. */
  content?: Readonly<Record<string, { schema: z.ZodType; example: unknown }>>
  headers?: Readonly<Record<string, string>>
}

export interface Section {
  name: string
  description: string
  routes: readonly RouteDeclaration[]
}

/** An answer of JSON. */
export const json = (schema: z.ZodType, example: unknown, description = 'As asked.'): RouteAnswer => ({
  description,
  content: { 'application/json': { schema, example } },
})

/** 204. */
export const nothing = (description: string): RouteAnswer => ({ description })

/** When a route answers with which error: what it declares, and what follows from its shape. */
export function errorsOf(route: RouteDeclaration): Record<number, string> {
  const takes = route.method !== 'get' || route.query !== undefined || route.path.includes('{')
  return {
    ...(takes && { 400: 'A field does not fit; `detail` names it.' }),
    ...(!route.open && {
      401: 'There is no key, or it is not valid (any more).',
      403: 'The role or the scope of the key is not enough.',
      429: 'Too many unknown keys came from this address. `Retry-After` says when to try again.',
    }),
    ...(route.path.includes('{') && { 404: 'There is no such thing, or it is not for the caller to see.' }),
    // Of a body, though none be needed.
    ...(route.method !== 'get' && {
      413: 'The body is too large.',
      415: 'The body is not JSON by its `Content-Type`, or in an encoding that is not read.',
    }),
    ...(route.idempotent && { 422: 'The Idempotency-Key was used for a request with another body.' }),
    500: 'A defect of the server. `trace_id` finds it in the log.',
    503: 'The database or another part does not answer. Try again in a moment.',
    ...route.errors,
  }
}
