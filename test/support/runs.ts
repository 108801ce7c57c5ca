// Runs, and hosts with room for them, for tests that need one in the database.
import type { Db } from '../../store/database.ts'
import { insertRun, type NewRun } from '../../store/runs/runs.ts'

/** Writes a run; returns its id and the id of its first message. */
export async function givenRun(db: Db, fields: Partial<NewRun> = {}): Promise<{ runId: string; messageId: string }> {
  const runId = await db.transaction().execute((tx) =>
    insertRun(tx, {
      title: 'A task',
      prompt: 'Do it',
      source: 'API',
      name: null,
      agent: 'claude',
      model: null,
      reasoning_level: null,
      command: null,
      policy: null,
      base_prompt: null,
      pool: 'default',
      priority: 0,
      concurrency_group: null,
      concurrency_limit: null,
      idle_minutes: null,
      config: {},
      environment: null,
      environment_id: null,
      metadata: {},
      demo: false,
      team: 'default',
      scope: 'Team',
      created_by_type: 'operator',
      created_by: 'operator',
      executor_type: 'operator',
      executor: 'operator',
      parent: null,
      ...fields,
    }),
  )
  const mail = await db.selectFrom('mail').select('id').where('run_id', '=', runId).executeTakeFirstOrThrow()
  return { runId, messageId: mail.id }
}

/** What holds for an execution where neither its run nor the test says otherwise. */
export const executionDefaults = {
  idleMinutes: 10,
  turnMinutes: 360,
  runMinutes: 1_440,
  questionMinutes: 30,
  hostLostSeconds: 300,
  attempts: 3,
}

/** A host that counts as there for as long as the test takes. */
export async function givenHost(db: Db, host: { id: string; pool?: string; capacity?: number }): Promise<void> {
  const row = { pool: 'default', capacity: 1000, ...host, kind: 'direct', version: '1' } as const
  const inAnHour = new Date(Date.now() + 3_600_000)
  await db
    .insertInto('hosts')
    .values({ ...row, reported_at: inAnHour })
    .execute()
}

/** A host holds an execution of a run and its workspace, as if it had claimed and prepared it. */
export async function givenHolder(
  db: Db,
  { runId, execution, hostId }: { runId: string; execution: number; hostId: string },
): Promise<void> {
  const plan = { ...executionDefaults, execution, pool: 'default', heldBy: null, admitted: true, unread: [] }
  await db
    .insertInto('executions')
    .values({
      run_id: runId,
      execution,
      key: `held/${execution}`,
      plan: JSON.stringify(plan) as never,
      claimed_by: hostId,
    })
    .onConflict((conflict) => conflict.columns(['run_id', 'execution']).doUpdateSet({ claimed_by: hostId }))
    .execute()
  await db
    .updateTable('runs')
    .set((eb) => ({ execution: eb.fn('greatest', ['execution', eb.val(execution)]), workspace_kept: true }))
    .where('id', '=', runId)
    .execute()
}
