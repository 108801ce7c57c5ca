// The calls of models, one row each: opened before a call goes out, settled once.
import { type Selectable, sql } from 'kysely'
import type { CallCost, ModelCallEnd, ModelCallStart, SettledCall, TokenUsage } from '../../domain/models/call.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import type { ModelCallsTable } from '../schema.ts'

/** Whose call it is, and which process makes it. */
export interface CallOwner {
  runId: string
  execution: number
  team: string
  /** UUID of the gateway's process. */
  gateway: string
}

export async function openCall(db: Queryable, owner: CallOwner, call: ModelCallStart): Promise<void> {
  await db
    .insertInto('model_calls')
    .values({
      id: call.id,
      run_id: owner.runId,
      execution: owner.execution,
      team: owner.team,
      gateway: owner.gateway,
      provider: call.provider,
      endpoint: call.endpoint,
      model: call.model,
      path: call.path,
      request_bytes: call.requestBytes,
    })
    // Of an attempt whose answer was lost.
    .onConflict((conflict) => conflict.column('id').doNothing())
    .execute()
}

/** What is known of a call that goes on, for the case that its gateway dies. */
export async function noteUsage(db: Queryable, id: string, usage: TokenUsage): Promise<void> {
  await db
    .updateTable('model_calls')
    .set(tokenColumns(usage))
    .where('id', '=', id)
    .where('state', '=', 'open')
    .execute()
}

/** Shows that this gateway lives, and its open calls with it. */
export async function touchCalls(db: Queryable, gateway: string): Promise<void> {
  await db
    .updateTable('model_calls')
    .set({ touched_at: sql`now()` })
    .where('gateway', '=', gateway)
    .where('state', '=', 'open')
    .execute()
}

/** Called in the transaction that settles a call, once for each. */
export type ChargeCall = (tx: Tx, call: SettledCall) => Promise<void>

/** Writes down how a call ended, and charges it. False: it was settled or broken before, and nothing is done. */
export async function settleCall(
  db: Db,
  id: string,
  end: ModelCallEnd,
  cost: CallCost | null,
  charge: ChargeCall,
): Promise<boolean> {
  return await db.transaction().execute((tx) => closeCall(tx, id, 'settled', end, cost, charge))
}

export type OpenCall = Pick<Selectable<ModelCallsTable>, 'id' | 'provider' | 'model' | 'request_bytes'> & {
  usage: TokenUsage | null
}

/**
 * Closes a call that nobody has touched for so long, as `broken`. `reckon` says
 * what is charged. @returns whether there was one.
 */
export async function breakAbandonedCall(
  db: Db,
  silentMs: number,
  reckon: (call: OpenCall) => { usage: TokenUsage; cost: CallCost | null },
  charge: ChargeCall,
): Promise<boolean> {
  return await db.transaction().execute(async (tx) => {
    const row = await tx
      .selectFrom('model_calls')
      .selectAll()
      .where('state', '=', 'open')
      .where('touched_at', '<', sql<Date>`now() - make_interval(secs => ${silentMs / 1000})`)
      .orderBy('touched_at')
      .limit(1)
      .forUpdate()
      .skipLocked()
      .executeTakeFirst()
    if (!row) return false
    const { usage, cost } = reckon({ ...row, usage: usageOf(row) })
    return await closeCall(
      tx,
      row.id,
      'broken',
      { status: null, complete: false, usage, estimated: true },
      cost,
      charge,
    )
  })
}

async function closeCall(
  tx: Tx,
  id: string,
  state: 'settled' | 'broken',
  end: ModelCallEnd,
  cost: CallCost | null,
  charge: ChargeCall,
): Promise<boolean> {
  const row = await tx
    .updateTable('model_calls')
    .set({
      state,
      ended_at: sql`now()`,
      status: end.status,
      complete: end.complete,
      estimated: end.estimated,
      ...(end.usage ? tokenColumns(end.usage) : {}),
      input_cost: cost?.input ?? null,
      cache_read_cost: cost?.cacheRead ?? null,
      cache_write_cost: cost?.cacheWrite ?? null,
      output_cost: cost?.output ?? null,
    })
    .where('id', '=', id)
    .where('state', '=', 'open')
    .returningAll()
    .executeTakeFirst()
  if (!row) return false
  await charge(tx, {
    ...end,
    id,
    runId: row.run_id,
    execution: row.execution,
    team: row.team,
    provider: row.provider,
    endpoint: row.endpoint,
    model: row.model,
    state,
    cost,
    startedAt: row.started_at,
    endedAt: row.ended_at ?? row.touched_at,
  })
  return true
}

function usageOf(row: Selectable<ModelCallsTable>): TokenUsage | null {
  if (row.input_tokens === null) return null
  return {
    input: row.input_tokens,
    cacheRead: row.cache_read_tokens ?? 0,
    cacheWrite: row.cache_write_tokens ?? 0,
    cacheWriteHour: row.cache_write_hour_tokens ?? 0,
    output: row.output_tokens ?? 0,
    reasoning: row.reasoning_tokens ?? 0,
  }
}

const tokenColumns = (usage: TokenUsage) => ({
  input_tokens: usage.input,
  cache_read_tokens: usage.cacheRead,
  cache_write_tokens: usage.cacheWrite,
  cache_write_hour_tokens: usage.cacheWriteHour,
  output_tokens: usage.output,
  reasoning_tokens: usage.reasoning,
})
