// `ambient budgets`: what may be spent, and what a run may cost.
import type { BudgetItem, RunBudgets } from '../../domain/money/money.ts'
import type { Limit } from '../api/money.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findRun } from '../input.ts'
import { budgetBar } from '../render/budget.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { clean, plural } from '../render/text.ts'
import { createScreen } from '../screen.ts'

export interface LimitOptions extends Limit {
  alert?: readonly string[]
  json?: boolean
}

export interface BudgetOptions extends LimitOptions {
  total?: boolean
}

export interface RaiseOptions extends Limit {
  tree?: boolean
  json?: boolean
}

export async function budgets({ json }: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const found = await connect().money.budgets()
  if (json) screen.write(`${JSON.stringify({ budgets: found })}\n`)
  else screen.write(found.length === 0 ? 'There is no budget.\n' : renderBudgets(found, screen.style))
  return exitCodes.succeeded
}

export async function setBudget(scope: string, uid: string | undefined, options: BudgetOptions): Promise<ExitCode> {
  const screen = createScreen()
  const made = await connect().money.setBudget({
    scope,
    ...(uid !== undefined && { uid }),
    period: options.total ? 'total' : 'month',
    ...limitOf(options),
    ...percentsOf(options),
  })
  screen.write(options.json ? `${JSON.stringify(made)}\n` : renderBudgets([made], screen.style))
  return exitCodes.succeeded
}

export async function changeBudget(uid: string, options: LimitOptions): Promise<ExitCode> {
  const screen = createScreen()
  const changed = await connect().money.changeBudget(uid, { ...limitOf(options), ...percentsOf(options) })
  screen.write(options.json ? `${JSON.stringify(changed)}\n` : renderBudgets([changed], screen.style))
  return exitCodes.succeeded
}

export async function deleteBudget(uid: string): Promise<ExitCode> {
  await connect().money.deleteBudget(uid)
  createScreen().note('Deleted.')
  return exitCodes.succeeded
}

export async function showBudgets(given: string, { json }: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const found = await api.money.runBudgets(await findRun(api, given))
  screen.write(json ? `${JSON.stringify(found)}\n` : renderRunBudgets(found, screen.style))
  return exitCodes.succeeded
}

export async function raise(given: string, options: RaiseOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const scope = options.tree ? 'tree' : 'run'
  const found = await api.money.raise(await findRun(api, given), { scope, ...limitOf(options) })
  screen.write(options.json ? `${JSON.stringify(found)}\n` : renderRunBudgets(found, screen.style))
  return exitCodes.succeeded
}

function limitOf({ usd, credits }: Limit): Limit {
  if (usd === undefined && credits === undefined) throw usageError('A limit is needed.', 'Give --usd or --credits.')
  return usd === undefined ? { credits } : { usd }
}

function percentsOf({ alert }: LimitOptions): { alert_percents?: number[] } {
  if (alert === undefined) return {}
  const percents = alert.map(Number)
  if (percents.some((percent) => !Number.isInteger(percent) || percent < 1 || percent > 100))
    throw usageError('--alert takes whole numbers from 1 to 100.', 'Such as --alert 50 --alert 90')
  return { alert_percents: percents }
}

function renderRunBudgets({ stopped, budgets: found }: RunBudgets, style: Style): string {
  const state = stopped === null ? 'Nothing stops it.' : style.colours.yellow(clean(stopped.message))
  return `${state}\n${found.length === 0 ? 'No budget holds for it.\n' : renderBudgets(found, style)}`
}

export function renderBudgets(found: readonly BudgetItem[], { colours }: Style): string {
  const rows = table(
    ['UID', 'OF', '', 'PERIOD', 'SPENT', 'ALERTS'],
    found.map(({ uid, scope, scope_uid: of, period, limit, spent, percent, alert_percents: percents }) => [
      uid,
      scope,
      clean(of),
      period,
      budgetBar({ limit_usd: limit.usd, spent_usd: spent.usd, percent }),
      percents.map((at) => `${at} %`).join(' '),
    ]),
    colours.dim,
  )
  const unpriced = found.flatMap(({ uid, unpriced_calls: calls }) =>
    calls === 0
      ? []
      : [`${uid} leaves out ${plural(calls, 'model call')}: the price of the model is not known here.\n`],
  )
  return rows + unpriced.join('')
}
