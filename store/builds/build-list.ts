// Builds as they are served.
import { type Selectable, sql } from 'kysely'
import type { BuildItem, BuildState } from '../../domain/environment.ts'
import type { Queryable } from '../database.ts'
import { serveFailure } from '../runs/failure.ts'
import type { BuildsTable } from '../schema.ts'

type BuildRow = Selectable<BuildsTable>

/** That its host is at it, is not the workflow's word but the host's own. */
export const stateOf = ({ state, started_at }: Pick<BuildRow, 'state' | 'started_at'>): BuildState =>
  state === 'QUEUED' && started_at !== null ? 'BUILDING' : state

const serve = (row: BuildRow): BuildItem => ({
  build_id: row.id,
  environment_id: row.environment_id,
  worker_id: row.host_id,
  reason: row.reason,
  force: row.force,
  state: stateOf(row),
  created_at: row.created_at.toISOString(),
  started_at: row.started_at?.toISOString() ?? null,
  finished_at: row.finished_at?.toISOString() ?? null,
  used_at: row.used_at?.toISOString() ?? null,
  result: row.result,
  failure: row.failure && serveFailure(row.failure),
})

/** Null when the environment has no such build. */
export async function findBuild(db: Queryable, environmentId: string, id: string): Promise<BuildItem | null> {
  const row = await db
    .selectFrom('builds')
    .selectAll()
    .where('id', '=', id)
    .where('environment_id', '=', environmentId)
    .executeTakeFirst()
  return row ? serve(row) : null
}

export async function findBuilds(db: Queryable, ids: readonly string[]): Promise<BuildItem[]> {
  if (ids.length === 0) return []
  const rows = await db.selectFrom('builds').selectAll().where('id', 'in', ids).orderBy('host_id').execute()
  return rows.map(serve)
}

/** The newest first; `after`: the last one of the page before. */
export async function listBuilds(
  db: Queryable,
  query: { environmentId: string; hostId: string | null; after: string | null; limit: number },
): Promise<BuildItem[]> {
  let select = db.selectFrom('builds').selectAll().where('environment_id', '=', query.environmentId)
  if (query.hostId !== null) select = select.where('host_id', '=', query.hostId)
  if (query.after !== null) {
    const last = sql`(select created_at, id from builds where id = ${query.after}::uuid)`
    select = select.where(sql<boolean>`(created_at, id) < ${last}`)
  }
  const rows = await select.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(query.limit).execute()
  return rows.map(serve)
}

/** The newest build of each environment and host, and whether the newest one that is over failed. */
export async function newestBuilds(
  db: Queryable,
  environmentIds: readonly string[],
): Promise<(BuildItem & { lastFailed: boolean })[]> {
  if (environmentIds.length === 0) return []
  const { rows } = await sql<BuildRow & { last_failed: boolean }>`
    select distinct on (environment_id, host_id) "builds".*,
      coalesce(first_value(state = 'FAILED') over (
        partition by environment_id, host_id order by finished_at desc nulls last
      ), false) as last_failed
    from builds
    where environment_id = any(${environmentIds}::text[])
    order by environment_id, host_id, created_at desc
  `.execute(db)
  return rows.map((row) => ({ ...serve(row), lastFailed: row.last_failed }))
}
