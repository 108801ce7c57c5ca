// The filter of a list, as searches that each have an index which serves them.
import { type RawBuilder, type SqlBool, sql } from 'kysely'
import { isTerminal, type RunState, terminalStates } from '../../domain/state.ts'
import { worksBy } from '../skills/run-skills.ts'
import { messageWaits } from './mail.ts'
import { isSharedWith, isVisible } from './run-access.ts'
import type { RunFilter, RunOrder } from './run-list.ts'
import { searchCondition, type Term } from './run-search.ts'

export type Condition = RawBuilder<SqlBool>

/** One of the searches whose findings make up a list. No run is found by two of them. */
export interface Branch {
  conditions: readonly Condition[]
  /** On `run_search`, where that is needed. */
  search: Condition | null
}

/** None where nothing can be found. `terms`: of the filter's text. */
export function branchesOf(filter: RunFilter, order: RunOrder, terms: readonly Term[]): Branch[] {
  const common = conditionsOf(filter, order)
  return stateBranches(filter.states).flatMap((state) =>
    timeBranches(filter, order).flatMap((time) =>
      textBranches(filter, terms).map(({ conditions, search }) => ({
        conditions: [...common, ...state, ...time, ...conditions],
        search,
      })),
    ),
  )
}

function conditionsOf(filter: RunFilter, order: RunOrder): Condition[] {
  const { visible, sharedWith } = filter
  const all: Condition[] = [sql<SqlBool>`${sharedWith === undefined ? isVisible(visible) : isSharedWith(sharedWith)}`]
  if (filter.sources.length > 0) all.push(sql`runs.source = any(${filter.sources}::text[])`)
  if (filter.creator !== undefined) all.push(sql`runs.created_by = ${uidOf(filter.creator)}`)
  if (filter.executor !== undefined) all.push(sql`runs.executor = ${uidOf(filter.executor)}`)
  if (filter.name !== undefined) all.push(sql`runs.name = ${filter.name}`)
  if (filter.model !== undefined) all.push(sql`runs.model = ${filter.model}`)
  if (filter.createdAfter !== undefined) {
    all.push(sql`runs.created_at > ${filter.createdAfter}::timestamptz`)
    // Follows from it, and is what the index is by.
    if (order.by === 'updated_at') all.push(sql`runs.updated_at > ${filter.createdAfter}::timestamptz`)
  }
  if (filter.createdBefore !== undefined) all.push(sql`runs.created_at < ${filter.createdBefore}::timestamptz`)
  if (filter.updatedAfter !== undefined) all.push(sql`runs.updated_at > ${filter.updatedAfter}::timestamptz`)
  if (filter.ancestor !== undefined) all.push(isBelow(filter.ancestor))
  if (filter.environment !== undefined)
    all.push(
      filter.environment === null ? sql`runs.environment_id is null` : sql`runs.environment_id = ${filter.environment}`,
    )
  if (filter.artifactTypes !== undefined && filter.artifactTypes.length > 0)
    all.push(sql`exists (
      select from artifacts where artifacts.run_id = runs.id and artifacts.type = any(${filter.artifactTypes}::text[])
    )`)
  const team = sharedWith === undefined ? visible.team : null
  for (const name of filter.skills ?? []) all.push(worksBy(team, name))
  if (filter.schedule !== undefined)
    all.push(sql`runs.schedule is not null and runs.schedule ->> 'schedule_id' = ${filter.schedule}`)
  return all
}

/** People are known by their addresses as well. */
const uidOf = (given: string) =>
  given.includes('@') ? sql`(select uid from people where email = ${given.toLowerCase()})` : sql`${given}`

/** A run that has ended and for which a message waits is read as QUEUED. */
function stateBranches(states: readonly RunState[]): Condition[][] {
  if (states.length === 0) return [[]]
  return [...new Set(states)].flatMap((state): Condition[][] => {
    const isWritten: Condition = sql`runs.state = ${state}`
    if (isTerminal(state)) return [[isWritten, sql`not ${messageWaits}`]]
    return state === 'QUEUED' ? [[isWritten], [hasEnded, goesOn]] : [[isWritten]]
  })
}

