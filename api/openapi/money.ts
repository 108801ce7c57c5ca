import {
  BudgetItem,
  BudgetList,
  BudgetQuery,
  ChangeBudget,
  Credits,
  LedgerPage,
  LedgerQuery,
  NewBudget,
  NewGrant,
  RaiseBudget,
  RunBudgets,
} from '../../domain/money/money.ts'
import { json, nothing, type Section } from './declaration.ts'
import { createdAt, runId } from './examples.ts'

const money = (usd: number) => ({ credits: usd * 100, usd })
const spent = { total: money(1.25), inference: money(1.2), compute: money(0.05) }

const credits = {
  team: 'default',
  balance: money(8.75),
  is_enforced: true,
  needed_to_start: 20,
  credits_per_dollar: 100,
  granted: 1_000,
  purchased: 0,
  spent,
  month: { starts_at: '2026-01-01T00:00:00.000Z', ...spent },
  your_month: spent,
}

const budget = {
  uid: 'b2K8xq0Vn3Lw7Tz5Rd1YpC',
  scope: 'team',
  scope_uid: 'default',
  period: 'month',
  limit: money(50),
  spent: money(1.25),
  percent: 2.5,
  unpriced_calls: 0,
  is_used_up: false,
  alert_percents: [50, 80, 100],
  created_at: createdAt,
  updated_at: createdAt,
}

const ofRun = { ...budget, scope: 'run', scope_uid: runId, period: 'total', limit: money(5), percent: 25 }
const budgetUid = { budgetUid: 'The uid of the budget.' }

export const moneySection: Section = {
  name: 'Credits and budgets',
  description: 'What models and sandboxes cost, who pays for it, and how much it may be.',
  routes: [
    {
      method: 'get',
      path: '/agent/credits',
      id: 'getCredits',
      summary: 'See the credits of the team',
      description: 'Its balance, what it was given, and what it has spent: since ever, and in this month.',
      answers: { 200: json(Credits, credits) },
    },
    {
      method: 'post',
      path: '/agent/credits/grants',
      id: 'grantCredits',
      summary: 'Give the team credits',
      description:
        'For the active team, with the admin key of the settings. Runs that were paused for want of credits go on.',
      body: { schema: NewGrant, example: { credits: 1_000, note: 'For the spring' } },
      idempotent: true,
      answers: { 201: json(Credits, credits, 'Given; what the team has now.') },
    },
    {
      method: 'get',
      path: '/agent/ledger',
      id: 'listLedger',
      summary: 'List what was given and charged',
      description: 'The entries of the team. They are only ever added to.',
      query: LedgerQuery,
      answers: {
        200: json(LedgerPage, {
          entries: [
            {
              position: 4711,
              kind: 'inference',
              credits: -1.2,
              usd: -0.012,
              occurred_at: createdAt,
              person: { type: 'user', uid: 'operator', display_name: 'Operator', email: null, photo_url: null },
              run_id: runId,
              execution: 1,
              schedule_id: null,
              provider: 'anthropic',
              model: 'claude-sonnet-5-5',
              tokens: { input: 1_000, input_cache_read: 2_000, input_cache_write: 0, output: 500 },
              is_priced: true,
              is_estimated: false,
              seconds: null,
              cpus: null,
              memory_mb: null,
              note: null,
            },
          ],
          page_info: { has_next_page: false },
        }),
      },
    },
    {
      method: 'get',
      path: '/agent/budgets',
      id: 'listBudgets',
      summary: 'List the budgets of the team, its people and schedules',
      query: BudgetQuery,
      answers: { 200: json(BudgetList, { budgets: [budget] }) },
    },
    {
      method: 'post',
      path: '/agent/budgets',
      id: 'createBudget',
      summary: 'Set a budget',
      description: 'When it is used up, no further model call of what it covers goes out, and its runs are BLOCKED.',
      body: { schema: NewBudget, example: { scope: 'team', period: 'month', usd: 50 } },
      idempotent: true,
      answers: { 201: json(BudgetItem, budget, 'Set.') },
      errors: { 409: 'There is such a budget already.' },
    },
    {
      method: 'get',
      path: '/agent/budgets/{budgetUid}',
      id: 'getBudget',
      summary: 'See a budget',
      params: budgetUid,
      answers: { 200: json(BudgetItem, budget) },
    },
    {
      method: 'put',
      path: '/agent/budgets/{budgetUid}',
      id: 'updateBudget',
      summary: 'Change a budget',
      description: 'Runs that it had stopped go on, where it leaves room for them.',
      params: budgetUid,
      body: { schema: ChangeBudget, example: { usd: 80 } },
      answers: { 200: json(BudgetItem, budget) },
    },
    {
      method: 'delete',
      path: '/agent/budgets/{budgetUid}',
      id: 'deleteBudget',
      summary: 'Delete a budget',
      description: 'Those of single runs stay.',
      params: budgetUid,
      answers: { 204: nothing('Deleted. Runs that it had stopped go on.') },
    },
    {
      method: 'get',
      path: '/agent/runs/{runId}/budget',
      id: 'getRunBudgets',
      summary: 'See all budgets that hold for a run',
      answers: { 200: json(RunBudgets, { run_id: runId, stopped: null, budgets: [ofRun, budget] }) },
    },
    {
      method: 'post',
      path: '/agent/runs/{runId}/budget',
      id: 'raiseRunBudget',
      summary: 'Change what a run may cost',
      description:
        'A run that is BLOCKED for its budget goes on where it is, in the same sandbox while that is kept, when it may spend again.',
      body: { schema: RaiseBudget, example: { usd: 10 } },
      idempotent: true,
      answers: { 200: json(RunBudgets, { run_id: runId, stopped: null, budgets: [ofRun, budget] }) },
    },
  ],
}
