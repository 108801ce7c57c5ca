// What the transcript, webhooks and the audit log are told of budgets.
import { type RawBuilder, sql } from 'kysely'
import { fromMicro } from '../../domain/money/money.ts'
import { dollars } from '../../domain/money/text.ts'
import type { BudgetScope } from '../../domain/money/words.ts'
import { note, SYSTEM } from '../audit.ts'
import type { Db, Tx } from '../database.ts'
import { type LockedRun, lockRun } from '../locking.ts'
import { insertEvents } from '../runs/events.ts'
import { touchRun } from '../runs/runs.ts'
import { noteForWebhooks } from '../webhook-deliveries.ts'

/** The journal of what is told of money. No host may write to it. */
export const MONEY_JOURNAL = 'money'

export interface BudgetNews {
  what: 'alert' | 'stopped' | 'raised'
  message: string
  scope?: BudgetScope
  percent?: number
  limit_usd?: number
  spent_usd?: number
}

/** Writes it into the run's transcript. The caller holds the run's lock. */
export async function tellRun(tx: Tx, run: LockedRun, news: BudgetNews): Promise<void> {
  const { line } = await tx
    .selectFrom('events')
    .select(sql<number>`coalesce(max(line), 0) + 1`.as('line'))
    .where('run_id', '=', run.id)
    .where('journal', '=', MONEY_JOURNAL)
    .executeTakeFirstOrThrow()
  const event = { line, part: 0, time: new Date().toISOString(), kind: 'budget' as const, data: { ...news } }
  await insertEvents(tx, run, Math.max(run.execution, 1), MONEY_JOURNAL, [event])
  await touchRun(tx, run.id)
}

/** That the run is paused; told once. */
export async function tellStop(db: Db, runId: string, uid: string): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, runId)
    const stop = await tx
      .updateTable('budget_stops')
      .set({ told_at: sql`now()` })
      .where('uid', '=', uid)
      .where('told_at', 'is', null)
      .returning('title')
      .executeTakeFirst()
    if (stop) await tellRun(tx, run, { what: 'stopped', message: stop.title })
  })
}

interface Alert {
  uid: string
  team: string
  scope: BudgetScope
  thing: string
  month: string
  limit: number
  percent: number
  spent: number
  run_id: string | null
}

/** Tells what was reached since, each alert once. @returns how many. */
export async function tellAlerts(db: Db): Promise<number> {
  for (let told = 0; ; told++) {
    const { rows } = await selectAlert(sql`order by budget_alerts.created_at limit 1`).execute(db)
    const [alert] = rows
    if (!alert) return told
    await db.transaction().execute((tx) => tell(tx, alert))
  }
}

const selectAlert = (which: RawBuilder<unknown>) => sql<Alert>`
  select uid, team, scope, thing, month::text as month, budget_alerts.limit_micro_usd as limit, percent,
    spent_micro_usd as spent, run_id
  from budget_alerts join budgets on budgets.uid = budget_uid
  where told_at is null
  ${which}
`

async function tell(tx: Tx, alert: Alert): Promise<void> {
  const { scope, thing, percent, limit, spent } = alert
  const ofRun = scope === 'run' || scope === 'tree'
  // First of all locks, where there is a transcript to write into.
  const run = ofRun ? await lockRun(tx, thing) : null
  const { numUpdatedRows } = await tx
    .updateTable('budget_alerts')
    .set({ told_at: sql`now()` })
    .where('budget_uid', '=', alert.uid)
    .where('month', '=', alert.month)
    .where('limit_micro_usd', '=', limit)
    .where('percent', '=', percent)
    .where('told_at', 'is', null)
    .executeTakeFirst()
  // Another server was faster.
  if (numUpdatedRows === 0n) return
  const message = `${percent} % of ${nameOf[scope]} is spent: ${dollars(spent)} of ${dollars(limit)}.`
  const figures = { scope, percent, limit_usd: fromMicro(limit), spent_usd: fromMicro(spent) }
  if (run !== null) await tellRun(tx, run, { what: 'alert', message, ...figures })
  if (alert.run_id !== null)
    await noteForWebhooks(tx, alert.run_id, 'run.budget', { budget_uid: alert.uid, scope_uid: thing, ...figures })
  await note(tx, {
    caller: SYSTEM,
    action: 'budgets.alert',
    thing: { type: 'budget', uid: alert.uid, team: alert.team },
    detail: { scope, scope_uid: thing, percent, limit_usd: figures.limit_usd, spent_usd: figures.spent_usd },
  })
}

const nameOf: Readonly<Record<BudgetScope, string>> = {
  run: 'the budget of this run',
  tree: 'the budget of this run and those below it',
  schedule: 'the budget of a schedule',
  person: 'the budget of a person',
  team: 'the budget of the team',
}
