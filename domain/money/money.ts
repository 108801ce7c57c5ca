// Credits and money: the ledger, balances, budgets, and what a run has used. Kept in whole millionths, shown as numbers.
import { z } from 'zod'
import { Profile } from '../account.ts'
import { cursor, PageInfo, pageLimit } from '../page.ts'
import { budgetPeriods, budgetScopes, ledgerKinds, MICRO } from './words.ts'

export const fromMicro = (micro: number): number => micro / MICRO
export const toMicro = (amount: number): number => Math.round(amount * MICRO)

/** Far beyond what anybody spends, and exact in millionths. */
const MOST = 1_000_000_000

export const Money = z.object({ credits: z.number(), usd: z.number() }).meta({ id: 'Money' })
export type Money = z.infer<typeof Money>

export const moneyOf = (microCredits: number, microUsd: number): Money => ({
  credits: fromMicro(microCredits),
  usd: fromMicro(microUsd),
})

const positive = z.number().min(0.000001).max(MOST)

/** At which shares of a budget somebody is told, in percent. */
export const alertPercents = z
  .array(z.number().int().min(1).max(100))
  .max(10)
  .transform((percents) => [...new Set(percents)].sort((one, other) => one - other))
  .describe('At which shares of it you are told, in percent. Absent: 50, 80 and 100.')

export const DEFAULT_PERCENTS = [50, 80, 100]

const limitFields = {
  usd: positive.nullish().describe('In US dollars.'),
  credits: positive.nullish().describe('In credits instead.'),
}

const isOne = ({ usd, credits }: { usd?: number | null | undefined; credits?: number | null | undefined }) =>
  (usd == null) !== (credits == null)
const onlyOne = { error: 'must have usd or credits, and not both' }

/** What a run's configuration says of its own budget. */
export const BudgetAsk = z
  .strictObject({ ...limitFields, alert_percents: alertPercents.nullish() })
  .refine(isOne, onlyOne)
  .meta({ id: 'BudgetAsk' })
export type BudgetAsk = z.infer<typeof BudgetAsk>

/** Body of `POST /agent/budgets`. */
export const NewBudget = z
  .strictObject({
    scope: z.enum(['schedule', 'person', 'team']).describe('Whose spending it caps.'),
    uid: z
      .string()
      .min(1)
      .max(100)
      .optional()
      .describe('Of the schedule, or of the person or service account. Not for `team`.'),
    period: z
      .enum(budgetPeriods)
      .default('month')
      .describe('`month`: of the calendar, in the time zone AMBIENT_BUDGET_TIME_ZONE. `total`: for good.'),
    ...limitFields,
    alert_percents: alertPercents.nullish(),
  })
  .refine(isOne, onlyOne)
  .meta({ id: 'NewBudget' })
export type NewBudget = z.infer<typeof NewBudget>

/** Body of `PUT /agent/budgets/{uid}`. */
export const ChangeBudget = z
  .strictObject({ ...limitFields, alert_percents: alertPercents.nullish().describe('Absent: as they are.') })
  .refine(isOne, onlyOne)
  .meta({ id: 'ChangeBudget' })
export type ChangeBudget = z.infer<typeof ChangeBudget>

export const BudgetItem = z
  .object({
    uid: z.string(),
    scope: z
      .enum(budgetScopes)
      .describe('`run`: that run alone. `tree`: with all runs that it begins, and those that they begin.'),
    scope_uid: z.string().describe('Of the run, schedule, person or team.'),
    period: z.enum(budgetPeriods),
    limit: Money,
    spent: Money.describe('In the period up to now; models and compute.'),
    percent: z.number().describe('Of the limit that is spent; above 100 by what the last calls took.'),
    unpriced_calls: z
      .number()
      .int()
      .describe('Model calls of the period that `spent` leaves out, for their model has no price here.'),
    is_used_up: z.boolean().describe('True: no further model call of what it covers goes out.'),
    alert_percents: z.array(z.number().int()),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: 'Budget' })
export type BudgetItem = z.infer<typeof BudgetItem>

export const BudgetQuery = z.object({
  scope: z.enum(['schedule', 'person', 'team']).optional().describe('Only budgets of this kind of thing.'),
  uid: z.string().optional().describe('Of the schedule or person.'),
})

export const BudgetList = z.object({ budgets: z.array(BudgetItem) })

/** Body of `POST /agent/runs/{runId}/budget`. */
export const RaiseBudget = z
  .strictObject({
    scope: z.enum(['run', 'tree']).default('run').describe('Of the run alone, or of all below it as well.'),
    ...limitFields,
  })
  .refine(isOne, onlyOne)
  .meta({ id: 'RaiseBudget' })

export const RunBudgets = z
  .object({
    run_id: z.uuid(),
    stopped: z
      .object({ reason: z.enum(['budget', 'credits']), message: z.string() })
      .nullable()
      .describe('Why its next model call would not go out; null where it would.'),
    budgets: z.array(BudgetItem).describe('All that hold for it: its own, and those of what it belongs to.'),
  })
  .meta({ id: 'RunBudgets' })
export type RunBudgets = z.infer<typeof RunBudgets>

const parts = {
  total: Money.describe('`inference` and `compute` together.'),
  inference: Money.describe('Models. Calls of endpoints of the team itself cost money and no credits.'),
  compute: Money.describe('Sandboxes, by their size and time.'),
}

export const Spent = z.object(parts).meta({ id: 'Spent' })
export type Spent = z.infer<typeof Spent>

