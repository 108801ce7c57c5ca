// What people send to a run: written here first, then handed over to its workflow.
import { randomUUID } from 'node:crypto'
import { type Selectable, sql } from 'kysely'
import type { AgentName } from '../domain/harness.ts'
import type { Mail } from '../workflows/contract.ts'
import type { Db, Queryable, Tx } from './database.ts'
import { jsonb, storableText } from './json.ts'
import { lockRun } from './locking.ts'
import type { MailBody, MailTable } from './schema.ts'

/** Writes a piece of mail; the dispatcher hands it over. Returns its id. */
export async function insertMail(tx: Tx, runId: string, kind: Mail['kind'], body: MailBody): Promise<string> {
  const id = randomUUID()
  await tx
    .insertInto('mail')
    .values({ id, run_id: runId, kind, body: jsonb(body) })
    .execute()
  return id
}

export const promptBody = (text: string, delivery: 'queue' | 'interrupt'): MailBody => ({
  text: storableText(text),
  delivery,
})

/** The cancel that is already on its way to this run, if there is one. */
export async function pendingCancel(tx: Tx, runId: string): Promise<string | null> {
  const row = await tx
    .selectFrom('mail')
    .select('id')
    .where('run_id', '=', runId)
    .where('kind', '=', 'cancel')
    .where('accepted_at', 'is', null)
    .executeTakeFirst()
  return row?.id ?? null
}

/**
 * Marks mail as read. Returns, in the order asked, those ids that nobody had
 * read under another key: asked again, it answers the same.
 */
export async function acceptMail(
  db: Db,
  input: { runId: string; key: string; ids: readonly string[] },
): Promise<string[]> {
  if (input.ids.length === 0) return []
  return db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, input.runId)
    await tx
      .updateTable('mail')
      .set({ accepted_at: sql`now()`, accepted_by: input.key })
      .where('run_id', '=', run.id)
      .where('id', 'in', input.ids)
      .where('accepted_at', 'is', null)
      .execute()
    const ours = await tx
      .selectFrom('mail')
      .select('id')
      .where('run_id', '=', run.id)
      .where('id', 'in', input.ids)
      .where('accepted_by', '=', input.key)
      .execute()
    const ids = new Set(ours.map((row) => row.id))
    return input.ids.filter((id) => ids.has(id))
  })
}

/** Answers and cancels were meant for what is now over. */
export async function dropAnswersAndCancels(tx: Tx, runId: string): Promise<void> {
  await tx
    .updateTable('mail')
    .set({ accepted_at: sql`now()`, accepted_by: 'ended' })
    .where('run_id', '=', runId)
    .where('kind', 'in', ['answer', 'cancel'])
    .where('accepted_at', 'is', null)
    .execute()
}

/** The text of a prompt of this run; null when there is no such prompt. */
export async function promptText(db: Queryable, runId: string, mailId: string): Promise<string | null> {
  const row = await db
    .selectFrom('mail')
    .select('body')
    .where('id', '=', mailId)
    .where('run_id', '=', runId)
    .where('kind', '=', 'prompt')
    .executeTakeFirst()
  return row?.body.text ?? null
}

/** Runs that have mail which was written so long ago and has not been handed over. */
export async function runsWithUndelivered(db: Queryable, olderThanMs: number, limit: number): Promise<string[]> {
  const rows = await db
    .selectFrom('mail')
    .select('run_id')
    .where('dispatched_at', 'is', null)
    .where('created_at', '<', sql<Date>`now() - make_interval(secs => ${olderThanMs / 1000})`)
    .groupBy('run_id')
    .orderBy((eb) => eb.fn.min('position'))
    .limit(limit)
    .execute()
  return rows.map((row) => row.run_id)
}

export type UndeliveredMail = Mail & { agent: AgentName }

/** The mail of a run that has not been handed over, in the order it was written. */
export async function undelivered(db: Queryable, runId: string): Promise<UndeliveredMail[]> {
  const rows = await db
    .selectFrom('mail')
    .innerJoin('runs', 'runs.id', 'mail.run_id')
    .select(['mail.id', 'mail.kind', sql<MailBody>`mail.body - 'text'`.as('body'), 'runs.agent'])
    .where('mail.run_id', '=', runId)
    .where('mail.dispatched_at', 'is', null)
    .orderBy('mail.position')
    .execute()
  return rows.map((row) => ({ ...toMail(row), agent: row.agent }))
}

export async function markDispatched(db: Queryable, mailId: string): Promise<void> {
  await db.updateTable('mail').set({ dispatched_at: sql`now()` }).where('id', '=', mailId).execute()
}

/** As the workflow gets it: ids and decisions; the text stays here. */
function toMail({ id, kind, body }: Pick<Selectable<MailTable>, 'id' | 'kind' | 'body'>): Mail {
  switch (kind) {
    case 'prompt':
      return { id, kind, delivery: body.delivery ?? 'queue' }
    case 'answer':
      return { id, kind, questionId: body.questionId ?? '', optionId: body.optionId ?? '' }
    case 'cancel':
      return { id, kind, reason: body.reason ?? '' }
  }
}
