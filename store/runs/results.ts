// The work product of a run: what its repositories have become.
import { sql } from 'kysely'
import type { RunResult } from '../../domain/host-api.ts'
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { Db, Queryable } from '../database.ts'
import { jsonb } from '../json.ts'
import { lockRun, refuseOlder } from '../locking.ts'
import type { ResultSummary } from '../schema.ts'

/**
 * Stores an execution's result in place of the one it had.
 * @throws {FencedError} when a newer execution has begun.
 */
export async function saveResult(db: Db, { runId, execution }: ExecutionRef, result: RunResult): Promise<void> {
  const rows = result.repositories.map(({ patch, bundle, ...summary }, position) => ({
    run_id: runId,
    execution,
    position,
    path: summary.path,
    summary: jsonb(summary),
    patch: patch === null ? null : Buffer.from(patch, 'base64'),
    bundle: bundle === null ? null : Buffer.from(bundle, 'base64'),
  }))
  await db.transaction().execute(async (tx) => {
    refuseOlder(await lockRun(tx, runId), execution)
    await tx.deleteFrom('results').where('run_id', '=', runId).where('execution', '=', execution).execute()
    // One by one: each row may hold many megabytes.
    for (const row of rows) await tx.insertInto('results').values(row).execute()
  })
}

/** A repository's result as it is listed: the large parts by their size in bytes, null where they were not kept. */
export interface ListedResult extends ResultSummary {
  execution: number
  patch_bytes: number | null
  bundle_bytes: number | null
}

/** The newest result of a run, which covers all its executions; empty when there is none. */
export async function listResults(db: Queryable, runId: string): Promise<ListedResult[]> {
  const rows = await db
    .selectFrom('results')
    .select([
      'execution',
      'summary',
      sql<number | null>`octet_length(patch)`.as('patch_bytes'),
      sql<number | null>`octet_length(bundle)`.as('bundle_bytes'),
    ])
    .where('run_id', '=', runId)
    .where('execution', '=', (eb) =>
      eb
        .selectFrom('results as newest')
        .select((newest) => newest.fn.max('newest.execution').as('execution'))
        .where('newest.run_id', '=', runId),
    )
    .orderBy('position')
    .execute()
  return rows.map(({ summary, ...rest }) => ({ ...summary, ...rest }))
}

/** One large part of a listed result. */
export async function readResultPart(
  db: Queryable,
  runId: string,
  result: Pick<ListedResult, 'execution' | 'path'>,
  part: 'patch' | 'bundle',
): Promise<Buffer | null> {
  const row = await db
    .selectFrom('results')
    .select(part)
    .where('run_id', '=', runId)
    .where('execution', '=', result.execution)
    .where('path', '=', result.path)
    .executeTakeFirst()
  return row?.[part] ?? null
}
