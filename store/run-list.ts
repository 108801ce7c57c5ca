// Lists of runs: filters, order and pages.
import { type SqlBool, sql } from 'kysely'
import type { RunItem } from '../domain/run.ts'
import { type RunState, terminalStates } from '../domain/state.ts'
import type { Queryable } from './database.ts'
import { jsonb } from './json.ts'
import { messageWaits } from './mail.ts'
import { selectRuns, serveRuns } from './runs.ts'

export const sortColumns = ['updated_at', 'created_at', 'title', 'agent'] as const

export interface RunFilter {
  states: readonly RunState[]
  sources: readonly string[]
  name?: string | undefined
  model?: string | undefined
  createdAfter?: string | undefined
  createdBefore?: string | undefined
  updatedAfter?: string | undefined
  /** Every run below this one. */
  ancestor?: string | undefined
  /** Part of the title or the prompt, or the beginning of the id. */
  text?: string | undefined
  metadata: Readonly<Record<string, string>>
  /** Null: only runs that named none. */
  environment?: string | null | undefined
}

export interface RunOrder {
  by: (typeof sortColumns)[number]
  direction: 'asc' | 'desc'
}

export interface RunPage {
  runs: RunItem[]
  /** Where the next page begins; null on the last one. */
  next: PagePosition | null
}

/** The last row of a page: its value in the sort column, and its id. */
export interface PagePosition {
  value: string
  id: string
}

export async function listRuns(
  db: Queryable,
  query: { filter: RunFilter; order: RunOrder; after: PagePosition | null; limit: number },
): Promise<RunPage> {
  const { filter, order, after, limit } = query
  const column = sql.ref(`runs.${order.by}`)
  let select = selectRuns(db).where(sql<SqlBool>`${sql.join(conditions(filter), sql` and `)}`)
  if (after) {
    const type = order.by.endsWith('_at') ? sql`timestamptz` : sql`text`
    const beyond = order.direction === 'asc' ? sql`>` : sql`<`
    select = select.where(sql<SqlBool>`(${column}, runs.id) ${beyond} (${after.value}::${type}, ${after.id}::uuid)`)
  }
  const rows = await select
    .orderBy(column, order.direction)
    .orderBy('runs.id', order.direction)
    .limit(limit + 1)
    .execute()
  const page = rows.slice(0, limit)
  const last = page.at(-1)
  const value = last?.[order.by]
  return {
    runs: await serveRuns(db, page),
    next:
      last && value !== undefined && rows.length > limit
        ? { value: value instanceof Date ? value.toISOString() : value, id: last.id }
        : null,
  }
}

function conditions(filter: RunFilter) {
  const all = [sql`true`]
  if (filter.states.length > 0) all.push(sql`${stateAsRead} = any(${filter.states}::text[])`)
  if (filter.sources.length > 0) all.push(sql`runs.source = any(${filter.sources}::text[])`)
  if (filter.name !== undefined) all.push(sql`runs.name = ${filter.name}`)
  if (filter.model !== undefined) all.push(sql`runs.model = ${filter.model}`)
  if (filter.createdAfter !== undefined) all.push(sql`runs.created_at > ${filter.createdAfter}::timestamptz`)
  if (filter.createdBefore !== undefined) all.push(sql`runs.created_at < ${filter.createdBefore}::timestamptz`)
  if (filter.updatedAfter !== undefined) all.push(sql`runs.updated_at > ${filter.updatedAfter}::timestamptz`)
  if (filter.ancestor !== undefined) all.push(isBelow(filter.ancestor))
  if (filter.environment !== undefined)
    all.push(
      filter.environment === null ? sql`runs.environment_id is null` : sql`runs.environment_id = ${filter.environment}`,
    )
  if (filter.text !== undefined) all.push(matchesText(filter.text))
  if (Object.keys(filter.metadata).length > 0) all.push(sql`runs.metadata @> ${jsonb(filter.metadata)}`)
  return all
}

const stateAsRead = sql`case
  when runs.state = any(${[...terminalStates]}::text[]) and ${messageWaits} then 'QUEUED'
  else runs.state
end`

function matchesText(text: string) {
  const pattern = `%${escapeLike(text)}%`
  const words = sql`(runs.title ilike ${pattern} or runs.prompt ilike ${pattern}`
  // The beginning of an id is how people name a run on the command line.
  return /^[0-9a-f-]{4,36}$/i.test(text)
    ? sql`${words} or runs.id::text like ${`${text.toLowerCase()}%`})`
    : sql`${words})`
}

const escapeLike = (text: string) => text.replaceAll(/[\\%_]/g, '\\$&')

const isBelow = (ancestor: string) => sql`runs.id in (
  with recursive below as (
    select id from runs as child where child.parent_run_id = ${ancestor}::uuid
    union
    select child.id from runs as child join below on child.parent_run_id = below.id
  )
  select id from below
)`
