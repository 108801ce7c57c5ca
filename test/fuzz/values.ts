// Values for a JSON schema of the document: those that fit it, and those that do not quite.
import fc, { type Arbitrary, type JsonValue } from 'fast-check'
import type { Schema } from '../../api/openapi/document.ts'

type Schemas = Readonly<Record<string, Schema>>

/** How deep objects are filled; below, optional fields are left out. */
const DEPTH = 4

/** Texts that have broken servers. */
const hostile = fc.constantFrom(
  '',
  ' ',
  '\0',
  '\ud800',
  '../../etc/passwd',
  "'; drop table runs; --",
  '%00',
  '\u202e\ufeff',
  'null',
  '0',
  '-1',
  '9'.repeat(40),
  'NaN',
  '__proto__',
  'constructor',
  'https://user:token@example.org/x?y#z',
  '9999-12-31T23:59:59.999Z',
  '0000-01-01T00:00:00Z',
  'é'.repeat(300),
  'x'.repeat(70_000),
)

export const strangeText: Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: hostile },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
  { weight: 1, arbitrary: fc.webUrl() },
)

const strangeNumber = fc.oneof(
  fc.constantFrom(-1, 0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 53, -(2 ** 53), 1e308, 0.1, -0),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
)

export const anything: Arbitrary<JsonValue> = fc.oneof(
  fc.constantFrom<JsonValue>(null, true, false, [], {}, { __proto__: null }),
  strangeNumber,
  strangeText,
  fc.jsonValue({ maxDepth: 3 }),
)

/** What fits a schema, most of the time; sometimes a part of it is anything. */
export function valuesFor(schema: Schema, schemas: Schemas, strangeness: number): Arbitrary<JsonValue> {
  const inner = (part: unknown, depth: number): Arbitrary<JsonValue> => {
    const fitting = fitOf((part ?? {}) as Schema, depth)
    if (strangeness === 0) return fitting
    return fc.oneof({ weight: 100 - strangeness, arbitrary: fitting }, { weight: strangeness, arbitrary: anything })
  }

  function fitOf(schema: Schema, depth: number): Arbitrary<JsonValue> {
    if (typeof schema.$ref === 'string') return inner(schemas[schema.$ref.split('/').at(-1) ?? ''], depth)
    if (Array.isArray(schema.enum)) return fc.constantFrom(...(schema.enum as JsonValue[]))
    if ('const' in schema) return fc.constant(schema.const as JsonValue)
    const choices = (schema.anyOf ?? schema.oneOf) as Schema[] | undefined
    if (choices) return fc.oneof(...choices.map((choice) => inner(choice, depth)))
    const types = [schema.type].flat().filter((type) => typeof type === 'string')
    if (types.length === 0) return anything
    return fc.oneof(...types.map((type) => ofType(type, schema, depth)))
  }

  function ofType(type: string, schema: Schema, depth: number): Arbitrary<JsonValue> {
    switch (type) {
      case 'null':
        return fc.constant(null)
      case 'boolean':
        return fc.boolean()
      case 'integer':
        return fc.integer({ min: numberIn(schema, 'minimum', -1_000), max: numberIn(schema, 'maximum', 100_000) })
      case 'number':
        return fc.double({
          min: numberIn(schema, 'minimum', -1_000),
          max: numberIn(schema, 'maximum', 1_000),
          noNaN: true,
        })
      case 'string':
        return textOf(schema)
      case 'array': {
        const maxLength = depth <= 0 ? 0 : Math.min(numberIn(schema, 'maxItems', 3), 3)
        const minLength = numberIn(schema, 'minItems', 0)
        return fc.array(inner(schema.items, depth - 1), { minLength, maxLength: Math.max(minLength, maxLength) })
      }
      default:
        return objectOf(schema, depth)
    }
  }

  function objectOf(schema: Schema, depth: number): Arbitrary<JsonValue> {
    const required = (schema.required ?? []) as string[]
    const fields = Object.entries((schema.properties ?? {}) as Record<string, Schema>)
      .filter(([name]) => depth > 0 || required.includes(name))
      .map(([name, field]) => [name, inner(field, depth - 1)] as const)
    const own = fc.record(Object.fromEntries(fields), {
      requiredKeys: required.filter((name) => name in Object.fromEntries(fields)),
    })
    const { additionalProperties: more, propertyNames: names } = schema
    if (typeof more !== 'object' || more === null || Object.keys(more).length === 0 || depth <= 0)
      return own as Arbitrary<JsonValue>
    const others = fc.dictionary(
      names ? textOf(names as Schema) : fc.string({ minLength: 1, maxLength: 20 }),
      inner(more, depth - 1),
      {
        maxKeys: 3,
      },
    )
    return fc.tuple(own, others).map(([own, others]) => ({ ...others, ...own }) as JsonValue)
  }

  return inner(schema, DEPTH)
}

function textOf(schema: Schema): Arbitrary<string> {
  switch (schema.format) {
    case 'uuid':
      return fc.uuid()
    case 'date-time':
      return fc
        .date({ noInvalidDate: true, min: new Date('1990-01-01'), max: new Date('2100-01-01') })
        .map((date) => date.toISOString())
    case 'email':
      return fc.emailAddress()
    case 'uri':
      return fc.webUrl()
  }
  const minLength = numberIn(schema, 'minLength', 0)
  const maxLength = Math.min(numberIn(schema, 'maxLength', 60), Math.max(60, minLength))
  if (typeof schema.pattern === 'string') {
    const pattern = new RegExp(schema.pattern, 'u')
    try {
      return fc.stringMatching(pattern, { size: '-1' }).filter((value) => value.length <= Math.max(maxLength, 60))
    } catch {
      // A pattern beyond what can be turned around: texts that may not fit it.
    }
  }
  return fc.string({ unit: 'grapheme', minLength, maxLength })
}

const numberIn = (schema: Schema, key: string, otherwise: number): number =>
  typeof schema[key] === 'number' ? schema[key] : otherwise
