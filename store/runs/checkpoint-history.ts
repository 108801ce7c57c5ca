// The checkpoints that a run has: listed, found for a fork, and dropped when there are too many or nobody will come back to them.
import { sql } from 'kysely'
import type { CheckpointItem } from '../../domain/checkpoint.ts'
import { terminalStates } from '../../domain/state.ts'
import type { Db, Queryable, Tx } from '../database.ts'

export interface HistoryLimits {
  /** Checkpoints of one run, with the newest. */
  count: number
  /** Bytes of all of them together, as they are stored. */
  bytes: number
}

/** No upload takes as long: what is older and not whole was left by a sender that died. */
const ABANDONED_HOURS = 6

/** Another row refers to it. */
const FOREIGN_KEY_VIOLATION = '23503'

/** Never one that a run begins with which has none of its own yet. */
const isNoOrigin = sql<boolean>`not exists (select from runs as fork where fork.forked_checkpoint_id = checkpoints.id)`

/**
 * Drops the oldest checkpoints beyond the limits, and what earlier senders of
 * this execution left unfinished. The newest always stays.
 */
export async function trimHistory(db: Db, runId: string, execution: number, limits: HistoryLimits): Promise<void> {
  await unlessForked(
    sql`
      delete from checkpoints
      using (
        select id, completed_at,
          row_number() over newest_first as place,
          sum(bytes) over newest_first as total
        from checkpoints
        where run_id = ${runId} and number is not null
        window newest_first as (order by completed_at is null, number desc)
      ) as history
      where history.id = checkpoints.id
        and history.completed_at is null
        and (history.place > ${limits.count} or history.total > ${limits.bytes})
        and ${isNoOrigin}
    `.execute(db),
  )
  await db
    .deleteFrom('checkpoints')
    .where('run_id', '=', runId)
    .where('execution', '<=', execution)
    .where('number', 'is', null)
    .where('completed_at', 'is', null)
    .where('late', '=', false)
    .execute()
}

/** A fork may begin with one while it is being dropped: then it stays, and the next time decides. */
async function unlessForked(deletion: Promise<unknown>): Promise<void> {
  try {
    await deletion
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === FOREIGN_KEY_VIOLATION)) throw error
  }
}

/** Of a run: it has been over for as long as workspaces are kept, and nobody comes back to it. */
export const isForgotten = (workspaceHours: number) => sql<boolean>`
  runs.state = any(${[...terminalStates]}::text[])
    and runs.finished_at < now() - make_interval(hours => ${workspaceHours}::integer)
    and coalesce(runs.workspace_until < now(), true)
    -- A sandbox is kept an hour at most; one that is noted longer has lost its workflow.
    and not (runs.sandbox_running and runs.finished_at > now() - interval '2 hours')
    and not exists (
      select from mail
      where mail.run_id = runs.id and mail.kind = 'prompt' and mail.accepted_at is null
    )
`

/**
 * Removes the checkpoints that nobody will come back to: of runs that have been
 * over for as long as workspaces are kept, and those that never became whole.
 * Those that forks begin with stay until the fork has one of its own, or is over
 * for as long itself. Returns how many.
 */
export async function dropOldCheckpoints(db: Db, workspaceHours: number): Promise<number> {
  const isOver = isForgotten(workspaceHours)
  await sql`
    update runs set forked_checkpoint_id = null where forked_checkpoint_id is not null and ${isOver}
  `.execute(db)
  let dropped = 0
  await unlessForked(
    sql`
      delete from checkpoints
      using runs
      where runs.id = checkpoints.run_id
        and case
          when checkpoints.number is null and checkpoints.completed_at is null
            then checkpoints.created_at < now() - make_interval(hours => ${ABANDONED_HOURS}::integer)
          else ${isOver}
        end
        and ${isNoOrigin}
      returning 1
    `
      .execute(db)
      .then(({ rows }) => {
        dropped = rows.length
      }),
  )
  return dropped
}

const served = [
  'id',
  'run_id',
  'number',
  'execution',
  'bytes',
  'created_at',
  'completed_at',
  'summary',
  'late',
] as const

/** The newest first. `before`: only those with smaller numbers. */
export async function listCheckpoints(
  db: Queryable,
  runId: string,
  { before, limit }: { before: number | null; limit: number },
): Promise<{ checkpoints: CheckpointItem[]; hasMore: boolean }> {
  let select = db.selectFrom('checkpoints').select(served).where('run_id', '=', runId).where('number', 'is not', null)
  if (before !== null) select = select.where('number', '<', before)
  const rows = await select
    .orderBy('number', 'desc')
    .limit(limit + 1)
    .execute()
  const checkpoints = rows.slice(0, limit).map(({ summary, ...row }) => ({
    checkpoint_id: row.id,
    run_id: row.run_id,
    number: row.number ?? 0,
    execution: row.execution,
    message_id: summary?.message_id ?? null,
    taken_at: summary?.taken_at ?? row.created_at.toISOString(),
    bytes: row.bytes,
    files_changed: summary?.repositories.reduce((sum, { files_changed }) => sum + files_changed, 0) ?? null,
    repositories: summary?.repositories ?? [],
    session: summary?.session ?? false,
    left_out: summary?.left_out ?? [],
    newest: row.completed_at !== null,
    late: row.late,
  }))
  return { checkpoints, hasMore: rows.length > limit }
}

/** The newest checkpoint of each run that has one, as its item shows it. */
export async function newestCheckpoints(
  db: Queryable,
  runIds: readonly string[],
): Promise<Map<string, { number: number; taken_at: string }>> {
  if (runIds.length === 0) return new Map()
  const rows = await db
    .selectFrom('checkpoints')
    .select(['run_id', 'number', 'summary', 'created_at'])
    .where('run_id', 'in', runIds)
    .where('completed_at', 'is not', null)
    .execute()
  return new Map(
    rows.flatMap(({ run_id: runId, number, summary, created_at: createdAt }) =>
      number === null ? [] : [[runId, { number, taken_at: summary?.taken_at ?? createdAt.toISOString() }]],
    ),
  )
}

/** A run's checkpoint, held against being dropped until the transaction ends: the newest, or one by its number or id. */
export async function holdCheckpoint(
  tx: Tx,
  runId: string,
  which: number | string | null,
): Promise<{ id: string; number: number } | null> {
  let select = tx
    .selectFrom('checkpoints')
    .select(['id', 'number'])
    .where('run_id', '=', runId)
    .where('number', 'is not', null)
  if (which === null) select = select.where('completed_at', 'is not', null)
  else if (typeof which === 'number') select = select.where('number', '=', which)
  else select = select.where('id', '=', which)
  const row = await select.forShare().executeTakeFirst()
  return row?.number == null ? null : { id: row.id, number: row.number }
}
