// The query of a list of runs, and its cursors.
import { z } from 'zod'
import { type ArtifactType, artifactTypes } from '../../domain/artifact.ts'
import { METADATA_KEY_BYTES, METADATA_VALUE_BYTES } from '../../domain/limits.ts'
import { type RunState, runStates } from '../../domain/state.ts'
import { type PagePosition, type RunFilter, type RunOrder, runOrders } from '../../store/runs/run-list.ts'
import type { Caller } from '../access/caller.ts'
import { invalid } from '../errors.ts'
import { limitOf } from '../page.ts'
import { parse } from '../parse.ts'
import { readerOf, visibleTo } from './run-access.ts'

export interface ListQuery {
  filter: RunFilter
  order: RunOrder
  after: PagePosition | null
  limit: number
  /** It asks for something that no run of this server can have. */
  matchesNothing: boolean
}

/** Filters of the Oz API on things that runs of this server do not have: what is asked for cannot be found. */
const foreignFilters = ['automation_id', 'factory_uid']

/** Oz's coarser words for states. */
const taskStatuses: Record<string, readonly RunState[]> = {
  running: ['QUEUED', 'PENDING', 'CLAIMED', 'INPROGRESS'],
  failed: ['FAILED', 'ERROR'],
  blocked: ['BLOCKED'],
  cancelled: ['CANCELLED'],
  complete: ['SUCCEEDED'],
}

const DEFAULT_LIMIT = 20
const METADATA_FILTERS = 5

/** The list that a caller asks for, of what they may see. */
export function parseListQuery(query: URLSearchParams, caller: Caller): ListQuery {
  refuseNul(query)
  const order = {
    by: oneOf(query, 'sort_by', runOrders) ?? 'updated_at',
    direction: oneOf(query, 'sort_order', ['asc', 'desc'] as const) ?? 'desc',
  } as const
  const cursor = query.get('cursor')
  const filter: RunFilter = {
    visible: visibleTo(caller),
    sharedWith: isAsked(query, 'shared') ? readerOf(caller) : undefined,
    creator: given(query, 'creator'),
    executor: given(query, 'executor'),
    states: statesOf(query),
    sources: query.getAll('source'),
    name: given(query, 'name'),
    model: given(query, 'model_id'),
    createdAfter: time(query, 'created_after'),
    createdBefore: time(query, 'created_before'),
    updatedAfter: time(query, 'updated_after'),
    ancestor: uuid(query, 'ancestor_run_id'),
    text: given(query, 'q'),
    metadata: metadataOf(query),
    environment: environmentOf(query),
    schedule: given(query, 'schedule_id'),
    skills: ['skill', 'skill_spec'].flatMap((name) => given(query, name) ?? []),
    artifactTypes: artifactTypesOf(query),
  }
  return {
    filter,
    order,
    limit: limitOf(query, DEFAULT_LIMIT),
    after: cursor === null ? null : positionOf(cursor, order),
    matchesNothing: asksForForeign(query) || !Object.entries(filter.metadata).every(fits),
  }
}

function statesOf(query: URLSearchParams): RunState[] {
  const states = query.getAll('state').map((state) => {
    if (!(runStates as readonly string[]).includes(state))
      throw invalid(`state: must be one of ${runStates.join(', ')}`)
    return state as RunState
  })
  const statuses = query.getAll('task_status').flatMap((status) => {
    const meant = taskStatuses[status]
    if (!meant) throw invalid(`task_status: must be one of ${Object.keys(taskStatuses).join(', ')}`)
    return meant
  })
  return [...states, ...statuses]
}

function artifactTypesOf(query: URLSearchParams): ArtifactType[] {
  return query.getAll('artifact_type').map((type) => {
    const known = artifactTypes.find((candidate) => candidate === type)
    if (known === undefined) throw invalid(`artifact_type: must be one of ${artifactTypes.join(', ')}`)
    return known
  })
}

