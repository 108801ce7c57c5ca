// After a team or a person was deleted: who has to be called, and what is answered.
import type { RemovedAccount } from '../../domain/account.ts'
import type { Removed } from '../../store/accounts/removal.ts'
import type { ApiDeps } from '../deps.ts'

/** Once the transaction is through. */
export function callOthers(
  { dispatcher, schedules }: Pick<ApiDeps, 'dispatcher' | 'schedules'>,
  removed: Removed,
): void {
  for (const runId of removed.cancelledRuns) dispatcher.nudge(runId)
  schedules.nudge()
}

export const removedAccount = ({ cancelledRuns, deletedSchedules, revokedKeys }: Removed): RemovedAccount => ({
  cancelled_runs: cancelledRuns.length,
  deleted_schedules: deletedSchedules,
  revoked_keys: revokedKeys,
})
