// A run's changes of state: written on the workflow's word, each with all that follows from it, in one transaction.
import { sql, type UpdateObject } from 'kysely'
import type { NewEvent } from '../../domain/event.ts'
import { isTerminal, type RunState, terminalTimeline } from '../../domain/state.ts'
import type { AgentQuestion, SandboxFate, StateChange } from '../../workflows/contract.ts'
import type { Db, Tx } from '../database.ts'
import { jsonb } from '../json.ts'
import { type LockedRun, lockRun } from '../locking.ts'
import { giveBack, noteHost } from '../queue/places.ts'
import { callScheduler } from '../schedules/scheduler-channel.ts'
import type { Schema } from '../schema.ts'
import { revokeCredentials } from './credentials.ts'
import { insertEvents } from './events.ts'
import { serveFailure } from './failure.ts'
import { dropAnswersAndCancels } from './mail.ts'
import { sandboxChange } from './sandboxes.ts'
import { insertTimeline, type TimelineEntry } from './timeline.ts'

/** The journal of the events that the run itself writes. No host may write to it. */
export const STATE_JOURNAL = 'state'

type Change = Omit<StateChange, 'runId'>

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
    const news = await changeStates(tx, run, changes, { workspaceHours })
    const hostId = changes.findLast((change) => change.hostId !== undefined)?.hostId
    if (hostId !== undefined) await noteHost(tx, run.id, first.execution, hostId)
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

/** What follows from changes, gathered so that each table is written once. */
interface Gathered {
  run: UpdateObject<Schema, 'runs'>
  execution: UpdateObject<Schema, 'executions'>
  timeline: TimelineEntry[]
  events: NewEvent[]
}

/** As {@link recordStates}, for a caller that holds the run's lock. `also`: what else is to be written into its row. */
export async function changeStates<C extends Change>(
  tx: Tx,
  run: LockedRun,
  changes: readonly C[],
  { workspaceHours = 0, also = {} }: { workspaceHours?: number; also?: Gathered['run'] } = {},
): Promise<C[]> {
  const numbers = await claimKeys(tx, run.id, changes)
  const gathered: Gathered = { run: { ...also }, execution: {}, timeline: [], events: [] }
  const news: C[] = []
  for (const change of changes) {
    const { key, sandbox } = change
    if (sandbox?.running) gatherSandbox(gathered, run, sandbox, workspaceHours)
    const number = numbers.get(key)
    if (number !== undefined) {
      numbers.delete(key) // Said twice, it is one.
      news.push(change)
      await changeQuestions(tx, run, change)
      gatherState(gathered, run, change, number)
    }
    if (sandbox?.running === false) gatherSandbox(gathered, run, sandbox, workspaceHours)
  }
  await write(tx, run, gathered, changes.at(-1)?.execution ?? run.execution)
  if (news.some(({ state }) => isTerminal(state))) await dropAnswersAndCancels(tx, run.id)
  if (changes.some(({ sandbox }) => sandbox?.running === false)) await revokeCredentials(tx, run.id)
  return news
}

/** {@link changeStates}, of one. True when it is news. */
export async function changeState(
  tx: Tx,
  run: LockedRun,
  change: Change,
  also: Gathered['run'] = {},
): Promise<boolean> {
  return (await changeStates(tx, run, [change], { also })).length > 0
}

/** The numbers, within the run, of those that were not recorded before, by their keys. */
async function claimKeys(tx: Tx, runId: string, changes: readonly Change[]): Promise<Map<string, number>> {
  const fresh = changes.filter(({ key }, place) => changes.findIndex((change) => change.key === key) === place)
  const { rows } = await sql<{ key: string; number: number }>`
    insert into state_changes (run_id, key, number, execution, state)
    select ${runId}, key, last.number + row_number() over (order by place), execution, state
    from unnest(
        ${fresh.map(({ key }) => key)}::text[],
        ${fresh.map(({ execution }) => execution)}::integer[],
        ${fresh.map(({ state }) => state)}::text[]
      ) with ordinality as change (key, execution, state, place),
      (select coalesce(max(number), 0) as number from state_changes where run_id = ${runId}) as last
    where not exists (select from state_changes as known where known.run_id = ${runId} and known.key = change.key)
    returning key, number
  `.execute(tx)
  return new Map(rows.map(({ key, number }) => [key, number]))
}

function gatherState(
  { run: set, execution, timeline, events }: Gathered,
  run: LockedRun,
  change: Change,
  number: number,
) {
  const { state } = change
  set.state = state
  set.failure = change.failure ? jsonb(change.failure) : null
  set.message = change.message ?? null
  set.updated_at = sql`now()`
  set.finished_at = isTerminal(state) ? sql`now()` : null
  if (isTerminal(state)) execution.finished_at = sql`now()`
  if (isWork(state)) set.started_at = execution.started_at = sql`coalesce(started_at, now())`
  if (change.hostId !== undefined) set.host_id = execution.host_id = change.hostId

  const told = {
    state,
    ...(change.message === undefined ? {} : { message: change.message }),
    ...(change.failure === undefined ? {} : { failure: serveFailure(change.failure) }),
    ...(change.question === undefined ? {} : { question_id: change.question.questionId }),
  }
  const type = change.timeline ?? (isTerminal(state) ? terminalTimeline[state] : null)
  if (type !== null) {
    const payload = { ...told, ...(change.hostId === undefined ? {} : { host_id: change.hostId }) }
    timeline.push({ runId: run.id, key: change.key, execution: change.execution, type, payload })
  }
  const data = { ...told, execution: change.execution }
  events.push({ line: number, part: 0, time: new Date().toISOString(), kind: 'state', data })
  run.state = state
}

function gatherSandbox({ run: set, timeline }: Gathered, run: LockedRun, fate: SandboxFate, workspaceHours: number) {
  const change = sandboxChange(run, fate, workspaceHours)
  Object.assign(set, change.set)
  timeline.push(...change.timeline)
}

/** The execution before the run, and the timeline after it: triggers look there. */
async function write(tx: Tx, run: LockedRun, gathered: Gathered, execution: number): Promise<void> {
  if (Object.keys(gathered.execution).length > 0)
    await tx
      .updateTable('executions')
      .set(gathered.execution)
      .where('run_id', '=', run.id)
      .where('execution', '=', execution)
      .execute()
  if (Object.keys(gathered.run).length > 0) {
    const row = await tx
      .updateTable('runs')
      .set(gathered.run)
      .where('id', '=', run.id)
      .returning('schedule')
      .executeTakeFirst()
    // The next one may wait for its end.
    if (row?.schedule && isTerminal(run.state)) await callScheduler(tx, row.schedule.schedule_id)
  }
  if (gathered.timeline.length > 0) await insertTimeline(tx, gathered.timeline)
  if (gathered.events.length > 0) await insertEvents(tx, run, execution, STATE_JOURNAL, gathered.events)
}

/** A run counts as started once a host has taken it. */
const isWork = (state: RunState) => state === 'CLAIMED' || state === 'INPROGRESS'

/** Before the run's state is changed. Only a run that is BLOCKED has open ones. */
async function changeQuestions(tx: Tx, run: LockedRun, change: Change): Promise<void> {
  if (run.state === 'BLOCKED') await closeQuestions(tx, run.id, change.state)
  if (change.question) await openQuestion(tx, run.id, change.execution, change.question)
}

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
