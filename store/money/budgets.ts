// Budgets: what may be spent, by whom, in which time.
import { type RawBuilder, sql } from 'kysely'
import { type BudgetItem, DEFAULT_PERCENTS, moneyOf } from '../../domain/money/money.ts'
import type { MoneyRules } from '../../domain/money/rules.ts'
import type { BudgetPeriod, BudgetScope } from '../../domain/money/words.ts'
import type { Principal } from '../../domain/permission.ts'
import type { Queryable, Tx } from '../database.ts'
import { newUid } from '../uid.ts'
import { ALL_MONTHS, placesOfRun, thisMonth } from './places.ts'

export interface BudgetKey {
  team: string
  scope: BudgetScope
  thing: string
  period: BudgetPeriod
}

export interface BudgetLimit {
  microUsd: number
  /** Absent: as they are; of a new one the usual ones. */
  percents?: readonly number[] | undefined
}

/** Sets a budget anew. @returns its uid; null where there is one already. */
export async function insertBudget(
  tx: Tx,
  { team, scope, thing, period }: BudgetKey,
  { microUsd, percents = DEFAULT_PERCENTS }: BudgetLimit,
  by: Principal,
): Promise<string | null> {
  const uid = newUid()
  const row = await tx
    .insertInto('budgets')
    .values({
      uid,
      team,
      scope,
      thing,
      period,
      limit_micro_usd: microUsd,
      percents: [...percents],
      created_by_type: by.type,
      created_by: by.uid,
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning('uid')
    .executeTakeFirst()
  return row?.uid ?? null
}

/**
 * Gives a budget another limit. Of shares that are reached at it by now nobody
 * is told: whoever sets it sees them. @returns false where there is none.
 */
export async function changeBudget(
  tx: Tx,
  rules: MoneyRules,
  { team, uid }: { team: string; uid: string },
  { microUsd, percents }: BudgetLimit,
): Promise<boolean> {
  const row = await tx
    .updateTable('budgets')
    .set({
      limit_micro_usd: microUsd,
      ...(percents === undefined ? {} : { percents: [...percents] }),
      updated_at: sql`now()`,
    })
    .where('team', '=', team)
    .where('uid', '=', uid)
    .returning('uid')
    .executeTakeFirst()
  if (!row) return false
  await sql`
    insert into budget_alerts (budget_uid, month, limit_micro_usd, percent, spent_micro_usd, told_at)
    select uid, spending.month, limit_micro_usd, shares.percent, ${spent}, now()
    from budgets join spending using (team, scope, thing) cross join unnest(percents) as shares (percent)
    where uid = ${uid} and ${inPeriod(rules)} and ${spent} * 100 >= limit_micro_usd * shares.percent
    on conflict do nothing
  `.execute(tx)
  return true
}

/** The budget of a run or of its tree, made where it has none. @returns its uid, and what it was before. */
export async function raiseRunBudget(
  tx: Tx,
  rules: MoneyRules,
  key: Pick<BudgetKey, 'team'> & { scope: 'run' | 'tree'; runId: string },
  microUsd: number,
  by: Principal,
): Promise<{ uid: string; before: number | null }> {
  const { team, scope, runId } = key
  const former = await tx
    .selectFrom('budgets')
    .select(['uid', 'limit_micro_usd as limit'])
    .where('scope', '=', scope)
    .where('thing', '=', runId)
    .where('period', '=', 'total')
    .where('team', '=', team)
    .forNoKeyUpdate()
    .executeTakeFirst()
  if (former) {
    await changeBudget(tx, rules, { team, uid: former.uid }, { microUsd })
    return { uid: former.uid, before: former.limit }
  }
  const uid = await insertBudget(tx, { team, scope, thing: runId, period: 'total' }, { microUsd }, by)
  if (uid === null) throw new Error(`the budget of the run ${runId} was made at the same moment`)
  return { uid, before: null }
}

export async function deleteBudget(tx: Tx, team: string, uid: string): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom('budgets')
    .where('team', '=', team)
    .where('uid', '=', uid)
    .where('scope', 'not in', ['run', 'tree'])
    .executeTakeFirst()
  if (numDeletedRows === 0n) return false
  await tx.deleteFrom('budget_alerts').where('budget_uid', '=', uid).execute()
  return true
}

/** Those of schedules, people and the team; the oldest first. */
export async function listBudgets(
  db: Queryable,
  rules: MoneyRules,
  team: string,
  { scope, thing, uid }: { scope?: string | undefined; thing?: string | undefined; uid?: string | undefined } = {},
): Promise<BudgetItem[]> {
  const conditions = [sql`team = ${team}`, sql`scope not in ('run', 'tree')`]
  if (scope !== undefined) conditions.push(sql`scope = ${scope}`)
  if (thing !== undefined) conditions.push(sql`thing = ${thing}`)
  if (uid !== undefined) conditions.push(sql`uid = ${uid}`)
  return await readBudgets(db, rules, sql``, sql`where ${sql.join(conditions, sql` and `)}`)
}

/** All that hold for a run, from its own to that of its team. */
export const budgetsOfRun = (db: Queryable, rules: MoneyRules, runId: string): Promise<BudgetItem[]> =>
  readBudgets(
    db,
    rules,
    sql`with recursive ${placesOfRun(runId)}`,
    sql`join places using (team, scope, thing)`,
    sql`array_position(array['run', 'tree', 'schedule', 'person', 'team'], scope),`,
  )

interface Row {
  uid: string
  scope: BudgetScope
  thing: string
  period: BudgetPeriod
  limit_micro_usd: number
  percents: number[]
  created_at: Date
  updated_at: Date
  spent: number
  unpriced: number
}

async function readBudgets(
  db: Queryable,
  rules: MoneyRules,
  before: RawBuilder<unknown>,
  which: RawBuilder<unknown>,
  order: RawBuilder<unknown> = sql``,
): Promise<BudgetItem[]> {
  const { rows } = await sql<Row>`
    ${before}
    select uid, scope, thing, period, limit_micro_usd, percents, created_at, updated_at,
      coalesce(used.spent, 0) as spent, coalesce(used.unpriced_calls, 0) as unpriced
    from budgets
    left join lateral (
      select ${spent} as spent, unpriced_calls from spending
      where spending.scope = budgets.scope and spending.thing = budgets.thing and spending.team = budgets.team
        and ${inPeriod(rules)}
    ) as used on true
    ${which}
    order by ${order} created_at, uid
  `.execute(db)
  return rows.map((row) => ({
    uid: row.uid,
    scope: row.scope,
    scope_uid: row.thing,
    period: row.period,
    limit: moneyOf(row.limit_micro_usd * rules.creditsPerDollar, row.limit_micro_usd),
    spent: moneyOf(row.spent * rules.creditsPerDollar, row.spent),
    percent: percentOf(row.spent, row.limit_micro_usd),
    unpriced_calls: row.unpriced,
    is_used_up: row.spent >= row.limit_micro_usd,
    alert_percents: row.percents,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  }))
}

/** Down to a tenth: 100 only where it is used up. */
export const percentOf = (spentMicro: number, limitMicro: number): number =>
  Math.floor((spentMicro * 1000) / limitMicro) / 10

const spent = sql<number>`(spending.inference_micro_usd + spending.compute_micro_usd)`

const inPeriod = (rules: MoneyRules) =>
  sql`spending.month = (case budgets.period when 'total' then ${ALL_MONTHS}::date else ${thisMonth(rules)} end)`
