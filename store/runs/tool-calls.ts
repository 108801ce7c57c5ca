// What an agent's calls of its tools were answered.
import { isTerminal } from '../../domain/state.ts'
import type { Queryable, Tx } from '../database.ts'
import { jsonb } from '../json.ts'

/** The journal of what agents say by their tools. No host may write to it. */
export const TOOLS_JOURNAL = 'tools'

/** What a call was answered when it was made first, null for a new one; and how many others there were. To rely on it, hold the run's lock. */
export async function toolAnswer(
  db: Queryable,
  runId: string,
  key: string,
): Promise<{ answer: string | null; calls: number }> {
  const row = await db
    .selectFrom('tool_calls')
    .select('answer')
    .where('run_id', '=', runId)
    .where('key', '=', key)
    .executeTakeFirst()
  if (row) return { answer: row.answer, calls: 0 }
  const { calls } = await db
    .selectFrom('tool_calls')
    .select((eb) => eb.fn.countAll<number>().as('calls'))
    .where('run_id', '=', runId)
    .executeTakeFirstOrThrow()
  return { answer: null, calls }
}

/** Whether the run has ended, or is gone. */
export async function isOver(db: Queryable, runId: string): Promise<boolean> {
  const run = await db.selectFrom('runs').select('state').where('id', '=', runId).executeTakeFirst()
  return run === undefined || isTerminal(run.state)
}

export async function keepToolAnswer(
  tx: Tx,
  call: { runId: string; key: string; number: number; tool: string; answer: string },
): Promise<void> {
  const { runId, key, number, tool, answer } = call
  await tx
    .insertInto('tool_calls')
    .values({ run_id: runId, key, number, tool, answer: jsonb(answer) })
    .execute()
}