const hasEnded: Condition = sql`runs.state = any(${[...terminalStates]}::text[])`

/** From the few messages that wait, and not from the many runs. */
const goesOn: Condition = sql`runs.id = any(array(
  select mail.run_id from mail where mail.kind = 'prompt' and mail.accepted_at is null
))`

const LATE_MS = 24 * 3_600_000

/** As the indexes `runs_late` and `runs_late_created` have it. */
const isLate: Condition = sql`runs.updated_at - runs.created_at > interval '24 hours'`

/**
 * A bound on one time says little about the other, by which the list is
 * ordered: the index would be read through to where the runs begin that fit.
 * But few runs are updated long after they were created, and those have
 * indexes of their own. All others fit soon after the bound.
 */
function timeBranches({ createdBefore, updatedAfter }: RunFilter, order: RunOrder): Condition[][] {
  if (order.by === 'updated_at' && createdBefore !== undefined) {
    const bound = shifted(createdBefore, LATE_MS)
    return [[sql`runs.updated_at <= ${bound}::timestamptz`], [sql`runs.updated_at > ${bound}::timestamptz`, isLate]]
  }
  if (order.by === 'created_at' && updatedAfter !== undefined) {
    const bound = shifted(updatedAfter, -LATE_MS)
    return [[sql`runs.created_at >= ${bound}::timestamptz`], [sql`runs.created_at < ${bound}::timestamptz`, isLate]]
  }
  return [[]]
}

/** Years of other than four digits are written otherwise, which Postgres does not read. */
const FIRST_MS = Date.parse('0001-01-01T00:00:00.000Z')
const LAST_MS = Date.parse('9999-12-31T23:59:59.999Z')

const shifted = (time: string, milliseconds: number) =>
  new Date(Math.min(Math.max(Date.parse(time) + milliseconds, FIRST_MS), LAST_MS)).toISOString()

/** A text is looked for as words; and, where it looks like one, as a run's id. */
function textBranches({ visible, sharedWith, text, metadata }: RunFilter, words: readonly Term[]): Branch[] {
  // What is shared may be of any team.
  const team = sharedWith === undefined ? visible.team : null
  const search = searchCondition(team, metadata, words)
  if (text === undefined) return [{ conditions: [], search }]
  const ids = idsIn(text)
  if (ids === null) return words.length === 0 ? [] : [{ conditions: [], search }]
  const isThere: Condition = sql`runs.id between ${ids.first}::uuid and ${ids.last}::uuid`
  const byId = { conditions: [isThere], search: searchCondition(team, metadata, []) }
  const byWords = { conditions: [sql<SqlBool>`not ${isThere}`], search }
  return words.length === 0 ? [byId] : [byId, byWords]
}

const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/i
const SHORTEST_PREFIX = 4

/** The ids that are meant: of a whole one, alone or in a URL, that one; of the beginning of one, all that begin so. */
export function idsIn(text: string): { first: string; last: string } | null {
  const whole = uuid.exec(text)?.[0]
  if (whole !== undefined) return { first: whole, last: whole }
  const prefix = text.trim()
  if (prefix.length < SHORTEST_PREFIX || !/^[0-9a-f-]+$/i.test(prefix)) return null
  const filled = (digit: string) =>
    prefix + '00000000-0000-0000-0000-000000000000'.slice(prefix.length).replaceAll('0', digit)
  return uuid.test(filled('0')) ? { first: filled('0'), last: filled('f') } : null
}

const isBelow = (ancestor: string): Condition => sql`runs.id = any(array(
  with recursive below as (
    select id from runs as child where child.parent_run_id = ${ancestor}::uuid
    union
    select child.id from runs as child join below on child.parent_run_id = below.id
  )
  select id from below
))`
