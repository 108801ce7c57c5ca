// Runs that are paused: their model calls are not passed on until there is money for them again.
import { sql } from 'kysely'
import type { MoneyRules } from '../../domain/money/rules.ts'
import { wayOn } from '../../domain/money/text.ts'
import type { BudgetScope, StopReason } from '../../domain/money/words.ts'
import { isTerminal } from '../../domain/state.ts'
import type { AgentQuestion, ExecutionRef } from '../../workflows/contract.ts'
import type { Db, Queryable } from '../database.ts'
import { lockRun } from '../locking.ts'
import { messageInHand, messageTaken } from '../runs/asks.ts'
import { insertMail, promptBody } from '../runs/mail.ts'
import { newUid } from '../uid.ts'
import { type Refusal, refusalOfRun } from './refusal.ts'

/** What people can do about it, after the sentence that says what it is. */
const remedies: Readonly<Record<StopReason, string>> = {
  budget: 'Raise it, and the run goes on where it is; or cancel the run.',
  credits: 'The run goes on where it is when the team has credits again; or cancel it.',
}

/** Notes that a call of the run was not passed on, once for each message that it works on. */
export async function noteStop(db: Queryable, { runId, execution }: ExecutionRef, refusal: Refusal): Promise<void> {
  const mailId = await messageInHand(db, runId)
  // Nothing that it works on, nothing to go on with.
  if (mailId === null) return
  const { reason, message, budget } = refusal
  await db
    .insertInto('budget_stops')
    .values({
      uid: newUid(),
      run_id: runId,
      execution,
      mail_id: mailId,
      reason,
      budget_uid: budget?.uid ?? null,
      title: `${message} ${remedies[reason]}`,
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

/** As a question: what the run waits for, since a call was not passed on while it worked on its latest message. */
export async function stopOfTurn(db: Queryable, runId: string): Promise<AgentQuestion | null> {
  const row = await db
    .selectFrom('budget_stops')
    .select(['uid', 'title'])
    .where('run_id', '=', runId)
    .where('mail_id', '=', messageTaken(db, runId))
    .where('closed_at', 'is', null)
    .executeTakeFirst()
  return row ? { questionId: row.uid, title: row.title, options: [] } : null
}

/** What a person can do that a run goes on, whose question of this id is about money; null: it is about something else. */
export async function wayOnFrom(db: Queryable, questionId: string): Promise<string | null> {
  const row = await db
    .selectFrom('budget_stops')
    .leftJoin('budgets', 'budgets.uid', 'budget_stops.budget_uid')
    .select(['reason', 'budgets.uid', 'scope', 'thing'])
    .where('budget_stops.uid', '=', questionId)
    .executeTakeFirst()
  return row ? wayOnOf(row.reason, row) : null
}

/** By a row of `budget_stops` with its budget. */
export function wayOnOf(
  reason: StopReason,
  { uid, scope, thing }: { uid: string | null; scope: BudgetScope | null; thing: string | null },
): string {
  if (reason === 'credits') return wayOn(null)
  if (uid === null || scope === null || thing === null) return 'The budget is gone: the run goes on by itself.'
  return wayOn({ uid, scope, thing })
}

const GO_ON: Readonly<Record<StopReason, string>> = {
  budget:
    'The budget that had stopped your work leaves room again. Go on with your task from where you were interrupted.',
  credits:
    'The credits that were missing for your work are there again. Go on with your task from where you were interrupted.',
}

/** Looked for by one query. */
const PAGE = 500

/**
 * Sends on what is paused and may spend again: after a raise, a grant, at the
 * turn of a month. Each by a message, in a transaction of its own; called again
 * after any death, it goes on with those that are left. @returns the runs.
 */
export async function resumeStopped(db: Db, rules: MoneyRules, team?: string): Promise<string[]> {
  const resumed: string[] = []
  for (let after = ''; ; ) {
    const stopped = await openStops(db, after, team)
    for (const { uid, runId, reason } of stopped) {
      if ((await refusalOfRun(db, rules, runId)) !== null && !(await isOver(db, runId))) continue
      if (await resume(db, { uid, runId, reason })) resumed.push(runId)
    }
    after = stopped.at(-1)?.uid ?? after
    if (stopped.length < PAGE) return resumed
  }
}

const openStops = (db: Queryable, after: string, team: string | undefined) =>
  db
    .selectFrom('budget_stops')
    .innerJoin('runs', 'runs.id', 'budget_stops.run_id')
    .select(['budget_stops.uid', 'budget_stops.run_id as runId', 'budget_stops.reason'])
    .where('closed_at', 'is', null)
    .where('budget_stops.uid', '>', after)
    .$if(team !== undefined, (all) => all.where('runs.team', '=', team ?? ''))
    .orderBy('budget_stops.uid')
    .limit(PAGE)
    .execute()

const isOver = async (db: Queryable, runId: string): Promise<boolean> => {
  const run = await db.selectFrom('runs').select('state').where('id', '=', runId).executeTakeFirst()
  return run === undefined || isTerminal(run.state)
}

/** @returns false where it had been resumed, or the run is over. */
async function resume(
  db: Db,
  { uid, runId, reason }: { uid: string; runId: string; reason: StopReason },
): Promise<boolean> {
  return await db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, runId)
    const closed = await tx
      .updateTable('budget_stops')
      .set({ closed_at: sql`now()` })
      .where('uid', '=', uid)
      .where('closed_at', 'is', null)
      .returning('mail_id')
      .executeTakeFirst()
    // A later message has taken over from the one that was stopped.
    if (!closed || isTerminal(run.state) || closed.mail_id !== (await messageInHand(tx, runId))) return false
    await insertMail(tx, runId, 'prompt', promptBody(GO_ON[reason], 'queue'))
    return true
  })
}