function asksForForeign(query: URLSearchParams): boolean {
  if (oneOf(query, 'execution_location', ['LOCAL', 'REMOTE']) === 'LOCAL') return true
  return foreignFilters.some((name) => given(query, name) !== undefined)
}

/** Null: runs without one, for which Oz has a word. */
function environmentOf(query: URLSearchParams): string | null | undefined {
  const value = given(query, 'environment_id')
  return value === 'empty-environment' ? null : value
}

function metadataOf(query: URLSearchParams): Record<string, string> {
  const pairs = [...query].flatMap(([name, value]) => {
    const [, key] = /^metadata\[([^\]]+)\]$/.exec(name) ?? []
    return key === undefined ? [] : [[key, value] as const]
  })
  if (pairs.length > METADATA_FILTERS) throw invalid(`metadata: at most ${METADATA_FILTERS} filters`)
  return Object.fromEntries(pairs)
}

/** No run has a longer one; beyond what Postgres takes as one word, it would refuse the search. */
const fits = ([key, value]: readonly [string, string]) =>
  key.length <= METADATA_KEY_BYTES && value.length <= METADATA_VALUE_BYTES

/** No text in the database has one, so nothing can be found by it. */
function refuseNul(query: URLSearchParams): void {
  for (const [name, value] of query) if (value.includes('\0')) throw invalid(`${name}: contains a NUL character`)
}

const isAsked = (query: URLSearchParams, name: string): boolean =>
  oneOf(query, name, ['true', 'false'] as const) === 'true'

const given = (query: URLSearchParams, name: string) => query.get(name) || undefined

export function oneOf<const T extends string>(
  query: URLSearchParams,
  name: string,
  allowed: readonly T[],
): T | undefined {
  const value = given(query, name)
  if (value === undefined) return undefined
  const found = allowed.find((candidate) => candidate === value)
  if (found === undefined) throw invalid(`${name}: must be one of ${allowed.join(', ')}`)
  return found
}

/** A time, or a date alone. */
export function time(query: URLSearchParams, name: string): string | undefined {
  const value = given(query, name)
  if (value === undefined) return undefined
  const valid = z.union([z.iso.datetime({ offset: true, local: true }), z.iso.date()]).safeParse(value).success
  if (!valid) throw invalid(`${name}: must be a time like 2026-01-31T12:00:00Z`)
  // Without an offset it is UTC, wherever the server stands.
  return new Date(
    /T.*([Zz]|[+-]\d\d:?\d\d)$/.test(value) ? value : `${value}${value.includes('T') ? 'Z' : ''}`,
  ).toISOString()
}

function uuid(query: URLSearchParams, name: string): string | undefined {
  const value = given(query, name)
  if (value !== undefined && !z.guid().safeParse(value).success) throw invalid(`${name}: must be the id of a run`)
  return value
}

const Cursor = z.tuple([z.enum(runOrders), z.enum(['asc', 'desc']), z.string().nullable(), z.guid()])

export const cursorOf = (order: RunOrder, { value, id }: PagePosition): string =>
  Buffer.from(JSON.stringify([order.by, order.direction, value, id])).toString('base64url')

/** A cursor is good only for the order it was made in. */
function positionOf(cursor: string, order: RunOrder): PagePosition {
  let decoded: unknown = null
  try {
    decoded = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
  } catch {
    // Not JSON: the check below refuses it.
  }
  const parsed = Cursor.safeParse(decoded)
  if (!parsed.success) throw invalid('cursor: is not one of this list')
  const [by, direction, value, id] = parsed.data
  if (by !== order.by || direction !== order.direction)
    throw invalid('cursor: was made with another sort_by or sort_order')
  if (value === null && by !== 'agent') throw invalid('cursor: is not one of this list')
  if (by.endsWith('_at')) parse(z.iso.datetime({ error: 'cursor: is not one of this list' }), value)
  return { value, id }
}
