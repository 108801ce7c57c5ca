// Whether there is money for a run, and what it may cost.
import { type Config, moneyRules } from '../config.ts'
import { type BudgetAsk, toMicro } from '../domain/money/money.ts'
import type { MoneyRules } from '../domain/money/rules.ts'
import { HttpError } from '../domain/problem.ts'
import type { Tx } from '../store/database.ts'
import { insertBudget } from '../store/money/budgets.ts'
import { type Refusal, refusalOfComing, refusalOfRun } from '../store/money/refusal.ts'
import type { NewRun } from '../store/runs/runs.ts'

/** @throws {HttpError} 403 where the team has too few credits, or a budget that the run would draw on is used up. */
export async function refuseWithoutMoney(tx: Tx, settings: Config, run: NewRun): Promise<void> {
  const refusal = await refusalOfComing(tx, moneyRules(settings), {
    team: run.team,
    person: { uid: run.created_by },
    parentId: run.parent?.id ?? null,
    scheduleId: run.schedule?.schedule_id ?? null,
  })
  if (refusal !== null) throw asError(refusal)
}

/** @throws {HttpError} 403 where a run that is over could not make a single call of a model if it went on. */
export async function refuseMoreWithoutMoney(tx: Tx, settings: Config, runId: string): Promise<void> {
  const refusal = await refusalOfRun(tx, moneyRules(settings), runId)
  if (refusal !== null) throw asError(refusal)
}

const codes = { budget: 'budget_exceeded', credits: 'insufficient_credits' } as const

export const asError = ({ reason, message }: Refusal): HttpError => new HttpError(403, codes[reason], message)

/** Those that its configuration names. */
export async function setBudgets(tx: Tx, settings: Config, runId: string, run: NewRun): Promise<void> {
  const { budget, tree_budget: ofTree } = run.config
  const by = { type: run.created_by_type, uid: run.created_by }
  for (const [scope, asked] of [
    ['run', budget],
    ['tree', ofTree],
  ] as const) {
    if (asked == null) continue
    const limit = {
      microUsd: microUsdOf(moneyRules(settings), asked),
      percents: asked.alert_percents ?? undefined,
    }
    await insertBudget(tx, { team: run.team, scope, thing: runId, period: 'total' }, limit, by)
  }
}

/** In whole millionths of a dollar, at least one. */
export const microUsdOf = (
  { creditsPerDollar }: Pick<MoneyRules, 'creditsPerDollar'>,
  { usd, credits }: Pick<BudgetAsk, 'usd' | 'credits'>,
): number => Math.max(1, usd != null ? toMicro(usd) : Math.round(toMicro(credits ?? 0) / creditsPerDollar))
