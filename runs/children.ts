// How many runs one run may begin, and how far below the first one.
import type { Config } from '../config.ts'
import { invalid } from '../domain/problem.ts'
import type { Tx } from '../store/database.ts'
import { countChildren, depthOf } from '../store/runs/child-runs.ts'

/** @throws {HttpError} 400 that says which limit it is, and what can be done. The parent is locked against a further child meanwhile. */
export async function refuseFurtherChild(
  tx: Tx,
  settings: Pick<Config, 'AMBIENT_CHILD_DEPTH' | 'AMBIENT_CHILDREN'>,
  parentId: string,
): Promise<void> {
  const { AMBIENT_CHILD_DEPTH: depth, AMBIENT_CHILDREN: children } = settings
  if ((await depthOf(tx, parentId)) >= depth)
    throw invalid(
      `parent_run_id: the run ${parentId} is as far below the first one as runs may be here (${depth}, AMBIENT_CHILD_DEPTH). Do the work in that run.`,
    )
  if ((await countChildren(tx, parentId)) >= children)
    throw invalid(
      `parent_run_id: the run ${parentId} has begun as many runs as it may (${children}, AMBIENT_CHILDREN). Send a follow-up to one of them, or do the work in that run.`,
    )
}
