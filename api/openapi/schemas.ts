// JSON schemas of everything that the declarations name, each named one once.
import { z } from 'zod'
import { Problem } from '../../domain/problem.ts'
import type { RouteDeclaration } from './declaration.ts'

type JsonSchema = { [key: string]: unknown }
type Direction = 'input' | 'output'

export interface Schemas {
  components: Record<string, JsonSchema>
  /** As it is sent: a field with a default may be left out. */
  input(schema: z.ZodType): JsonSchema
  /** As it is answered. */
  output(schema: z.ZodType): JsonSchema
  query(schema: z.core.$ZodType): JsonSchema
}

/** A schema that is not the same in both directions has this after its name where it is sent. */
const INPUT_SUFFIX = 'Input'

export function schemasOf(routes: readonly RouteDeclaration[]): Schemas {
  const sent = routes.flatMap(({ body }) => (body ? [body.schema] : []))
  const asked = routes.flatMap(({ query }) => (query ? Object.values(query.shape) : []))
  const answered = routes.flatMap(({ answers }) =>
    Object.values(answers).flatMap(({ content }) => Object.values(content ?? {}).map(({ schema }) => schema)),
  )
  const input = convert(sent, 'input')
  const output = convert([Problem, ...answered], 'output')
  const query = convert(asked, 'output')
  const differing = differingNames(input.named, output.named)
  const inputName = (name: string) => (differing.has(name) ? `${name}${INPUT_SUFFIX}` : name)
  const asIs = (name: string) => name
  const inputSchemas = Object.entries(input.named).map(([name, schema]) => [
    inputName(name),
    renamed(schema, inputName),
  ])
  const others = Object.entries({ ...query.named, ...output.named }).map(([name, schema]) => [
    name,
    renamed(schema, asIs),
  ])
  const components: Record<string, JsonSchema> = Object.fromEntries([...inputSchemas, ...others])
  return {
    components: Object.fromEntries(Object.entries(components).sort(([a], [b]) => (a < b ? -1 : 1))),
    input: (schema) => renamed(found(input, schema), inputName),
    output: (schema) => renamed(found(output, schema), asIs),
    query: (schema) => renamed(found(query, schema), asIs),
  }
}

interface Converted {
  each: Map<z.core.$ZodType, JsonSchema>
  named: Record<string, JsonSchema>
}

/** All at once, so that zod tells what is named apart from what is not. */
function convert(schemas: readonly z.core.$ZodType[], io: Direction): Converted {
  const unique = [...new Set(schemas)]
  const all = z.object(Object.fromEntries(unique.map((schema, index) => [String(index), schema])))
  const { properties = {}, $defs = {} } = z.toJSONSchema(all, {
    io,
    unrepresentable: 'any',
    override: ({ jsonSchema }) => tidy(jsonSchema),
  })
  return {
    each: new Map(unique.map((schema, index) => [schema, properties[String(index)] as JsonSchema])),
    named: $defs as Record<string, JsonSchema>,
  }
}

/**
 * An answer may get further fields at any time, so that no client is told that
 * there are none; and the bounds of what a number can hold are no news.
 */
function tidy(schema: JsonSchema): void {
  if (schema.additionalProperties === false) delete schema.additionalProperties
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum
  delete schema.id
}

function found({ each }: Converted, schema: z.core.$ZodType): JsonSchema {
  const json = each.get(schema)
  if (json === undefined) throw new TypeError('a schema that is in no declaration')
  return json
}

/** Names that mean another thing when sent, by themselves or by what they hold. */
function differingNames(input: Record<string, JsonSchema>, output: Record<string, JsonSchema>): Set<string> {
  const differing = new Set(
    Object.keys(input).filter((name) => name in output && JSON.stringify(input[name]) !== JSON.stringify(output[name])),
  )
  for (let before = -1; before !== differing.size; ) {
    before = differing.size
    for (const [name, schema] of Object.entries(input)) {
      if (name in output && [...referencesIn(schema)].some((other) => differing.has(other))) differing.add(name)
    }
  }
  return differing
}

const REFERENCE = '#/$defs/'

function* referencesIn(value: unknown): Generator<string> {
  if (value === null || typeof value !== 'object') return
  for (const [key, inner] of Object.entries(value)) {
    if (key === '$ref' && typeof inner === 'string') yield inner.slice(REFERENCE.length)
    else yield* referencesIn(inner)
  }
}

function renamed<T>(value: T, nameOf: (name: string) => string): T {
  if (Array.isArray(value)) return value.map((inner) => renamed(inner, nameOf)) as T
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      key === '$ref' && typeof inner === 'string'
        ? `#/components/schemas/${nameOf(inner.slice(REFERENCE.length))}`
        : renamed(inner, nameOf),
    ]),
  ) as T
}
