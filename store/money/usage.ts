// What runs have used, as Oz shows it.
import { type Selectable, sql } from 'kysely'
import { fromMicro, type RequestUsage, type RunBudget } from '../../domain/money/money.ts'
import type { Queryable } from '../database.ts'
import type { RunUsageTable, SpendingTable } from '../schema.ts'
import { percentOf } from './budgets.ts'
import { ALL_MONTHS } from './places.ts'

/** What the runs of a list have used, and what their budgets are at. */
export async function moneyOf(db: Queryable, runIds: readonly string[]) {
  const [usage, budgets] = await Promise.all([usageOf(db, runIds), runBudgets(db, runIds)])
  return { usage, budgets }
}

/** By run; of one that has used nothing yet there is none. */
export async function usageOf(db: Queryable, runIds: readonly string[]): Promise<Map<string, RequestUsage>> {
  if (runIds.length === 0) return new Map()
  const [sums, models] = await Promise.all([
    db
      .selectFrom('spending')
      .selectAll()
      .where('scope', '=', 'run')
      .where('thing', 'in', runIds)
      .where('month', '=', ALL_MONTHS)
      .execute(),
    db.selectFrom('run_usage').selectAll().where('run_id', 'in', runIds).orderBy('model').execute(),
  ])
  return new Map(
    sums.map((sum) => [
      sum.thing,
      serve(
        sum,
        models.filter(({ run_id }) => run_id === sum.thing),
      ),
    ]),
  )
}

/** Of a conversation: what its runs have used together; null where that is nothing. */
export async function usageTogether(db: Queryable, runIds: readonly string[]): Promise<RequestUsage | null> {
  const each = [...(await usageOf(db, runIds)).values()]
  const [first, ...others] = each
  return first ? others.reduce(added, first) : null
}

type Sums = Pick<
  Selectable<SpendingTable>,
  | 'inference_micro_usd'
  | 'compute_micro_usd'
  | 'inference_micro_credits'
  | 'compute_micro_credits'
  | 'tokens'
  | 'compute_seconds'
  | 'unpriced_calls'
>

function serve(sums: Sums, models: readonly Selectable<RunUsageTable>[]): RequestUsage {
  const total = (of: (row: Selectable<RunUsageTable>) => number) =>
    fromMicro(models.reduce((all, row) => all + of(row), 0))
  const byModel = (isOwn: boolean) => {
    const rows = models.filter((row) => row.is_own_endpoint === isOwn)
    return rows.length === 0 ? null : Object.fromEntries(rows.map((row) => [row.model, ofModel(row)]))
  }
  const direct = byModel(false)
  const own = byModel(true)
  return {
    inference_cost: fromMicro(sums.inference_micro_credits),
    compute_cost: fromMicro(sums.compute_micro_credits),
    platform_cost: 0,
    inference_cost_usd: fromMicro(sums.inference_micro_usd),
    compute_cost_usd: fromMicro(sums.compute_micro_usd),
    platform_cost_usd: 0,
    total_tokens: sums.tokens,
    inference_cost_breakdown_usd: {
      input_cost_usd: total((row) => row.input_micro_usd),
      input_cache_read_cost_usd: total((row) => row.cache_read_micro_usd),
      input_cache_write_cost_usd: total((row) => row.cache_write_micro_usd),
      output_cost_usd: total((row) => row.output_micro_usd),
    },
    usage_by_category: {
      [CATEGORY]: {
        platform_usage_usd: 0,
        ...(direct && { direct_api_inference_usage: direct }),
        ...(own && { custom_endpoint_inference_usage: own }),
      },
    },
    compute_seconds: sums.compute_seconds,
    unpriced_calls: sums.unpriced_calls,
  }
}

/** The one that there is: agents make all calls. */
const CATEGORY = 'primary_agent'

const ofModel = (row: Selectable<RunUsageTable>) => ({
  cost_usd: {
    input: fromMicro(row.input_micro_usd),
    input_cache_read: fromMicro(row.cache_read_micro_usd),
    input_cache_write: fromMicro(row.cache_write_micro_usd),
    output: fromMicro(row.output_micro_usd),
  },
  token_count: {
    input: row.input_tokens,
    input_cache_read: row.cache_read_tokens,
    input_cache_write: row.cache_write_tokens,
    output: row.output_tokens,
  },
})

/** Numbers added up, wherever they are; what only one of them has is as it has it. */
function added<T>(one: T, other: T): T {
  if (typeof one === 'number' && typeof other === 'number')
    // Both are whole millionths, which the sum is again.
    return (Math.round((one + other) * 1e6) / 1e6) as T
  if (one === undefined || other === undefined || typeof one !== 'object' || typeof other !== 'object')
    return one ?? other
  const names = new Set([...Object.keys(one ?? {}), ...Object.keys(other ?? {})])
  const fields = (value: T) => value as Record<string, unknown>
  return Object.fromEntries([...names].map((name) => [name, added(fields(one)[name], fields(other)[name])])) as T
}

/** What the budgets of runs and their trees are at, by run. */
export async function runBudgets(db: Queryable, runIds: readonly string[]): Promise<Map<string, RunBudget[]>> {
  if (runIds.length === 0) return new Map()
  const rows = await db
    .selectFrom('budgets')
    .leftJoin('spending', (join) =>
      join
        .onRef('spending.scope', '=', 'budgets.scope')
        .onRef('spending.thing', '=', 'budgets.thing')
        .onRef('spending.team', '=', 'budgets.team')
        .on('spending.month', '=', ALL_MONTHS),
    )
    .select(['budgets.scope', 'budgets.thing', 'limit_micro_usd as limit'])
    .select(sql<number>`coalesce(inference_micro_usd + compute_micro_usd, 0)`.as('spent'))
    .where('budgets.scope', 'in', ['run', 'tree'])
    .where('budgets.thing', 'in', runIds)
    .where('budgets.period', '=', 'total')
    .orderBy('budgets.scope')
    .execute()
  const budgets = new Map<string, RunBudget[]>()
  for (const { scope, thing, limit, spent } of rows) {
    const budget = {
      scope: scope === 'tree' ? ('tree' as const) : ('run' as const),
      limit_usd: fromMicro(limit),
      spent_usd: fromMicro(spent),
      percent: percentOf(spent, limit),
    }
    budgets.set(thing, [...(budgets.get(thing) ?? []), budget])
  }
  return budgets
}
