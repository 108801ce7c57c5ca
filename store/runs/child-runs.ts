// Runs that other runs have begun.
import { type Selectable, sql } from 'kysely'
import { defaultPolicy } from '../../domain/harness.ts'
import type { RunState } from '../../domain/state.ts'
import type { Queryable, Tx } from '../database.ts'
import type { RunsTable } from '../schema.ts'

/** How far a run is below the first one: 0 for that itself. */
export async function depthOf(db: Queryable, runId: string): Promise<number> {
  const { rows } = await sql<{ depth: number }>`
    with recursive above as (
      select parent_run_id, 0 as depth from runs where id = ${runId}
      union all
      select runs.parent_run_id, above.depth + 1 from runs join above on runs.id = above.parent_run_id
    )
    select max(depth)::integer as depth from above
  `.execute(db)
  return rows[0]?.depth ?? 0
}

/** The caller holds a lock on the run. */
export async function countChildren(db: Queryable, runId: string): Promise<number> {
  const row = await db
    .selectFrom('runs')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('parent_run_id', '=', runId)
    .executeTakeFirstOrThrow()
  return row.count
}

const takenOver = [
  'id',
  'team',
  'scope',
  'created_by_type',
  'created_by',
  'executor_type',
  'executor',
  'agent',
  'model',
  'reasoning_level',
  'policy',
  'pool',
  'priority',
  'config',
  'environment',
  'environment_id',
] as const

export type ParentRun = Pick<Selectable<RunsTable>, (typeof takenOver)[number]>

/**
 * What a run that an agent begins takes over from the run that it works for: its
 * policy as it is on its host, which the child may not be on.
 */
export async function parentRun(tx: Tx, runId: string): Promise<ParentRun> {
  const { kind, ...run } = await tx
    .selectFrom('runs')
    .leftJoin('hosts', 'hosts.id', 'runs.host_id')
    .select(takenOver.map((column) => `runs.${column}` as const))
    .select('hosts.kind')
    .where('runs.id', '=', runId)
    .executeTakeFirstOrThrow()
  return { ...run, policy: run.policy ?? (kind && defaultPolicy(kind)) }
}

export interface ChildRun {
  id: string
  title: string
  state: RunState
  message: string | null
}

/**
 * The runs that were begun below a run, the oldest first; or that one of them.
 * What is personal is told only below what is as personal: who sees the one may see the other.
 */
export async function childRuns(db: Queryable, parentId: string, only?: string): Promise<ChildRun[]> {
  let select = db
    .selectFrom('runs')
    .select(['id', 'title', 'state', sql<string | null>`coalesce(failure ->> 'message', message)`.as('message')])
    .where('parent_run_id', '=', parentId)
    .where((eb) =>
      eb.or([
        eb('scope', '=', 'Team'),
        eb(
          eb.refTuple('scope', 'created_by_type', 'created_by'),
          'in',
          eb
            .selectFrom('runs as parent')
            .select(['parent.scope', 'parent.created_by_type', 'parent.created_by'])
            .where('parent.id', '=', parentId)
            .$asTuple('scope', 'created_by_type', 'created_by'),
        ),
      ]),
    )
  if (only !== undefined) select = select.where('id', '=', only)
  return await select.orderBy('created_at').execute()
}

/** What a run's agent has said since its latest message: the end of it, where it is longer. */
export async function lastWords(db: Queryable, runId: string, maxChars: number): Promise<string> {
  const { rows } = await sql<{ text: string | null }>`
    select right(string_agg(data ->> 'text', '' order by sequence), ${maxChars}::integer) as text
    from events
    where run_id = ${runId} and kind in ('message', 'output') and sequence > coalesce(
      (select max(sequence) from events where run_id = ${runId} and kind = 'prompt'), 0)
  `.execute(db)
  return rows[0]?.text ?? ''
}
