// What became of a run's sandbox and its workspace.
import { randomUUID } from 'node:crypto'
import { sql, type UpdateObject } from 'kysely'
import { isTerminal } from '../../domain/state.ts'
import type { SandboxFate } from '../../workflows/contract.ts'
import type { Tx } from '../database.ts'
import type { LockedRun } from '../locking.ts'
import type { Schema } from '../schema.ts'
import { revokeCredentials } from './credentials.ts'
import { insertTimeline, type TimelineEntry } from './timeline.ts'

/** What a change of the sandbox writes into the run's row, and into its timeline. */
interface SandboxChange {
  set: UpdateObject<Schema, 'runs'>
  timeline: TimelineEntry[]
}

/** Whether the sandbox runs and whether its workspace is kept, and for how long: for as long as the run is not over. */
export function sandboxChange(
  run: LockedRun,
  { running, workspaceKept }: SandboxFate,
  workspaceHours: number,
): SandboxChange {
  const isCounted = workspaceKept && !running && isTerminal(run.state)
  const set = {
    sandbox_running: running,
    workspace_kept: workspaceKept,
    workspace_until: isCounted ? sql<Date>`now() + make_interval(hours => ${workspaceHours}::integer)` : null,
    updated_at: sql<Date>`now()`,
  }
  const isNews = running !== run.sandbox_running
  run.sandbox_running = running
  if (!isNews) return { set, timeline: [] }
  const type = running ? 'worker_container_ready' : 'vm_shutdown'
  const payload = running ? {} : { workspace_kept: workspaceKept }
  return { set, timeline: [{ runId: run.id, key: randomUUID(), execution: run.execution, type, payload }] }
}

/** Notes it. With the sandbox its credentials end. The caller holds the run's lock. */
export async function changeSandbox(tx: Tx, run: LockedRun, fate: SandboxFate, workspaceHours: number): Promise<void> {
  const { set, timeline } = sandboxChange(run, fate, workspaceHours)
  await tx.updateTable('runs').set(set).where('id', '=', run.id).execute()
  if (timeline.length > 0) await insertTimeline(tx, timeline)
  if (!fate.running) await revokeCredentials(tx, run.id)
}
