// Which host carries an execution out, from its claim on.
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { Db } from '../database.ts'
import { FencedError, lockRun, refuseOlder } from '../locking.ts'

/** A host asked for a run that is not for it. */
export class ClaimRefusedError extends Error {
  override readonly name = 'ClaimRefusedError'
}

/**
 * Gives an execution to a host of its pool. A claim that was given to another
 * host before, whose answer never reached the workflow, is overruled; once the
 * workflow has told who has it, no other gets it.
 * @throws {FencedError} when a newer execution has begun. {ClaimRefusedError} {RunNotFoundError}
 */
export async function claimExecution(
  db: Db,
  { runId, execution }: ExecutionRef,
  hostId: string,
): Promise<'claimed' | 'draining'> {
  return db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, runId)
    refuseOlder(run, execution)
    const row = await tx
      .selectFrom('executions')
      .leftJoin('hosts', (join) => join.on('hosts.id', '=', hostId))
      .select(['host_id', 'claimed_by', 'finished_at', 'hosts.pool', 'hosts.draining_at'])
      .where('run_id', '=', runId)
      .where('execution', '=', execution)
      .executeTakeFirst()
    if (!row) throw new ClaimRefusedError(`The run has no execution ${execution}.`)
    if (row.finished_at !== null) throw new FencedError(execution, run.execution)
    if (row.host_id !== null && row.host_id !== hostId) throw new ClaimRefusedError('Another host has this execution.')
    if ((row.host_id ?? row.claimed_by) === hostId) return 'claimed'
    if (row.pool !== run.pool) throw new ClaimRefusedError(`The run is for the pool "${run.pool}".`)
    if (row.draining_at !== null) return 'draining'
    await tx
      .updateTable('executions')
      .set({ claimed_by: hostId })
      .where('run_id', '=', runId)
      .where('execution', '=', execution)
      .execute()
    return 'claimed'
  })
}
