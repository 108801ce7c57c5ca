// The OpenAPI document, from the declarations.
import type { z } from 'zod'
import { type ErrorCode, Problem, problemOf } from '../../domain/problem.ts'
import { errorsOf, type RouteDeclaration, type Section } from './declaration.ts'
import { type Schemas, schemasOf } from './schemas.ts'

export interface Document {
  openapi: string
  info: { title: string; version: string; description: string; license: { name: string; identifier: string } }
  servers: { url: string }[]
  tags: { name: string; description: string }[]
  security: Record<string, string[]>[]
  paths: Record<string, PathItem>
  components: {
    schemas: Record<string, Schema>
    securitySchemes: Record<string, object>
    parameters: Record<string, Parameter>
  }
}

export type Schema = { [key: string]: unknown }

export type PathItem = { servers?: { url: string }[] } & { [method in RouteDeclaration['method']]?: Operation }

export interface Operation {
  operationId: string
  summary: string
  description?: string
  tags: string[]
  deprecated?: true
  security?: Record<string, string[]>[]
  parameters: (Parameter | { $ref: string })[]
  requestBody?: { required: boolean; content: Record<string, MediaType> }
  responses: Record<string, Answer>
}

export interface Parameter {
  name: string
  in: 'path' | 'query' | 'header'
  required: boolean
  description?: string
  schema: Schema
  style?: string
  explode?: boolean
}

export interface MediaType {
  schema: Schema
  example: unknown
}

export interface Answer {
  description: string
  headers?: Record<string, { description: string; schema: Schema }>
  content?: Record<string, MediaType>
}

const DESCRIPTION = `The API of Ambient, in the manner of Warp's Oz, so that its official SDKs work unchanged.

Times are RFC 3339. Fields may be added to answers: leave aside those that you do not know. An optional field that is null is as if it were absent.

Every error is \`application/problem+json\`. The header \`x-should-retry\` says whether the same request may do better; official clients heed it.

A POST with an \`Idempotency-Key\` is done once, however often it arrives, for a day. A POST that an official client sends again, because the answer was lost, is recognised without one.`

export const BASE = '/api/v1'

export function openApiDocument(sections: readonly Section[], version: string): Document {
  const routes = sections.flatMap(({ name, routes }) => routes.map((route) => ({ route, tag: name })))
  const schemas = schemasOf(routes.map(({ route }) => route))
  const paths: Record<string, PathItem> = {}
  for (const { route, tag } of routes) {
    const item = paths[route.path] ?? (route.root ? { servers: [{ url: '/' }] } : {})
    paths[route.path] = { ...item, [route.method]: operationOf(route, tag, schemas) }
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Ambient',
      version,
      description: DESCRIPTION,
      license: { name: 'Apache License 2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: BASE }],
    tags: sections.map(({ name, description }) => ({ name, description })),
    security: [{ key: [] }],
    paths,
    components: {
      schemas: schemas.components,
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'An API key: `wk-…`.' } },
      parameters: {
        Team: {
          name: 'X-Warp-Team-Uid',
          in: 'header',
          required: false,
          description: 'The team that the request is about, for whoever is in several.',
          schema: { type: 'string' },
        },
        IdempotencyKey: {
          name: 'Idempotency-Key',
          in: 'header',
          required: false,
          description: 'The same request sent again under the same key is done once.',
          schema: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[\\x21-\\x7e]+$' },
        },
      },
    },
  }
}

function operationOf(route: RouteDeclaration, tag: string, schemas: Schemas): Operation {
  const { body, path, query, headers = {}, params = {} } = route
  return {
    operationId: route.id,
    summary: route.summary,
    ...(route.description !== undefined && { description: route.description }),
    tags: [tag],
    ...(route.deprecated && { deprecated: true }),
    ...(route.open && { security: [] }),
    parameters: [
      ...[...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
        name,
        in: 'path' as const,
        required: true,
        ...(params[name] !== undefined && { description: params[name] }),
        schema: { type: 'string' },
      })),
      ...(query ? queryParameters(query, schemas) : []),
      ...Object.entries(headers).map(([name, description]) => ({
        name,
        in: 'header' as const,
        required: false,
        description,
        schema: { type: 'string' },
      })),
      ...(route.open || route.root ? [] : [{ $ref: '#/components/parameters/Team' }]),
      ...(route.idempotent ? [{ $ref: '#/components/parameters/IdempotencyKey' }] : []),
    ],
    ...(body && {
      requestBody: {
        required: !body.optional,
        content: { 'application/json': { schema: schemas.input(body.schema), example: body.example } },
      },
    }),
    responses: { ...answersOf(route, schemas), ...problemsOf(route, schemas) },
  }
}

function queryParameters(query: z.ZodObject, schemas: Schemas): Parameter[] {
  return Object.entries(query.shape).map(([name, field]) => {
    const { description, ...schema } = schemas.query(field)
    return {
      name,
      in: 'query',
      required: !field.safeParse(undefined).success,
      ...(typeof description === 'string' && { description }),
      schema,
      // metadata[key]=value
      ...(schema.type === 'object' && { style: 'deepObject', explode: true }),
    }
  })
}

const answersOf = (route: RouteDeclaration, schemas: Schemas): Record<string, Answer> =>
  Object.fromEntries(
    Object.entries(route.answers).map(([status, { description, content, headers }]) => [
      status,
      {
        description,
        ...(headers && { headers: headersOf(headers) }),
        ...(content && {
          content: Object.fromEntries(
            Object.entries(content).map(([type, { schema, example }]) => [
              type,
              { schema: schemas.output(schema), example },
            ]),
          ),
        }),
      },
    ]),
  )

const headersOf = (headers: Readonly<Record<string, string>>) =>
  Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
  )

/** The code that an error of this status has; of those that have two, the one that is not said by the idempotency key. */
const codeOf: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid_request',
  401: 'authentication_required',
  403: 'not_authorized',
  404: 'resource_not_found',
  405: 'method_not_allowed',
  409: 'conflict',
  413: 'payload_too_large',
  415: 'unsupported_media_type',
  422: 'operation_not_supported',
  429: 'resource_unavailable',
  500: 'internal_error',
  503: 'resource_unavailable',
}

function problemsOf(route: RouteDeclaration, schemas: Schemas): Record<string, Answer> {
  const instance = `${route.root ? '' : BASE}${route.path}`
  return Object.fromEntries(
    Object.entries(errorsOf(route))
      .filter(([status]) => !(status in route.answers))
      .map(([status, detail]) => {
        const code = codeOf[Number(status)] ?? 'invalid_request'
        const example = problemOf({ status: Number(status), code, detail }, { instance, traceId: TRACE_EXAMPLE })
        const headers = headersOf({ 'x-should-retry': 'Whether to send the same request again: `true` or `false`.' })
        return [
          status,
          {
            description: detail,
            headers,
            content: { 'application/problem+json': { schema: schemas.output(Problem), example } },
          },
        ]
      }),
  )
}

const TRACE_EXAMPLE = '0198c0de-7a11-7000-8000-0000000000ff'
