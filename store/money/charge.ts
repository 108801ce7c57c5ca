// Writes into the ledger, and into every sum that follows from it. The caller has the transaction.
import { type RawBuilder, sql } from 'kysely'
import { type SettledCall, totalCost } from '../../domain/models/call.ts'
import type { MoneyRules } from '../../domain/money/rules.ts'
import type { Principal } from '../../domain/permission.ts'
import type { Queryable, Tx } from '../database.ts'
import { jsonb } from '../json.ts'
import type { LedgerDetail } from '../schema.ts'
import { ALL_MONTHS, nowBy, placesOfRun, thisMonth } from './places.ts'

/** Any number that nothing else in the database locks; the second one is made from the team. */
const LEDGER_LOCK = 4_203_119

/**
 * One team's entries are written one after the other, in the order of their
 * commits. The last lock of a transaction: nobody who has it asks for a run's.
 */
const locked = (team: RawBuilder<unknown>) => sql`select pg_advisory_xact_lock(${LEDGER_LOCK}, hashtext(${team}))`

/**
 * Charges a model call to its run, once. Its cost is what the gateway reckoned;
 * an unknown one is written down as nothing, and counted. Calls of a team's own
 * endpoint cost it money and no credits: it pays there.
 */
export async function chargeCall(tx: Tx, rules: MoneyRules, call: SettledCall): Promise<void> {
  const { usage, cost, endpoint } = call
  // Neither told nor reckoned: a refused request, which costs nothing anywhere.
  if (usage === null && cost === null) return
  const microUsd = cost === null ? 0 : totalCost(cost)
  const tokens = {
    input: usage?.input ?? 0,
    cache_read: usage?.cacheRead ?? 0,
    cache_write: usage?.cacheWrite ?? 0,
    output: usage?.output ?? 0,
  }
  const parts = {
    input: cost?.input ?? 0,
    cache_read: cost?.cacheRead ?? 0,
    cache_write: cost?.cacheWrite ?? 0,
    output: cost?.output ?? 0,
  }
  const used = { ...tokens, all: tokens.input + tokens.cache_read + tokens.cache_write + tokens.output }
  const usedModel = sql`
    insert into run_usage as had (
      run_id, model, is_own_endpoint, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens,
      input_micro_usd, cache_read_micro_usd, cache_write_micro_usd, output_micro_usd, calls
    )
    select ${call.runId}::uuid, ${call.model ?? 'unknown'}, ${endpoint !== null}::boolean,
      ${tokens.input}::bigint, ${tokens.cache_read}::bigint, ${tokens.cache_write}::bigint, ${tokens.output}::bigint,
      ${parts.input}::bigint, ${parts.cache_read}::bigint, ${parts.cache_write}::bigint, ${parts.output}::bigint, 1
    from entry
    on conflict (run_id, model, is_own_endpoint) do update set
      input_tokens = had.input_tokens + excluded.input_tokens,
      cache_read_tokens = had.cache_read_tokens + excluded.cache_read_tokens,
      cache_write_tokens = had.cache_write_tokens + excluded.cache_write_tokens,
      output_tokens = had.output_tokens + excluded.output_tokens,
      input_micro_usd = had.input_micro_usd + excluded.input_micro_usd,
      cache_read_micro_usd = had.cache_read_micro_usd + excluded.cache_read_micro_usd,
      cache_write_micro_usd = had.cache_write_micro_usd + excluded.cache_write_micro_usd,
      output_micro_usd = had.output_micro_usd + excluded.output_micro_usd,
      calls = had.calls + 1
    returning run_id
  `
  await chargeRun(tx, rules, {
    key: `call/${call.id}`,
    kind: 'inference',
    runId: call.runId,
    execution: call.execution,
    microUsd,
    microCredits: endpoint === null ? microUsd * rules.creditsPerDollar : 0,
    tokens: used.all,
    seconds: 0,
    isUnpriced: cost === null,
    detail: {
      provider: call.provider,
      ...(endpoint !== null && { endpoint }),
      model: call.model,
      tokens,
      ...(cost !== null && { cost: parts }),
      ...(call.estimated && { estimated: true }),
    },
    also: usedModel,
  })
}

export interface RunCharge {
  key: string
  kind: 'inference' | 'compute'
  runId: string
  execution: number
  microUsd: number
  microCredits: number
  tokens: number
  seconds: number
  isUnpriced: boolean
  detail: LedgerDetail
  /** One more table that is kept up with it: it reads `entry`, which is empty for what was charged before. */
  also?: RawBuilder<unknown>
}

