// The words of credits and budgets. Without zod: the command line's help reads them.

/** Of a dollar, or of a credit, in one. */
export const MICRO = 1_000_000

export const ledgerKinds = ['grant', 'purchase', 'inference', 'compute'] as const
export type LedgerKind = (typeof ledgerKinds)[number]

export const budgetScopes = ['run', 'tree', 'schedule', 'person', 'team'] as const
export type BudgetScope = (typeof budgetScopes)[number]

export const budgetPeriods = ['month', 'total'] as const
export type BudgetPeriod = (typeof budgetPeriods)[number]

/** Why a run is paused, and a call is not passed on. */
export type StopReason = 'budget' | 'credits'
