// A run's changes of state: written on the workflow's word, each with all that follows from it, in one transaction.
import { sql } from 'kysely'
import { isTerminal, type RunState, terminalTimeline } from '../../domain/state.ts'
import type { AgentQuestion, StateChange } from '../../workflows/contract.ts'
import type { Db, Tx } from '../database.ts'
import { jsonb } from '../json.ts'
import { type LockedRun, lockRun } from '../locking.ts'
import { giveBack, noteHost } from '../queue/places.ts'
import { callScheduler } from '../schedules/scheduler-channel.ts'
import { insertEvents } from './events.ts'
import { serveFailure } from './failure.ts'
import { dropAnswersAndCancels } from './mail.ts'
import { changeSandbox } from './sandboxes.ts'
import { insertTimeline } from './timeline.ts'

/** The journal of the events that the run itself writes. No host may write to it. */
export const STATE_JOURNAL = 'state'

/**
 * Changes of one execution, in their order. Idempotent by each one's key. What
 * an execution that is over still says, changes nothing. Answers with those that
 * are news. With the end of its sandbox the workspace is kept for so many hours.
 */
export async function recordStates(
  db: Db,
  changes: readonly StateChange[],
  workspaceHours = 0,
): Promise<StateChange[]> {
  const [first] = changes
  if (first === undefined) return []
  return db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, first.runId)
    if (first.execution < run.execution) return []
    const news: StateChange[] = []
    for (const change of changes) {
      const { sandbox } = change
      if (sandbox?.running) await changeSandbox(tx, run, sandbox, workspaceHours)
      if (await changeState(tx, run, change)) news.push(change)
      if (sandbox?.running === false) await changeSandbox(tx, run, sandbox, workspaceHours)
      if (change.hostId !== undefined) await noteHost(tx, run.id, change.execution, change.hostId)
    }
    // Last: the line's lock is held until the transaction ends.
    const work = changes.some(({ state }) => isTerminal(state))
    await giveBack(tx, run.id, { work, sandbox: changes.some(({ sandbox }) => sandbox?.running === false) })
    return news
  })
}

/** One change. True when it is news. */
export async function recordState(db: Db, change: StateChange, workspaceHours = 0): Promise<boolean> {
  return (await recordStates(db, [change], workspaceHours)).length > 0
}

/** As {@link recordStates}, for a caller that holds the run's lock. */
export async function changeState(tx: Tx, run: LockedRun, change: Omit<StateChange, 'runId'>): Promise<boolean> {
  const number = await claimKey(tx, run.id, change)
  if (number === null) return false
  await updateRun(tx, run.id, change)
  await updateExecution(tx, run.id, change)
  // Only a run that is BLOCKED has open ones.
  if (run.state === 'BLOCKED') await closeQuestions(tx, run.id, change.state)
  if (isTerminal(change.state)) await dropAnswersAndCancels(tx, run.id)
  if (change.question) await openQuestion(tx, run.id, change.execution, change.question)

  const told = {
    state: change.state,
    ...(change.message === undefined ? {} : { message: change.message }),
    ...(change.failure === undefined ? {} : { failure: serveFailure(change.failure) }),
    ...(change.question === undefined ? {} : { question_id: change.question.questionId }),
  }
  const type = change.timeline ?? (isTerminal(change.state) ? terminalTimeline[change.state] : null)
  if (type !== null) {
    const payload = { ...told, ...(change.hostId === undefined ? {} : { host_id: change.hostId }) }
    await insertTimeline(tx, { runId: run.id, key: change.key, execution: change.execution, type, payload })
  }
  const event = { line: number, part: 0, time: new Date().toISOString(), kind: 'state' as const }
  const data = { ...told, execution: change.execution }
  await insertEvents(tx, run, change.execution, STATE_JOURNAL, [{ ...event, data }])
  run.state = change.state
  return true
}

/** The change's number within the run; null when it was recorded before. */
async function claimKey(tx: Tx, runId: string, change: Omit<StateChange, 'runId'>): Promise<number | null> {
  const row = await tx
    .insertInto('state_changes')
    .values((eb) => ({
      run_id: runId,
      key: change.key,
      number: eb
        .selectFrom('state_changes')
        .where('run_id', '=', runId)
        .select(sql<number>`coalesce(max(number), 0) + 1`.as('next')),
      execution: change.execution,
      state: change.state,
    }))
    .onConflict((conflict) => conflict.doNothing())
    .returning('number')
    .executeTakeFirst()
  return row?.number ?? null
}

async function updateRun(tx: Tx, runId: string, change: Omit<StateChange, 'runId'>): Promise<void> {
  const row = await tx
    .updateTable('runs')
    .set({
      state: change.state,
      failure: change.failure ? jsonb(change.failure) : null,
      message: change.message ?? null,
      updated_at: sql`now()`,
      finished_at: isTerminal(change.state) ? sql`now()` : null,
      ...(change.hostId === undefined ? {} : { host_id: change.hostId }),
      ...(isWork(change.state) ? { started_at: sql`coalesce(started_at, now())` } : {}),
    })
    .where('id', '=', runId)
    .returning('schedule')
    .executeTakeFirst()
  // The next one may wait for its end.
  if (row?.schedule && isTerminal(change.state)) await callScheduler(tx, row.schedule.schedule_id)
}

async function updateExecution(tx: Tx, runId: string, change: Omit<StateChange, 'runId'>): Promise<void> {
  const set = {
    ...(change.hostId === undefined ? {} : { host_id: change.hostId }),
    ...(isWork(change.state) ? { started_at: sql<Date>`coalesce(started_at, now())` } : {}),
    ...(isTerminal(change.state) ? { finished_at: sql<Date>`now()` } : {}),
  }
  if (Object.keys(set).length === 0) return
  await tx
    .updateTable('executions')
    .set(set)
    .where('run_id', '=', runId)
    .where('execution', '=', change.execution)
    .execute()
}

/** A run counts as started once a host has taken it. */
const isWork = (state: RunState) => state === 'CLAIMED' || state === 'INPROGRESS'

async function openQuestion(tx: Tx, runId: string, execution: number, question: AgentQuestion): Promise<void> {
  await tx
    .insertInto('questions')
    .values({
      run_id: runId,
      question_id: question.questionId,
      execution,
      title: question.title,
      options: jsonb(question.options),
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

/** A question is open only while the run waits for its answer. */
async function closeQuestions(tx: Tx, runId: string, state: RunState): Promise<void> {
  let open = tx
    .updateTable('questions')
    .set({ closed_at: sql`now()` })
    .where('run_id', '=', runId)
    .where('closed_at', 'is', null)
  // From one question straight to the next: the first one stays open unless it was answered.
  if (state === 'BLOCKED') open = open.where('answer_id', 'is not', null)
  await open.execute()
}
