// A stored thing by the word that a person gave.
import { typed } from '../config.ts'
import { nearest } from '../domain/nearest.ts'
import { usageError } from './exit.ts'
import { clean } from './render/text.ts'

/**
 * The one with this uid or name. Nothing is picked where several have the name.
 * @param kind what it is, and the command that lists them: `{ one: 'MCP server', all: 'mcp-servers' }`.
 * @throws {CliError}
 */
export function findNamed<T>(
  all: readonly T[],
  given: string,
  kind: { one: string; all: string },
  known: (item: T) => { uid: string; name: string },
): T {
  const byUid = all.find((item) => known(item).uid === given)
  const byName = all.filter((item) => known(item).name === given)
  const found = byUid ?? byName[0]
  if (found !== undefined && (byUid !== undefined || byName.length === 1)) return found
  if (found !== undefined)
    throw usageError(
      `Several ${kind.all} are called ${clean(given)}: ${byName.map((item) => known(item).uid).join(', ')}.`,
      'Give the uid of one.',
    )
  const meant = nearest(
    given,
    all.map((item) => known(item).name),
  )
  throw usageError(
    `There is no ${kind.one} ${clean(given)}.`,
    meant === null ? `What there is: ${typed} ${kind.all}` : `Did you mean ${clean(meant)}?`,
  )
}
