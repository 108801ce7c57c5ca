// Runs whose workflow an operator has terminated.
import { isTerminal } from '../domain/state.ts'
import type { Db } from './database.ts'
import { lockRun } from './locking.ts'
import { insertMail, pendingCancel } from './mail.ts'

/**
 * Has a new workflow end a run whose former one is gone: its state is changed on
 * a workflow's word alone. False when the run is over.
 */
export async function cancelAbandoned(db: Db, runId: string): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, runId)
    if (isTerminal(run.state)) return false
    if ((await pendingCancel(tx, runId)) === null)
      await insertMail(tx, runId, 'cancel', { reason: 'An operator terminated its workflow.' })
    return true
  })
}
