// Statements that are parsed and planned once on each connection, and not each time: two fifths of what a run costs Postgres.
import type { Pool } from 'pg'

/** Statements come in as many forms as lists in them have lengths; they must not fill the memory of the connections. */
const MOST = 500

/**
 * Once its columns change, a prepared statement fails for as long as its
 * connection lives, and a migration may add some to a table meanwhile. So what
 * asks for all columns is not prepared.
 */
const ALL_COLUMNS = /(?:select|returning) \*|"\.\*/

type Query = (text: unknown, ...more: unknown[]) => unknown

/** Has every statement with parameters prepared, on all connections that the pool will open. */
export function prepareStatements(pool: Pool): void {
  const names = new Map<string, string>()
  const nameOf = (text: string): string | undefined => {
    const known = names.get(text)
    if (known !== undefined || names.size >= MOST || ALL_COLUMNS.test(text)) return known
    const name = `ambient_${names.size + 1}`
    names.set(text, name)
    return name
  }

  pool.on('connect', (client) => {
    const query = client.query.bind(client) as Query
    const prepared: Query = (text, values, ...more) => {
      const hasParameters = typeof text === 'string' && Array.isArray(values) && values.length > 0
      const name = hasParameters ? nameOf(text) : undefined
      return name === undefined ? query(text, values, ...more) : query({ name, text, values }, ...more)
    }
    client.query = prepared as typeof client.query
  })
}
