// What became of a run's sandbox and its workspace.
import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { isTerminal } from '../../domain/state.ts'
import type { SandboxFate } from '../../workflows/contract.ts'
import type { Tx } from '../database.ts'
import type { LockedRun } from '../locking.ts'
import { revokeCredentials } from './credentials.ts'
import { insertTimeline } from './timeline.ts'

/**
 * Notes whether the sandbox runs and whether its workspace is kept, and for how
 * long: for as long as the run is not over. With the sandbox its credentials
 * end. The caller holds the run's lock.
 */
export async function changeSandbox(
  tx: Tx,
  run: LockedRun,
  { running, workspaceKept }: SandboxFate,
  workspaceHours: number,
): Promise<void> {
  const isCounted = workspaceKept && !running && isTerminal(run.state)
  await tx
    .updateTable('runs')
    .set({
      sandbox_running: running,
      workspace_kept: workspaceKept,
      workspace_until: isCounted ? sql`now() + make_interval(hours => ${workspaceHours}::integer)` : null,
      updated_at: sql`now()`,
    })
    .where('id', '=', run.id)
    .execute()
  if (running !== run.sandbox_running) {
    const type = running ? 'worker_container_ready' : 'vm_shutdown'
    const payload = running ? {} : { workspace_kept: workspaceKept }
    await insertTimeline(tx, { runId: run.id, key: randomUUID(), execution: run.execution, type, payload })
  }
  run.sandbox_running = running
  if (!running) await revokeCredentials(tx, run.id)
}
