// The lines of a `.env` file, as the usual tools read them.
import { parseEnv } from 'node:util'
import { usageError } from './exit.ts'

/** Names and values, by name. @throws {CliError} where there is none. */
export function readDotenv(text: string): [string, string][] {
  const values = Object.entries(parseEnv(text)).filter((entry): entry is [string, string] => entry[1] !== undefined)
  if (values.length === 0) throw usageError('There is no NAME=value in it.')
  return values
}

/** Where the line is that gives this name its value, counted from 1; null where it cannot be told. */
export function lineOf(text: string, name: string): number | null {
  const at = text.split('\n').findLastIndex((line) => {
    const equals = line.indexOf('=')
    return (
      equals >= 0 &&
      line
        .slice(0, equals)
        .replace(/^\s*export\s+/, '')
        .trim() === name
    )
  })
  return at < 0 ? null : at + 1
}
