// Money as people read it.
import { type BudgetScope, MICRO } from './words.ts'

/** Small sums with as many places as they need to be seen. */
export const usdText = (usd: number): string => dollars(Math.round(usd * MICRO))

/** The same, of millionths of a dollar. */
export function dollars(micro: number): string {
  const usd = micro / MICRO
  const size = Math.abs(usd)
  const places = size >= 1 || size === 0 ? 2 : size >= 0.01 ? 3 : 6
  return `${micro < 0 ? '-' : ''}$${size.toFixed(places)}`
}

/** What a person can do that a stopped run goes on, by what stops it; null: the team's credits. */
export function wayOn(budget: { uid: string; scope: BudgetScope; thing: string } | null): string {
  if (budget === null)
    return 'Give the team credits, with the admin key of the server: `ambient credits grant N` (POST /agent/credits/grants).'
  const { uid, scope, thing } = budget
  if (scope !== 'run' && scope !== 'tree')
    return `Raise that budget: \`ambient budgets change ${uid} --usd N\` (PUT /agent/budgets/${uid}).`
  const [option, field] = scope === 'tree' ? [' --tree', ' with "scope": "tree"'] : ['', '']
  return `Raise that budget: \`ambient budgets raise ${thing}${option} --usd N\` (POST /agent/runs/${thing}/budget${field}).`
}
