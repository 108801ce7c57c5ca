// Requests to every operation of the document, from what it says and from what it does not.
import fc, { type Arbitrary, type JsonValue } from 'fast-check'
import { BASE, type Document, type Operation, type Parameter, type Schema } from '../../api/openapi/document.ts'
import { anything, strangeText, valuesFor } from './values.ts'

export interface FuzzRequest {
  method: string
  /** Path parameters are still in braces. */
  path: string
  /** For each of them: one of those that are known by then, or a text. */
  parameters: Record<string, Choice>
  query: [string, string][]
  headers: Record<string, string>
  body: string | null
}

/** `known`: which of the ids that answers have named so far. */
export type Choice = { known: number } | { text: string }

/** In hundredths: how often a part of a body is something else than it should be. */
const STRANGENESS = 4

export function requestsOf(document: Document, key: string): Arbitrary<FuzzRequest> {
  const operations = Object.entries(document.paths).flatMap(([path, { servers, ...methods }]) =>
    servers
      ? []
      : Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  )
  return fc.oneof(...operations.map((one) => requestOf(one, document, key)))
}

interface Placed {
  method: string
  path: string
  operation: Operation
}

function requestOf({ method, path, operation }: Placed, document: Document, key: string): Arbitrary<FuzzRequest> {
  const parameters = operation.parameters.map((parameter) =>
    '$ref' in parameter ? document.components.parameters[parameter.$ref.split('/').at(-1) ?? ''] : parameter,
  ) as Parameter[]
  const { schemas } = document.components
  return fc.record({
    method: fc.constant(method),
    path: fc.constant(`${BASE}${path}`),
    parameters: fc.record(
      Object.fromEntries(parameters.filter((one) => one.in === 'path').map(({ name }) => [name, choice])),
    ),
    query: queryOf(
      parameters.filter((one) => one.in === 'query'),
      schemas,
    ),
    headers: headersOf(
      parameters.filter((one) => one.in === 'header').map(({ name }) => name),
      key,
      operation.requestBody !== undefined,
    ),
    body: operation.requestBody
      ? bodyOf(operation.requestBody.content['application/json'], schemas)
      : fc.constant(null),
  })
}

/** Node itself refuses a request whose head is of 16 KiB and more. */
const lineText = strangeText.map((text) => text.slice(0, 1_000).toWellFormed())

const choice: Arbitrary<Choice> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ known: fc.nat(1_000) }) },
  { weight: 1, arbitrary: fc.record({ text: fc.uuid() }) },
  { weight: 1, arbitrary: fc.record({ text: lineText.filter((text) => text !== '') }) },
)

function queryOf(parameters: readonly Parameter[], schemas: Record<string, Schema>): Arbitrary<[string, string][]> {
  const pairs = parameters.map(({ name, schema, style }) => {
    const texts = valuesFor(schema, schemas, 5).map((value) => {
      if (style === 'deepObject' && value !== null && typeof value === 'object')
        return Object.entries(value).map(([key, inner]): [string, string] => [`${name}[${key}]`, textFor(inner)])
      return [value].flat().map((one): [string, string] => [name, textFor(one)])
    })
    const strange = lineText.map((text): [string, string][] => [[name, text]])
    return fc.oneof(
      { weight: 6, arbitrary: fc.constant<[string, string][]>([]) },
      { weight: 4, arbitrary: texts },
      { weight: 1, arbitrary: strange },
    )
  })
  return fc.tuple(...pairs).map((all) => all.flat())
}

const textFor = (value: JsonValue | undefined): string =>
  (typeof value === 'string' ? value : JSON.stringify(value ?? null)).slice(0, 1_000).toWellFormed()

function headersOf(names: readonly string[], key: string, hasBody: boolean): Arbitrary<Record<string, string>> {
  const text = fc
    .string({ unit: fc.constantFrom(...'abcXYZ019-_.,;=/ "'), minLength: 1, maxLength: 60 })
    .map((value) => value.trim())
  const seldom = (value: Arbitrary<string>) =>
    fc.oneof({ weight: 40, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: value })
  return fc
    .record({
      authorization: fc.oneof(
        { weight: 60, arbitrary: fc.constant(`Bearer ${key}`) },
        { weight: 1, arbitrary: text.map((value) => `Bearer ${value}`) },
        { weight: 1, arbitrary: fc.constant(undefined) },
      ),
      'content-type': fc.oneof(
        { weight: 60, arbitrary: fc.constant(hasBody ? 'application/json' : undefined) },
        { weight: 1, arbitrary: fc.constantFrom('application/json; charset=latin1', 'text/plain', 'application/json') },
      ),
      'x-stainless-retry-count': seldom(fc.constantFrom('0', '1', '2', 'x')),
      ...Object.fromEntries(names.map((name) => [name.toLowerCase(), seldom(text)])),
    })
    .map((headers) =>
      Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined && value !== '')),
    ) as Arbitrary<Record<string, string>>
}

function bodyOf(
  content: { schema: Schema; example: unknown } | undefined,
  schemas: Record<string, Schema>,
): Arbitrary<string | null> {
  const { schema, example } = content ?? { schema: {}, example: {} }
  return fc.oneof(
    { weight: 3, arbitrary: fc.constant(JSON.stringify(example)) },
    { weight: 8, arbitrary: valuesFor(schema, schemas, 0).map((value) => JSON.stringify(value)) },
    { weight: 8, arbitrary: valuesFor(schema, schemas, STRANGENESS).map((value) => JSON.stringify(value)) },
    { weight: 1, arbitrary: anything.map((value) => JSON.stringify(value)) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(null, '', '{', '[1', '"', '{"a":1}{', `${'['.repeat(5_000)}${']'.repeat(5_000)}`),
    },
  )
}
