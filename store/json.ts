// JSON as Postgres can keep it.
import { type RawBuilder, sql } from 'kysely'

/** What `JSON.stringify` writes for a NUL or half a surrogate pair, neither of which jsonb can hold. May also match harmless text. */
const suspicious = /\\u0000|\\ud[89a-f]/i

/** The value as JSON text that jsonb accepts: NUL and half surrogates become U+FFFD. */
export function storableJson(value: unknown): string {
  const text = JSON.stringify(value)
  return suspicious.test(text) ? JSON.stringify(storable(value)) : text
}

/** A string as a text column accepts it. */
export const storableText = (text: string): string => text.toWellFormed().replaceAll('\0', '\uFFFD')

function storable(value: unknown): unknown {
  if (typeof value === 'string') return storableText(value)
  if (Array.isArray(value)) return value.map(storable)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [storableText(key), storable(entry)]))
}

/** A value for a jsonb column. */
export const jsonb = <T>(value: T): RawBuilder<T> => sql<T>`${storableJson(value)}::jsonb`