/** Idempotent by its key. One statement: the gateway waits for it. */
export async function chargeRun(tx: Tx, rules: MoneyRules, charge: RunCharge): Promise<void> {
  const { key, kind, runId, execution, microUsd, microCredits, tokens, seconds, isUnpriced, detail } = charge
  const isCompute = kind === 'compute'
  const inference = isCompute ? 0 : microUsd
  const compute = isCompute ? microUsd : 0
  const month = thisMonth(rules)
  await sql`
    with recursive ${placesOfRun(runId)},
    own as (select * from line where depth = 0),
    locked as materialized (select team, (${locked(sql`own.team`)}) from own),
    entry as (
      insert into ledger (
        key, team, kind, micro_credits, micro_usd, person_type, person, run_id, execution, schedule_id, detail, created_at
      )
      select ${key}, own.team, ${kind}, ${-microCredits}::bigint, ${-microUsd}::bigint, created_by_type, created_by, id,
        ${execution}::integer, (select thing from places where scope = 'schedule' limit 1), ${jsonb(detail)},
        ${nowBy(rules)}
      from own join locked on locked.team = own.team
      on conflict (key) do nothing
      returning run_id
    ),
    spent as (
      insert into spending as had (
        team, scope, thing, month, inference_micro_usd, compute_micro_usd, inference_micro_credits,
        compute_micro_credits, tokens, compute_seconds, unpriced_calls
      )
      select places.team, scope, thing, months.month, ${inference}::bigint, ${compute}::bigint,
        ${isCompute ? 0 : microCredits}::bigint, ${isCompute ? microCredits : 0}::bigint, ${tokens}::bigint,
        ${seconds}::bigint, ${isUnpriced ? 1 : 0}::bigint
      from entry cross join places
      cross join (values (${ALL_MONTHS}::date), (${month})) as months (month)
      where scope not in ('run', 'tree') or months.month = ${ALL_MONTHS}::date
      on conflict (scope, thing, month, team) do update set
        inference_micro_usd = had.inference_micro_usd + excluded.inference_micro_usd,
        compute_micro_usd = had.compute_micro_usd + excluded.compute_micro_usd,
        inference_micro_credits = had.inference_micro_credits + excluded.inference_micro_credits,
        compute_micro_credits = had.compute_micro_credits + excluded.compute_micro_credits,
        tokens = had.tokens + excluded.tokens,
        compute_seconds = had.compute_seconds + excluded.compute_seconds,
        unpriced_calls = had.unpriced_calls + excluded.unpriced_calls
      returning team, scope, thing, month, inference_micro_usd + compute_micro_usd as micro_usd
    ),
    counted as (
      update run_statistics
      set total_tokens = total_tokens + ${tokens}::bigint, cost_micro_usd = cost_micro_usd + ${microUsd}::bigint
      from entry where run_statistics.run_id = entry.run_id
      returning run_statistics.run_id
    ),
    ${charge.also === undefined ? sql`` : sql`also as (${charge.also}),`}
    reached as (
      select budgets.uid, spent.month, budgets.limit_micro_usd, shares.percent, spent.micro_usd
      from spent
      join budgets using (team, scope, thing)
      cross join unnest(budgets.percents) as shares (percent)
      where spent.month = (case budgets.period when 'total' then ${ALL_MONTHS}::date else ${month} end)
        and spent.micro_usd * 100 >= budgets.limit_micro_usd * shares.percent
    )
    insert into budget_alerts (budget_uid, month, limit_micro_usd, percent, spent_micro_usd, run_id)
    select uid, month, limit_micro_usd, percent, micro_usd, ${runId}::uuid from reached
    on conflict do nothing
  `.execute(tx)
}

/** Credits that a team is given. */
export interface GrantEntry {
  uid: string
  team: string
  kind: 'grant' | 'purchase'
  microCredits: number
  microUsd: number
  by: Principal
  note: string | null
}

/** Idempotent by its uid. @returns the position of its entry. */
export async function enterGrant(tx: Tx, rules: MoneyRules, grant: GrantEntry): Promise<number> {
  const { team, kind, microCredits, microUsd, by } = grant
  const given = kind === 'grant' ? microCredits : 0
  const bought = kind === 'purchase' ? microCredits : 0
  const { rows } = await sql<{ position: number }>`
    with locked as materialized (select (${locked(sql`${team}::text`)})),
    entry as (
      insert into ledger (key, team, kind, micro_credits, micro_usd, person_type, person, detail, created_at)
      select ${`grant/${grant.uid}`}, ${team}, ${kind}, ${microCredits}::bigint, ${microUsd}::bigint, ${by.type},
        ${by.uid}, ${jsonb(grant.note === null ? {} : { note: grant.note })}, ${nowBy(rules)}
      from locked
      on conflict (key) do nothing
      returning position
    ),
    given as (
      insert into spending as had (team, scope, thing, month, granted_micro_credits, purchased_micro_credits)
      select ${team}, 'team', ${team}, ${ALL_MONTHS}::date, ${given}::bigint, ${bought}::bigint from entry
      on conflict (scope, thing, month, team) do update set
        granted_micro_credits = had.granted_micro_credits + excluded.granted_micro_credits,
        purchased_micro_credits = had.purchased_micro_credits + excluded.purchased_micro_credits
      returning team
    )
    select position from entry
  `.execute(tx)
  const [row] = rows
  if (!row) throw new Error(`the grant ${grant.uid} has been entered before`)
  return row.position
}

/** In millionths of a credit; may be below zero. */
export async function balanceOf(db: Queryable, team: string): Promise<number> {
  const row = await db
    .selectFrom('spending')
    .select(balance.as('balance'))
    .where('scope', '=', 'team')
    .where('thing', '=', team)
    .where('month', '=', ALL_MONTHS)
    .where('team', '=', team)
    .executeTakeFirst()
  return row?.balance ?? 0
}

/** Of a row of a team in `spending`. */
export const balance = sql<number>`
  (granted_micro_credits + purchased_micro_credits - inference_micro_credits - compute_micro_credits)
`
