// The executions of a run: their beginning, and the sandbox they work in.
import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import type { ExecutionPlan, ExecutionRef } from '../workflows/contract.ts'
import { revokeCredentials } from './credentials.ts'
import type { Db, Tx } from './database.ts'
import { jsonb } from './json.ts'
import { type LockedRun, lockRun } from './locking.ts'
import { changeState } from './states.ts'
import { insertTimeline } from './timeline.ts'

export interface ExecutionDefaults {
  /** Where the run itself does not say. */
  idleMinutes: number
  turnMinutes: number
}

/**
 * Opens the next execution of a run for the unread prompts among `mail`; null
 * when there are none. The same key is answered with the same plan.
 */
export async function beginExecution(
  db: Db,
  input: { runId: string; key: string; mail: readonly string[] },
  defaults: ExecutionDefaults,
): Promise<ExecutionPlan | null> {
  return db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, input.runId)
    const begun = await tx
      .selectFrom('executions')
      .select('plan')
      .where('run_id', '=', run.id)
      .where('key', '=', input.key)
      .executeTakeFirst()
    if (begun) return begun.plan
    if (!(await hasUnreadPrompt(tx, run.id, input.mail))) return null

    const plan = await planExecution(tx, run, defaults)
    const { execution } = plan
    await tx
      .insertInto('executions')
      .values({ run_id: run.id, execution, key: input.key, plan: jsonb(plan) })
      .execute()
    await tx.updateTable('runs').set({ execution }).where('id', '=', run.id).execute()
    run.execution = execution
    if (run.state !== 'QUEUED') await changeState(tx, run, { execution, key: `begin/${input.key}`, state: 'QUEUED' })
    return plan
  })
}

async function hasUnreadPrompt(tx: Tx, runId: string, ids: readonly string[]): Promise<boolean> {
  if (ids.length === 0) return false
  const unread = await tx
    .selectFrom('mail')
    .select('id')
    .where('run_id', '=', runId)
    .where('id', 'in', ids)
    .where('kind', '=', 'prompt')
    .where('accepted_at', 'is', null)
    .limit(1)
    .executeTakeFirst()
  return unread !== undefined
}

async function planExecution(tx: Tx, run: LockedRun, defaults: ExecutionDefaults): Promise<ExecutionPlan> {
  const { idle_minutes, holds } = await tx
    .selectFrom('runs')
    .select(['idle_minutes', sql<boolean>`sandbox_running or (workspace_kept and workspace_until > now())`.as('holds')])
    .where('id', '=', run.id)
    .executeTakeFirstOrThrow()
  return {
    execution: run.execution + 1,
    pool: run.pool,
    heldBy: holds ? run.host_id : null,
    idleMinutes: idle_minutes ?? defaults.idleMinutes,
    turnMinutes: defaults.turnMinutes,
  }
}

/**
 * Notes whether the sandbox runs and whether its workspace is kept, and for how
 * long. With the sandbox its credentials end.
 */
export async function recordSandbox(
  db: Db,
  input: ExecutionRef & { running: boolean; workspaceKept: boolean },
  workspaceHours: number,
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, input.runId)
    if (input.execution < run.execution) return
    const keptWithoutSandbox = input.workspaceKept && !input.running
    await tx
      .updateTable('runs')
      .set({
        sandbox_running: input.running,
        workspace_kept: input.workspaceKept,
        workspace_until: keptWithoutSandbox ? sql`now() + make_interval(hours => ${workspaceHours}::integer)` : null,
        updated_at: sql`now()`,
      })
      .where('id', '=', run.id)
      .execute()
    if (input.running !== run.sandbox_running) {
      const type = input.running ? 'worker_container_ready' : 'vm_shutdown'
      const payload = input.running ? {} : { workspace_kept: input.workspaceKept }
      await insertTimeline(tx, { runId: run.id, key: randomUUID(), execution: input.execution, type, payload })
    }
    if (!input.running) await revokeCredentials(tx, run.id)
  })
}
