// Credits, the ledger and budgets as the command line asks for them.
import type { BudgetItem, Credits, LedgerPage, RunBudgets } from '../../domain/money/money.ts'
import type { Requests } from './requests.ts'

export interface Limit {
  usd?: number | undefined
  credits?: number | undefined
}

export interface MoneyApi {
  credits(): Promise<Credits>
  grant(grant: { kind: 'grant' | 'purchase'; credits: number; usd?: number; note?: string }): Promise<Credits>
  ledger(query: Readonly<Record<string, string | readonly string[] | undefined>>): Promise<LedgerPage>
  budgets(): Promise<BudgetItem[]>
  setBudget(
    budget: { scope: string; uid?: string; period: string; alert_percents?: readonly number[] } & Limit,
  ): Promise<BudgetItem>
  changeBudget(uid: string, change: { alert_percents?: readonly number[] } & Limit): Promise<BudgetItem>
  deleteBudget(uid: string): Promise<void>
  runBudgets(runId: string): Promise<RunBudgets>
  raise(runId: string, raise: { scope: 'run' | 'tree' } & Limit): Promise<RunBudgets>
}

/** `base`: of all routes of the API. */
export const createMoneyApi = (base: string, { steady, post, put, remove, json }: Requests): MoneyApi => ({
  credits: () => json(steady(`${base}/credits`)),
  grant: (grant) => json(post(`${base}/credits/grants`, grant)),
  ledger: (query) => {
    const search = new URLSearchParams()
    for (const [name, value] of Object.entries(query))
      for (const one of value === undefined ? [] : [value].flat()) search.append(name, one)
    return json(steady(`${base}/ledger?${search}`))
  },
  budgets: async () => (await json<{ budgets: BudgetItem[] }>(steady(`${base}/budgets`))).budgets,
  setBudget: (budget) => json(post(`${base}/budgets`, budget)),
  changeBudget: (uid, change) => put(`${base}/budgets/${encodeURIComponent(uid)}`, change),
  deleteBudget: (uid) => remove(`${base}/budgets/${encodeURIComponent(uid)}`),
  runBudgets: (runId) => json(steady(`${base}/runs/${runId}/budget`)),
  raise: (runId, raise) => json(post(`${base}/runs/${runId}/budget`, raise)),
})
