// The team's balance, and the ledger as it is read.
import { type Selectable, sql } from 'kysely'
import { type Credits, fromMicro, type LedgerEntry, moneyOf, type Spent } from '../../domain/money/money.ts'
import type { MoneyRules } from '../../domain/money/rules.ts'
import type { LedgerKind } from '../../domain/money/words.ts'
import type { Principal } from '../../domain/permission.ts'
import { profileIn, profilesOf } from '../accounts/principals.ts'
import type { Queryable } from '../database.ts'
import type { LedgerTable } from '../schema.ts'
import { ALL_MONTHS, thisMonth } from './places.ts'

interface Sums {
  inferenceUsd: number
  computeUsd: number
  inferenceCredits: number
  computeCredits: number
  granted: number
  purchased: number
}

export async function readCredits(
  db: Queryable,
  rules: MoneyRules,
  team: string,
  person: Pick<Principal, 'uid'>,
): Promise<Credits> {
  const { rows } = await sql<{ start: Date; ever: Sums | null; month: Sums | null; yours: Sums | null }>`
    with sums as (
      select scope, thing, month, json_build_object(
        'inferenceUsd', inference_micro_usd, 'computeUsd', compute_micro_usd,
        'inferenceCredits', inference_micro_credits, 'computeCredits', compute_micro_credits,
        'granted', granted_micro_credits, 'purchased', purchased_micro_credits
      ) as sums
      from spending
      where team = ${team} and month in (${ALL_MONTHS}::date, ${thisMonth(rules)})
        and ((scope = 'team' and thing = ${team}) or (scope = 'person' and thing = ${person.uid}))
    )
    select (${thisMonth(rules)})::timestamp at time zone ${rules.timeZone} as start,
      (select sums from sums where scope = 'team' and month = ${ALL_MONTHS}::date) as ever,
      (select sums from sums where scope = 'team' and month > ${ALL_MONTHS}::date) as month,
      (select sums from sums where scope = 'person' and month > ${ALL_MONTHS}::date) as yours
  `.execute(db)
  const [row] = rows
  if (!row) throw new Error('Postgres answered a select without a row')
  const ever = row.ever ?? nothing
  const left = ever.granted + ever.purchased - ever.inferenceCredits - ever.computeCredits
  return {
    team,
    balance: moneyOf(left, Math.round(left / rules.creditsPerDollar)),
    is_enforced: rules.enforced !== null,
    needed_to_start: fromMicro(rules.enforced?.microCreditsToStart ?? 0),
    credits_per_dollar: rules.creditsPerDollar,
    granted: fromMicro(ever.granted),
    purchased: fromMicro(ever.purchased),
    spent: spentOf(ever),
    month: { starts_at: row.start.toISOString(), ...spentOf(row.month ?? nothing) },
    your_month: spentOf(row.yours ?? nothing),
  }
}

const nothing: Sums = {
  inferenceUsd: 0,
  computeUsd: 0,
  inferenceCredits: 0,
  computeCredits: 0,
  granted: 0,
  purchased: 0,
}

const spentOf = ({ inferenceUsd, computeUsd, inferenceCredits, computeCredits }: Sums): Spent => ({
  total: moneyOf(inferenceCredits + computeCredits, inferenceUsd + computeUsd),
  inference: moneyOf(inferenceCredits, inferenceUsd),
  compute: moneyOf(computeCredits, computeUsd),
})

/** What a schedule has spent, since ever; by schedule. */
export async function spentBySchedules(db: Queryable, ids: readonly string[]): Promise<Map<string, Spent>> {
  if (ids.length === 0) return new Map()
  const rows = await db
    .selectFrom('spending')
    .selectAll()
    .where('scope', '=', 'schedule')
    .where('thing', 'in', ids)
    .where('month', '=', ALL_MONTHS)
    .execute()
  return new Map(
    rows.map((row) => [
      row.thing,
      spentOf({
        ...nothing,
        inferenceUsd: row.inference_micro_usd,
        computeUsd: row.compute_micro_usd,
        inferenceCredits: row.inference_micro_credits,
        computeCredits: row.compute_micro_credits,
      }),
    ]),
  )
}

export const noneSpent: Spent = spentOf(nothing)

export interface LedgerFilter {
  team: string
  kinds: readonly LedgerKind[]
  person?: string | undefined
  runId?: string | undefined
  scheduleId?: string | undefined
  createdAfter?: string | undefined
  createdBefore?: string | undefined
}

/** In the order in which they were written. `after`: the position that the page before ended at. */
export async function listLedger(
  db: Queryable,
  filter: LedgerFilter,
  { after, limit, newestFirst }: { after: number | null; limit: number; newestFirst: boolean },
): Promise<LedgerEntry[]> {
  const { team, kinds, person, runId, scheduleId, createdAfter, createdBefore } = filter
  let query = db.selectFrom('ledger').selectAll().where('team', '=', team)
  if (kinds.length > 0) query = query.where('kind', 'in', kinds)
  if (person !== undefined) query = query.where('person', '=', person)
  if (runId !== undefined) query = query.where('run_id', '=', runId)
  if (scheduleId !== undefined) query = query.where('schedule_id', '=', scheduleId)
  if (createdAfter !== undefined) query = query.where('created_at', '>=', new Date(createdAfter))
  if (createdBefore !== undefined) query = query.where('created_at', '<', new Date(createdBefore))
  if (after !== null) query = query.where('position', newestFirst ? '<' : '>', after)
  const rows = await query
    .orderBy('position', newestFirst ? 'desc' : 'asc')
    .limit(limit)
    .execute()
  const profiles = await profilesOf(
    db,
    rows.flatMap((row) => personOf(row) ?? []),
  )
  return rows.map((row) => {
    const person = personOf(row)
    return { ...serve(row), person: person && profileIn(profiles, person) }
  })
}

const personOf = ({ person_type: type, person: uid }: Selectable<LedgerTable>): Principal | null =>
  type === null || uid === null ? null : { type, uid }

function serve({ detail, ...row }: Selectable<LedgerTable>): Omit<LedgerEntry, 'person'> {
  const { tokens } = detail
  return {
    position: row.position,
    kind: row.kind,
    credits: fromMicro(row.micro_credits),
    usd: fromMicro(row.micro_usd),
    occurred_at: row.created_at.toISOString(),
    run_id: row.run_id,
    execution: row.execution,
    schedule_id: row.schedule_id,
    provider: detail.provider ?? null,
    model: detail.model ?? null,
    tokens: tokens
      ? {
          input: tokens.input,
          input_cache_read: tokens.cache_read,
          input_cache_write: tokens.cache_write,
          output: tokens.output,
        }
      : null,
    is_priced: row.kind !== 'inference' || detail.cost !== undefined,
    is_estimated: detail.estimated === true,
    seconds: detail.seconds ?? null,
    cpus: detail.cpus ?? null,
    memory_mb: detail.memory_mb ?? null,
    note: detail.note ?? null,
  }
}
