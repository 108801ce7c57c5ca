// Whether a run may spend more.
import { type RawBuilder, sql } from 'kysely'
import type { MoneyRules } from '../../domain/money/rules.ts'
import { dollars } from '../../domain/money/text.ts'
import type { BudgetPeriod, BudgetScope, StopReason } from '../../domain/money/words.ts'
import type { Queryable } from '../database.ts'
import { balance } from './charge.ts'
import { ALL_MONTHS, type ComingRun, placesOfComing, placesOfRun, thisMonth } from './places.ts'

/** Why nothing more is spent. */
export interface Refusal {
  reason: StopReason
  /** One sentence, without what to do about it. */
  message: string
  /** The budget that is used up; null: it is the team's credits. */
  budget: { uid: string; scope: BudgetScope } | null
}

/** Null where its next model call may go out. One query: every model call waits for it. */
export const refusalOfRun = (db: Queryable, rules: MoneyRules, runId: string): Promise<Refusal | null> =>
  refusal(db, rules, placesOfRun(runId), 0)

/** Null where it may be started. */
export const refusalOfComing = (db: Queryable, rules: MoneyRules, run: ComingRun): Promise<Refusal | null> =>
  refusal(db, rules, placesOfComing(run), rules.enforced?.microCreditsToStart ?? 0)

interface Found {
  uid: string
  scope: BudgetScope
  period: BudgetPeriod
  limit: number
  spent: number
}

async function refusal(
  db: Queryable,
  rules: MoneyRules,
  places: RawBuilder<unknown>,
  needed: number,
): Promise<Refusal | null> {
  const { rows } = await sql<{ found: Found | null; credits: number | null }>`
    with recursive ${places},
    used_up as (
      select json_build_object(
        'uid', budgets.uid, 'scope', scope, 'period', period, 'limit', limit_micro_usd,
        'spent', inference_micro_usd + compute_micro_usd
      ) as found
      from places join budgets using (team, scope, thing) join spending using (team, scope, thing)
      where spending.month = (case period when 'total' then ${ALL_MONTHS}::date else ${thisMonth(rules)} end)
        and inference_micro_usd + compute_micro_usd >= limit_micro_usd
      -- What a run's owner can raise comes last: with the others in the way it would be of no use.
      order by case scope when 'team' then 1 when 'person' then 2 when 'schedule' then 3 when 'tree' then 4 else 5 end
      limit 1
    )
    select (select found from used_up) as found,
      (select ${balance} from spending join places using (team, scope, thing)
        where scope = 'team' and month = ${ALL_MONTHS}::date) as credits
  `.execute(db)
  const { found, credits } = rows[0] ?? { found: null, credits: null }
  if (found !== null)
    return { reason: 'budget', message: usedUp(found), budget: { uid: found.uid, scope: found.scope } }
  if (rules.enforced === null) return null
  const left = credits ?? 0
  if (needed > 0 ? left >= needed : left > 0) return null
  return { reason: 'credits', message: tooFew(left, needed), budget: null }
}

const whose: Readonly<Record<BudgetScope, string>> = {
  run: 'The budget of this run',
  tree: 'The budget of this run and those that it begins',
  schedule: 'The budget of the schedule',
  person: 'The budget of the person whose run it is',
  team: 'The budget of the team',
}

const usedUp = ({ scope, period, limit, spent }: Found): string =>
  `${whose[scope]}${period === 'month' ? ' for this month' : ''} is used up: ${dollars(spent)} of ${dollars(limit)}.`

const tooFew = (left: number, needed: number): string =>
  needed > 0
    ? `The team has ${shown(left)} credits; a run needs ${shown(needed)} to start.`
    : `The team has no credits left (${shown(left)}).`

const shown = (micro: number) => String(Math.floor(micro / 10_000) / 100)