/** `GET /agent/credits` */
export const Credits = z
  .object({
    team: z.string(),
    balance: Money.describe('What was given, less what was used. May be below zero.'),
    is_enforced: z.boolean().describe('False: it is only counted (AMBIENT_CREDITS).'),
    needed_to_start: z.number().describe('Credits that the team needs for a run to be started; 0 where none.'),
    credits_per_dollar: z.number(),
    granted: z.number().describe('Credits, since ever.'),
    purchased: z.number().describe('Credits of add-on purchases, since ever.'),
    spent: Spent.describe('Since ever.'),
    month: z.object({ starts_at: z.iso.datetime(), ...parts }).describe('The current one.'),
    your_month: Spent.describe('What runs of the caller have spent of it.'),
  })
  .meta({ id: 'Credits' })
export type Credits = z.infer<typeof Credits>

/** Body of `POST /agent/credits/grants`. */
export const NewGrant = z
  .strictObject({
    kind: z.enum(['grant', 'purchase']).default('grant').describe('`purchase`: an add-on that was paid for.'),
    credits: z
      .number()
      .min(-MOST)
      .max(MOST)
      .refine((credits) => credits !== 0, { error: 'must not be 0' })
      .describe('Below zero takes back what was given too much; only of a grant.'),
    usd: z.number().min(0).max(MOST).nullish().describe('What was paid for a purchase.'),
    note: z.string().max(500).nullish().describe('Shown in the ledger.'),
  })
  .refine(({ kind, credits }) => kind === 'grant' || credits > 0, { error: 'must have credits above 0 for a purchase' })
  .meta({ id: 'NewGrant' })
export type NewGrant = z.infer<typeof NewGrant>

const Tokens = z.object({
  input: z.number().int(),
  input_cache_read: z.number().int(),
  input_cache_write: z.number().int(),
  output: z.number().int(),
})

export const LedgerEntry = z
  .object({
    position: z.number().int().describe('Of a team’s entries, later ones have higher positions.'),
    kind: z.enum(ledgerKinds),
    credits: z.number().describe('Above zero: given. Below: used.'),
    usd: z.number().describe('What it cost, below zero; of a purchase what was paid.'),
    occurred_at: z.iso.datetime(),
    person: Profile.nullable().describe('Whose run it was for; of a grant, who gave it.'),
    run_id: z.uuid().nullable(),
    execution: z.number().int().nullable(),
    schedule_id: z.string().nullable(),
    provider: z.string().nullable(),
    model: z.string().nullable(),
    tokens: Tokens.nullable().describe('Of a model call.'),
    is_priced: z.boolean().describe('False: a model call whose model has no price here; it is charged with nothing.'),
    is_estimated: z.boolean().describe('The answer broke off before it told what it took.'),
    seconds: z.number().int().nullable().describe('Of a sandbox.'),
    cpus: z.number().nullable(),
    memory_mb: z.number().int().nullable(),
    note: z.string().nullable(),
  })
  .meta({ id: 'LedgerEntry' })
export type LedgerEntry = z.infer<typeof LedgerEntry>

const time = z.iso.datetime({ offset: true }).optional()

/** `GET /agent/ledger` */
export const LedgerQuery = z.object({
  limit: pageLimit(50),
  cursor,
  sort_order: z.enum(['desc', 'asc']).default('desc').describe('The newest first, or the oldest.'),
  kind: z.array(z.enum(ledgerKinds)).optional().describe('Repeated for several.'),
  person: z.string().optional().describe('The uid of whose runs they were.'),
  run_id: z.uuid().optional().describe('Only entries of this run.'),
  schedule_id: z.string().optional().describe('Only entries of the runs of this schedule.'),
  created_after: time.describe('At or after.'),
  created_before: time.describe('Before.'),
})

export const LedgerPage = z.object({ entries: z.array(LedgerEntry), page_info: PageInfo }).meta({ id: 'LedgerPage' })
export type LedgerPage = z.infer<typeof LedgerPage>

const CostUsd = z.object({
  input_cost_usd: z.number(),
  input_cache_read_cost_usd: z.number(),
  input_cache_write_cost_usd: z.number(),
  output_cost_usd: z.number(),
})

const ByModel = z.record(
  z.string(),
  z.object({
    cost_usd: z.object({
      input: z.number(),
      input_cache_read: z.number(),
      input_cache_write: z.number(),
      output: z.number(),
    }),
    token_count: Tokens,
  }),
)

/** Oz's `request_usage`. Credits, and US dollars. */
export const RequestUsage = z
  .object({
    inference_cost: z.number(),
    compute_cost: z.number(),
    platform_cost: z.number().describe('Always 0: nothing is taken for the server itself.'),
    inference_cost_usd: z.number(),
    compute_cost_usd: z.number(),
    platform_cost_usd: z.number(),
    total_tokens: z
      .number()
      .int()
      .describe('Of all kinds: read anew, read from caches, written to them, and said, reasoning included.'),
    inference_cost_breakdown_usd: CostUsd,
    usage_by_category: z.record(
      z.string(),
      z.object({
        platform_usage_usd: z.number(),
        direct_api_inference_usage: ByModel.optional().describe('With the keys of the server.'),
        custom_endpoint_inference_usage: ByModel.optional().describe('At endpoints of the team itself.'),
      }),
    ),
    compute_seconds: z.number().int().describe('That its sandboxes were there.'),
    unpriced_calls: z.number().int().describe('Model calls that cost nothing here, for their model has no price.'),
  })
  .meta({ id: 'RequestUsage' })
export type RequestUsage = z.infer<typeof RequestUsage>

/** Beside a run: what its own budgets are at. */
export const RunBudget = z.object({
  scope: z.enum(['run', 'tree']),
  limit_usd: z.number(),
  spent_usd: z.number(),
  percent: z.number(),
})
export type RunBudget = z.infer<typeof RunBudget>
