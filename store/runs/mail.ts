// What people send to a run: written here first, then handed over to its workflow.
import { randomUUID } from 'node:crypto'
import { type Selectable, sql } from 'kysely'
import type { MessageText } from '../../domain/host-api.ts'
import type { RunMode } from '../../domain/run.ts'
import { isTerminal } from '../../domain/state.ts'
import type { Mail } from '../../workflows/contract.ts'
import type { RunLabels } from '../../workflows/search-attributes.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { jsonb, storableText } from '../json.ts'
import { lockRun } from '../locking.ts'
import type { MailBody, MailTable } from '../schema.ts'
import { attachmentsOf } from './attachments.ts'

/** Writes a piece of mail; the dispatcher hands it over, as part of the request's trace. Returns its id. */
export async function insertMail(
  tx: Tx,
  runId: string,
  kind: 'prompt' | 'answer' | 'cancel',
  body: MailBody,
  trace: string | null = null,
): Promise<string> {
  const row = newMail(runId, kind, body, trace)
  await tx.insertInto('mail').values(row).execute()
  return row.id
}

/** A piece of mail as a row, for a statement that writes more than that. */
export const newMail = (runId: string, kind: 'prompt' | 'answer' | 'cancel', body: MailBody, trace: string | null) => ({
  id: randomUUID(),
  run_id: runId,
  kind,
  body: jsonb(body),
  trace,
})

/** `pg_notify` channel: a run has mail that its writer does not hand over itself. The payload is the run's id. */
export const MAIL_CHANNEL = 'ambient_mail'

/**
 * Writes a word of the queue to a run, and calls whoever hands mail over once
 * the transaction is through. Nobody has to accept it.
 */
export async function tellWorkflow(tx: Tx, runId: string, kind: 'admit' | 'release', execution: number): Promise<void> {
  await sql`
    with written as (
      insert into mail (id, run_id, kind, body, accepted_at, accepted_by)
      values (${randomUUID()}, ${runId}, ${kind}, ${jsonb({ execution })}, now(), 'queue')
      returning run_id
    )
    select pg_notify(${MAIL_CHANNEL}, run_id::text) from written
  `.execute(tx)
}

export const promptBody = (
  text: string,
  delivery: 'queue' | 'interrupt',
  attachments = 0,
  mode: RunMode = 'normal',
): MailBody => ({
  text: storableText(text),
  delivery,
  ...(attachments > 0 && { attachments }),
  ...(mode !== 'normal' && { mode }),
})

/**
 * For queries on `runs`: a message waits that the run has not taken up. A run
 * that has ended goes on with it, so it is not over: it is read as QUEUED, from
 * the moment the message is accepted and before its workflow has said so.
 */
export const messageWaits = sql<boolean>`exists (
  select from mail where mail.run_id = runs.id and mail.kind = 'prompt' and mail.accepted_at is null
)`

/** {@link messageWaits}, of one run. */
export async function hasWaitingMessage(tx: Tx, runId: string): Promise<boolean> {
  const row = await tx.selectFrom('runs').select(messageWaits.as('waits')).where('id', '=', runId).executeTakeFirst()
  return row?.waits === true
}

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

/** Asks a run to stop, as far as it goes on. False when it is over, or was asked already. */
export async function cancelUnlessOver(tx: Tx, runId: string, reason: string): Promise<boolean> {
  const run = await lockRun(tx, runId)
  if (isTerminal(run.state) && !(await hasWaitingMessage(tx, runId))) return false
  if ((await pendingCancel(tx, runId)) !== null) return false
  await insertMail(tx, runId, 'cancel', { reason })
  return true
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
    await markRead(tx, run.id, input.ids, input.key)
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

/** The caller holds the run's lock. */
export async function markRead(tx: Tx, runId: string, ids: readonly string[], key: string): Promise<void> {
  await tx
    .updateTable('mail')
    .set({ accepted_at: sql`now()`, accepted_by: key })
    .where('run_id', '=', runId)
    .where('id', 'in', ids)
    .where('accepted_at', 'is', null)
    .execute()
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

/** The text of a prompt of this run, or what an answer says to an agent that has lost its question; null when there is neither. */
export async function messageText(db: Queryable, runId: string, mailId: string): Promise<MessageText | null> {
  const row = await db
    .selectFrom('mail')
    .leftJoin('questions', (join) =>
      join
        .onRef('questions.run_id', '=', 'mail.run_id')
        .on('questions.question_id', '=', sql`mail.body ->> 'questionId'`),
    )
    .select(['mail.kind', 'mail.body', 'questions.title', 'questions.options'])
    .where('mail.id', '=', mailId)
    .where('mail.run_id', '=', runId)
    .where('mail.kind', 'in', ['prompt', 'answer'])
    .executeTakeFirst()
  if (!row) return null
  if (row.kind === 'prompt') {
    return {
      message_id: mailId,
      text: row.body.text ?? '',
      decision: null,
      ...(row.body.mode !== undefined && { mode: row.body.mode }),
      ...(row.body.attachments && { attachments: await attachmentsOf(db, mailId) }),
    }
  }
  const option = row.options?.find(({ optionId }) => optionId === row.body.optionId)
  const title = row.title ?? ''
  const choice = option?.kind.startsWith('allow') ? 'allow' : 'deny'
  const text = [
    'While you waited for an answer, the process you ran in was ended; what you had asked is no longer open.',
    `You had asked: ${title}`,
    `The answer is: ${option?.name ?? choice}`,
    'Go on with your task accordingly.',
  ].join('\n\n')
  return { message_id: mailId, text, decision: { title, choice } }
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

/** A piece of mail as its hand-over needs it. */
export interface Undelivered {
  runId: string
  mail: Mail
  /** The trace of the request that wrote it, where there is one. */
  trace: string | null
  createdAt: Date
  /** What the run is known by, where its workflow has to be started for it. */
  labels: RunLabels
}

/** The mail of a run that has not been handed over, in the order it was written. */
export async function undelivered(db: Queryable, runId: string): Promise<Undelivered[]> {
  const rows = await db
    .selectFrom('mail')
    .innerJoin('runs', 'runs.id', 'mail.run_id')
    .select([
      'mail.id',
      'mail.kind',
      sql<MailBody>`mail.body - 'text'`.as('body'),
      'mail.trace',
      'mail.created_at as createdAt',
      'runs.agent',
      'runs.source',
      'runs.pool',
      'runs.team',
      'runs.priority',
      'runs.parent_run_id as parentRunId',
      'runs.environment_id as environmentId',
    ])
    .where('mail.run_id', '=', runId)
    .where('mail.dispatched_at', 'is', null)
    .orderBy('mail.position')
    .execute()
  return rows.map(({ id, kind, body, trace, createdAt, ...labels }) => ({
    runId,
    mail: toMail({ id, kind, body }),
    trace,
    createdAt,
    labels,
  }))
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
    case 'admit':
    case 'release':
      return { id, kind, execution: body.execution ?? 0 }
  }
}
