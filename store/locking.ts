// The lock under which a run changes.
import { type RawBuilder, type Selectable, sql } from 'kysely'
import type { Queryable, Tx } from './database.ts'
import type { RunsTable } from './schema.ts'

/** What every change of a run looks at first. */
export type LockedRun = Pick<
  Selectable<RunsTable>,
  'id' | 'state' | 'execution' | 'last_event_sequence' | 'host_id' | 'sandbox_running' | 'agent' | 'pool'
>

/** There is no such run. */
export class RunNotFoundError extends Error {
  override readonly name = 'RunNotFoundError'
  constructor(runId: string) {
    super(`There is no run ${runId}.`)
  }
}

/** A newer execution has taken the run over, so that what an older one says no longer counts. */
export class FencedError extends Error {
  override readonly name = 'FencedError'
  constructor(execution: number, current: number) {
    super(`Execution ${execution} is over: execution ${current} has taken its place.`)
  }
}

/**
 * Locks the run's row until the transaction ends. Always the first lock of a
 * transaction, so that two of them cannot wait for each other. Not so strong
 * that mail could not be written to the run meanwhile.
 */
export async function lockRun(tx: Tx, runId: string): Promise<LockedRun> {
  const run = await tx
    .selectFrom('runs')
    .select(['id', 'state', 'execution', 'last_event_sequence', 'host_id', 'sandbox_running', 'agent', 'pool'])
    .where('id', '=', runId)
    .forNoKeyUpdate()
    .executeTakeFirst()
  if (!run) throw new RunNotFoundError(runId)
  return run
}

export function refuseOlder(run: Pick<LockedRun, 'execution'>, execution: number): void {
  if (execution < run.execution) throw new FencedError(execution, run.execution)
}

/**
 * Writes for an execution under its run's lock as one statement, without a
 * transaction around it. `writes` are table expressions that write what they
 * take from `open`, which has a row as long as no newer execution has begun.
 * @throws {FencedError} when one has. {RunNotFoundError}
 */
export async function writeFenced(
  db: Queryable,
  { runId, execution }: { runId: string; execution: number },
  writes: RawBuilder<unknown>,
): Promise<void> {
  const { rows } = await sql<{ execution: number }>`
    with fence as (select execution from runs where id = ${runId} for no key update),
      open as (select from fence where execution <= ${execution}),
      ${writes}
    select execution from fence
  `.execute(db)
  const [run] = rows
  if (!run) throw new RunNotFoundError(runId)
  refuseOlder(run, execution)
}

/** Any number that nothing else in the database locks. */
const LINE_LOCK = 4_203_117

/**
 * Locks the counting of places until the transaction ends: who is let in is
 * decided by one at a time. Taken after the run's lock, and held by none who
 * then asks for another run's.
 */
export async function lockLine(tx: Tx): Promise<void> {
  await sql`select pg_advisory_xact_lock(${LINE_LOCK})`.execute(tx)
}
