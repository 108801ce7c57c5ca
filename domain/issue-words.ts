// What a value should have been, in words: for people, where a check of zod's fails.
import type { z } from 'zod'

export type Issue = z.core.$ZodIssue

/** What zod says by itself; any other message is a schema's own, and is better. */
const zodsOwn = /^(Invalid|Too big|Too small|Unrecognized|Expected)/

const types: Record<string, string> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  nan: 'a number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
}

const formats: Record<string, string> = {
  url: 'a URL with http:// or https://',
  datetime: 'a time like 2026-01-31T12:00:00Z',
  date: 'a day like 2026-01-31',
  uuid: 'a UUID',
  guid: 'a UUID',
}

/** What was expected, as it goes on after the name of the field: `must be a text`. `input` is there where zod was asked to report it. */
export function issueWords(issue: Issue): string {
  if (!zodsOwn.test(issue.message)) return issue.message
  switch (issue.code) {
    case 'invalid_type':
      return isAbsent(issue) ? 'is required' : `must be ${types[issue.expected] ?? issue.expected}`
    case 'invalid_value':
      return isAbsent(issue) ? 'is required' : `must be ${either(issue.values.map(String))}`
    case 'too_small':
      if (issue.origin === 'string' && Number(issue.minimum) === 1) return 'must not be empty'
      return `must be ${issue.inclusive === false ? 'more than' : 'at least'} ${amount(issue.origin, issue.minimum)}`
    case 'too_big':
      return `must be ${issue.inclusive === false ? 'less than' : 'at most'} ${amount(issue.origin, issue.maximum)}`
    case 'invalid_format':
      return issue.format === 'regex'
        ? `must fit the pattern ${issue.pattern}`
        : `must be ${formats[issue.format] ?? `a valid ${issue.format.replaceAll('_', ' ')}`}`
    case 'unrecognized_keys':
      return `has no field ${either(issue.keys)}`
    case 'invalid_key':
      return `is no name that is possible here: it ${issue.issues.map(issueWords).join(', ')}`
    case 'invalid_union':
      return [...new Set(issue.errors.flat().map(issueWords))].join(', or ') || 'does not fit'
    default:
      return 'does not fit'
  }
}

const isAbsent = (issue: Issue) => ('input' in issue ? issue.input === undefined : issue.message.endsWith('undefined'))

function amount(origin: string, number: number | bigint): string {
  if (origin === 'string') return `${number} characters long`
  return origin === 'array' || origin === 'set' ? `${number} entries long` : String(number)
}

export function either(words: readonly string[]): string {
  const last = words.at(-1) ?? ''
  return words.length < 2 ? last : `${words.slice(0, -1).join(', ')} or ${last}`
}
