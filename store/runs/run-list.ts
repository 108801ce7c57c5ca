// Lists of runs: filters, order and pages.
import { type RawBuilder, sql } from 'kysely'
import type { ArtifactType } from '../../domain/artifact.ts'
import type { RunItem } from '../../domain/run.ts'
import { wantedIn } from '../../domain/search.ts'
import type { RunState } from '../../domain/state.ts'
import type { Queryable } from '../database.ts'
import type { Reader, Visibility } from './run-access.ts'
import { type Branch, branchesOf, type Condition, idsIn } from './run-branches.ts'
import { respelled, type Term, termsFor } from './run-search.ts'
import { selectRuns, serveRuns } from './runs.ts'

/** What lists may be sorted by, with the column that has it. Oz calls the skill that a run works by its agent. */
const columns = { updated_at: 'updated_at', created_at: 'created_at', title: 'title', agent: 'skill' } as const
type Order = keyof typeof columns
export const runOrders = Object.keys(columns) as Order[]

export interface RunFilter {
  /** Whose list it is: of their team. */
  visible: Visibility
  /** Instead: what is shared with them, of whatever team. */
  sharedWith?: Reader | undefined
  /** Uids, or addresses of people. */
  creator?: string | undefined
  executor?: string | undefined
  states: readonly RunState[]
  sources: readonly string[]
  name?: string | undefined
  model?: string | undefined
  createdAfter?: string | undefined
  createdBefore?: string | undefined
  updatedAfter?: string | undefined
  /** Every run below this one. */
  ancestor?: string | undefined
  /** Words of the title or the prompt, a URL with a run's id, or the beginning of one. */
  text?: string | undefined
  metadata: Readonly<Record<string, string>>
  /** Null: only runs that named none. */
  environment?: string | null | undefined
  schedule?: string | undefined
  /** Names of skills; runs that work by all of them. */
  skills?: readonly string[] | undefined
  /** Runs that have handed over one of these. */
  artifactTypes?: readonly ArtifactType[] | undefined
}

export interface RunOrder {
  by: Order
  direction: 'asc' | 'desc'
}

export interface RunPage {
  runs: RunItem[]
  /** Where the next page begins; null on the last one. */
  next: PagePosition | null
}

/** The last row of a page: its value in the sort column, and its id. */
export interface PagePosition {
  /** Null: it has none, as runs without a skill. They come last in either direction. */
  value: string | null
  id: string
}

export interface RunListQuery {
  filter: RunFilter
  order: RunOrder
  after: PagePosition | null
  limit: number
}

/** Where nothing has the words that are looked for, they may have been spelled wrongly. */
export async function listRuns(db: Queryable, query: RunListQuery): Promise<RunPage> {
  const { filter, after } = query
  if (filter.text === undefined) return await readPage(db, query)
  const terms = await termsFor(db, wantedIn(filter.text))
  const page = await readPage(db, query, terms)
  if (page.runs.length > 0 || after !== null || idsIn(filter.text) !== null) return page
  const other = await respelled(db, terms)
  return other === null ? page : await readPage(db, query, other)
}

async function readPage(db: Queryable, query: RunListQuery, terms: readonly Term[] = []): Promise<RunPage> {
  const { order, limit } = query
  const page = pageOf(query, terms)
  if (page === null) return { runs: [], next: null }
  // All columns are asked for, so it is planned for the values that it is asked with: see store/prepared.ts.
  const rows = await selectRuns(db)
    .innerJoin(sql<{ id: string }>`(${page})`.as('page'), 'page.id', 'runs.id')
    .orderBy(`runs.${columns[order.by]}`, (by) => by[order.direction]().nullsLast())
    .orderBy('runs.id', order.direction)
    .execute()
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  const value = last?.[columns[order.by]]
  return {
    runs: await serveRuns(db, shown),
    next:
      last && value !== undefined && rows.length > limit
        ? { value: value instanceof Date ? value.toISOString() : value, id: last.id }
        : null,
  }
}

/** Of the page and one more, the ids and what they are ordered by. Null where there can be none. */
export function pageOf(
  { filter, order, after, limit }: RunListQuery,
  terms: readonly Term[],
): RawBuilder<unknown> | null {
  const column = columnOf(order)
  const direction = sql.raw(order.direction)
  const count = limit + 1
  const branches = branchesOf(filter, order, terms)
    .flatMap((branch) => onPage(branch, order, after))
    .map(
      ({ conditions, search }) => sql`
      select runs.id, ${column} as value
      from runs
      ${search === null ? sql`` : sql`join run_search on run_search.run_id = runs.id and ${search}`}
      where ${sql.join(conditions, sql` and `)}
      order by ${column} ${direction}, runs.id ${direction}
      limit ${count}
    `,
    )
  const [only] = branches
  if (only === undefined || branches.length === 1) return only ?? null
  return sql`
    select * from (${sql.join(
      branches.map((branch) => sql`(${branch})`),
      sql` union all `,
    )}) as branches
    order by value ${direction} nulls last, id ${direction}
    limit ${count}
  `
}

const columnOf = ({ by }: RunOrder) => sql.ref(`runs.${columns[by]}`)

/**
 * The branch from the page's beginning on. Where runs may lack what they are
 * ordered by, those that do are a branch of their own: an index has them at one
 * end, which in one of the directions is the wrong one.
 */
function onPage({ conditions, search }: Branch, order: RunOrder, after: PagePosition | null): Branch[] {
  const from = (...more: Condition[]): Branch => ({ conditions: [...conditions, ...more], search })
  if (order.by !== 'agent') return [after === null ? from() : from(beyond(order, after))]
  const column = columnOf(order)
  const [present, missing]: [Condition, Condition] = [sql`${column} is not null`, sql`${column} is null`]
  if (after === null) return [from(present), from(missing)]
  if (after.value === null) return [from(missing, beyondId(order, after))]
  return [from(present, beyond(order, after)), from(missing)]
}

const comparison = ({ direction }: RunOrder) => (direction === 'asc' ? sql`>` : sql`<`)

function beyond(order: RunOrder, { value, id }: PagePosition): Condition {
  const type = order.by.endsWith('_at') ? sql`timestamptz` : sql`text`
  return sql`(${columnOf(order)}, runs.id) ${comparison(order)} (${value}::${type}, ${id}::uuid)`
}

const beyondId = (order: RunOrder, { id }: PagePosition): Condition => sql`runs.id ${comparison(order)} ${id}::uuid`
