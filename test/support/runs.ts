// Runs for tests that need one in the database.
import type { Db } from '../../store/database.ts'
import { insertRun, type NewRun } from '../../store/runs.ts'

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
      idle_minutes: null,
      config: {},
      environment: null,
      metadata: {},
      demo: false,
      parent: null,
      ...fields,
    }),
  )
  const mail = await db.selectFrom('mail').select('id').where('run_id', '=', runId).executeTakeFirstOrThrow()
  return { runId, messageId: mail.id }
}
